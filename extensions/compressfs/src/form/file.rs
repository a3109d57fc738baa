//! One file in use, and the form that it is stored in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hsci_extension::{Attr, Call, Credentials, Error, LowerFile, Result, Times};

use super::awaited_log::AwaitedLog;
use super::growth::Growth;
use super::log::Log;
use super::segments::Segments;
use super::stored::Stored;
use crate::ALGORITHM;
use crate::algorithm::Algorithm;
use crate::journal::Batch;
use crate::kept_ctime::{Installing, Keeping};
use crate::mark;
use crate::summary::Presence;
use crate::transfer::restore_times;

/// A file in use.
pub(crate) struct File {
    pub(crate) lower: Arc<dyn LowerFile>,
    pub(crate) form: Form,
    /// Goes up with every change of content that is being sealed, so that a new image is dropped if it is late.
    pub(crate) changes: u64,
    /// What is being sealed ends here: all of the file, but for one that is sealed while it grows.
    pub(crate) sealing: AtomicU64,
    /// Whether it is written at its end only.
    pub(crate) growth: Growth,
    /// Who wrote last.
    pub(crate) writer: Option<u32>,
    /// What a rule of the policy said when it was written last.
    pub(crate) ruled: Option<Algorithm>,
    /// What is written down of that, once somebody has looked.
    pub(crate) kept_rule: Option<Option<Algorithm>>,
    /// The lower bytes are the logical ones, whatever they look like, until there is an image.
    pub(crate) marked: bool,
    /// Whether it is written down what a stat needs.
    pub(crate) summary: Presence,
    /// The times that users see while an image is being installed, which changes the real ones.
    pub(crate) kept_times: Option<Times>,
    /// The `ctime` that they see until that is done, unless they change it.
    pub(crate) installing: Option<Installing>,
    /// It is to get a new image even if it has one that shows the same bytes.
    pub(crate) renew: bool,
    /// A new image that waits for its batch.
    pending: Option<Pending>,
}

/// How a file is stored.
pub(crate) enum Form {
    /// The lower bytes are the logical bytes.
    Raw,
    /// Sealed or log.
    Stored(Box<Stored>),
    /// The head says that it is stored, but it cannot be read. Only emptying the file helps.
    Unreadable(Error),
}

/// An image in a journal that may become the file's.
pub(crate) struct Pending {
    /// All segments that the file has then.
    pub(crate) segments: Segments,
    /// The log that it has then, where that is not empty.
    pub(crate) log: Option<AwaitedLog>,
    pub(crate) batch: Arc<Batch>,
    /// The number of the file in the batch.
    pub(crate) place: usize,
}

impl File {
    /// A new file, which is empty, has no attributes that would have to be looked at.
    pub(crate) fn new(lower: Arc<dyn LowerFile>, form: Form, is_new: bool) -> Self {
        let kept_rule = is_new.then_some(None);
        Self {
            lower,
            form,
            changes: 0,
            sealing: AtomicU64::new(u64::MAX),
            growth: Growth::new(),
            writer: None,
            ruled: None,
            kept_rule,
            marked: false,
            summary: Presence::new(!is_new),
            kept_times: None,
            installing: None,
            renew: false,
            pending: None,
        }
    }

    /// The same, of a file that has a mark.
    pub(crate) fn marked(self) -> Self {
        Self { marked: true, ..self }
    }

    /// An image is about to be written: the file looks like what it is again.
    pub(crate) fn take_mark(&mut self) -> Result<()> {
        if self.marked {
            mark::remove(&*self.lower)?;
            self.marked = false;
        }
        Ok(())
    }

    /// The kernel is about to read or write the lower file by itself. True if it holds the logical bytes, and
    /// no image will come under the kernel's work that was begun before.
    pub(crate) fn leave_to_kernel(&mut self) -> Result<bool> {
        self.resolve_pending()?;
        self.changes += 1;
        Ok(matches!(self.form, Form::Raw) && !self.is_held())
    }

    /// Logical length in bytes.
    pub(crate) fn len(&self) -> Result<u64> {
        match &self.form {
            Form::Raw | Form::Unreadable(_) => self.lower.len(),
            Form::Stored(stored) => Ok(stored.len()),
        }
    }

    /// The same, where the attributes of the lower file are at hand.
    pub(crate) fn len_by(&self, lower: &Attr) -> u64 {
        match &self.form {
            Form::Raw | Form::Unreadable(_) => lower.size,
            Form::Stored(stored) => stored.len(),
        }
    }

    /// Every change of content begins here; it changes nothing before an offset.
    pub(crate) fn before_change(&mut self, call: &Call, from: u64) -> Result<()> {
        self.summary.end(&*self.lower)?;
        self.resolve_pending()?;
        self.lower.drop_privileges()?;
        if let Form::Stored(stored) = &mut self.form {
            stored.install_log(&*self.lower)?;
        }
        if from < self.sealing.load(Ordering::Relaxed) {
            self.changes += 1;
        }
        self.growth.note_change(from);
        if let Some(times) = &mut self.kept_times {
            times.modified = SystemTime::now();
        }
        self.installing = None;
        if !call.anonymous {
            self.writer = Some(call.uid);
            self.ruled = call.option(ALGORITHM).and_then(|text| text.parse().ok());
        }
        Ok(())
    }

    /// Offers a new image. It becomes the file's when the batch is committed, unless the file
    /// changes before.
    pub(crate) fn offer(&mut self, pending: Pending) {
        self.pending = Some(pending);
    }

    /// Ends the wait for a batch: steps back from it, or takes the new image if it is committed.
    /// True if the file has a new image.
    pub(crate) fn resolve_pending(&mut self) -> Result<bool> {
        let Some(pending) = self.pending.take() else {
            return Ok(false);
        };
        match pending.batch.withdraw(pending.place) {
            Ok(true) => {
                self.lower.restore_privileges();
                self.installing = None;
                return Ok(false);
            }
            Ok(false) => {}
            Err(error) => {
                self.pending = Some(pending);
                return Err(error);
            }
        }
        match self.take(&pending) {
            Ok((log, times)) => {
                self.kept_times = Some(times);
                let Pending { segments, batch, .. } = pending;
                let stored = Stored { segments, log, awaited_log: None, batch: Some(batch) };
                self.form = Form::Stored(Box::new(stored));
            }
            Err(error) => {
                // The old form may be overwritten in part.
                if pending.log.is_some() {
                    self.form = Form::Unreadable(error.clone());
                }
                self.pending = Some(pending);
                return Err(error);
            }
        }
        // The writer's choice has ruled; another one later is for what is written later.
        (self.writer, self.ruled, self.renew) = (None, None, false);
        Ok(true)
    }

    /// Makes room for the log behind the segments: what lies there of the old form has to leave. Returns the
    /// log, and the times that the lower file had before.
    fn take(&self, pending: &Pending) -> Result<(Log, Times)> {
        let times = self.lower.times()?;
        if let Some(log) = &pending.log {
            log.install(&*self.lower)?;
            return Ok((Log::recover(&*self.lower, &pending.segments)?, times));
        }
        if self.lower.len()? > pending.segments.end() {
            self.lower.set_len(pending.segments.end())?;
        }
        Ok((Log::new(&pending.segments), times))
    }

    /// An image has been installed: times and capabilities are put back, and are real again.
    pub(crate) fn release(&mut self) {
        self.lower.restore_privileges();
        if let Some(times) = self.kept_times.take() {
            restore_times(&*self.lower, &times);
        }
    }

    /// True if recovery would overwrite the lower file with an image from a journal, now or soon.
    pub(crate) fn is_held(&self) -> bool {
        self.pending.is_some() || matches!(&self.form, Form::Stored(stored) if stored.is_held())
    }

    /// The `ctime` to show, if that is not the one of the lower attributes.
    pub(crate) fn ctime(&self, lower: &Attr) -> Option<SystemTime> {
        match &self.installing {
            Some(installing) => Some(installing.ctime),
            None => self.summary.ctime(&*self.lower, lower),
        }
    }

    /// Writes down what a stat needs of a file that is in its final form, and which `ctime` it is to go on to show.
    pub(crate) fn summarize(
        &self,
        keeping: &Keeping,
        tried: Option<Algorithm>,
        ctime: Option<SystemTime>,
    ) {
        let len = match &self.form {
            Form::Raw => self.lower.len(),
            Form::Stored(stored) if stored.log.is_empty() && self.kept_times.is_none() => {
                Ok(stored.len())
            }
            Form::Stored(_) | Form::Unreadable(_) => return,
        };
        if let Ok(len) = len {
            keeping.extend();
            self.summary.begin(&*self.lower, len, tried, ctime);
        }
    }

    /// Writes down what the file is now, if that is not clear from what is written already.
    pub(crate) fn commit(&mut self) -> Result<()> {
        match &mut self.form {
            Form::Stored(stored) => stored.log.commit(self.lower.acting(Credentials::HOST)),
            _ => Ok(()),
        }
    }

    /// Empties the file.
    pub(crate) fn clear(&mut self) -> Result<()> {
        match &mut self.form {
            // A crash would bring the image back, so the log has to tell that it is empty.
            Form::Stored(stored) if stored.is_held() => {
                stored.set_len(self.lower.acting(Credentials::HOST), 0)
            }
            _ => {
                self.lower.set_len(0)?;
                self.form = Form::Raw;
                Ok(())
            }
        }
    }
}
