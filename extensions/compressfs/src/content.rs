//! The content extension: what happens to the bytes of a regular file, in whatever form it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hsci_extension::{
    Attr, Call, Content, Context, Error, FallocateFlags, OpenFile, OpenFlags, Opened, Result,
    Settled, Times, Whence,
};

use crate::compress::Compress;
use crate::form::{self, File, Form, raw};
use crate::format::HEAD_LEN;
use crate::summary::{self, Summary};
use crate::{ruled, settle, usage};

impl Content for Compress {
    type File = File;

    fn open(&self, context: &Context) -> Result<File> {
        form::open(context.lower(), &self.unfinished, &self.marks)
    }

    fn len(&self, file: &File) -> Result<u64> {
        file.len()
    }

    fn len_by(&self, file: &File, attr: &Attr) -> Result<u64> {
        Ok(file.len_by(attr))
    }

    fn peek(&self, context: &Context, attr: &Attr) -> Result<(u64, Option<SystemTime>)> {
        // No image is so short, and none has a summary.
        if attr.size < HEAD_LEN as u64 && self.unfinished.is_empty() {
            return Ok((attr.size, None));
        }
        let summary = match self.unfinished.is_empty() {
            true => Summary::read(&**context.lower())?,
            // Recovery could not install some image, which may be this file's.
            false => None,
        };
        match summary {
            Some(summary) if summary.fits(attr) => Ok((summary.len, summary.ctime(attr))),
            _ => Ok((self.len(&self.open(context)?)?, None)),
        }
    }

    fn is_plain(&self, file: &File) -> bool {
        matches!(file.form, Form::Raw) && !file.summary.is_possible()
    }

    fn read(&self, file: &File, _: &Call, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        match &file.form {
            Form::Raw => file.lower.read_at(offset, buffer),
            Form::Stored(stored) => stored.read(&*file.lower, &self.cache, offset, buffer),
            Form::Unreadable(error) => Err(error.clone()),
        }
    }

    fn write(&self, file: &mut File, call: &Call, offset: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        file.before_change(call, offset)?;
        if matches!(file.form, Form::Raw) {
            if file.marked || !raw::would_look_sealed(&*file.lower, offset, data)? {
                return file.lower.write_at(call.credentials(), offset, data);
            }
            settle::escape(self, file)?;
        }
        match &mut file.form {
            Form::Stored(stored) => {
                stored.write(file.lower.acting(call.credentials()), &self.cache, offset, data)
            }
            Form::Unreadable(error) => Err(error.clone()),
            Form::Raw => Err(Error::Broken("an escaped file is raw".to_owned())),
        }
    }

    fn set_len(&self, file: &mut File, call: &Call, len: u64) -> Result<()> {
        // Longer than before, it changes behind its end: nothing that is sealed meanwhile lies there.
        file.before_change(call, len)?;
        if len == 0 {
            return file.clear();
        }
        match &mut file.form {
            Form::Raw => file.lower.set_len(len),
            Form::Stored(stored) => stored.set_len(file.lower.acting(call.credentials()), len),
            Form::Unreadable(error) => Err(error.clone()),
        }
    }

    fn sync(&self, open: &OpenFile<Self>, data_only: bool) -> Result<()> {
        let needs_commit = |file: &File| match &file.form {
            Form::Stored(stored) => stored.log.needs_commit(),
            _ => false,
        };
        if needs_commit(&open.read()) {
            open.write().commit()?;
        }
        // The disk is waited for with the file free for everybody.
        let (lower, ticket) = {
            let file = open.read();
            let ticket = match &file.form {
                Form::Stored(stored) => Some(stored.log.ticket()),
                _ => None,
            };
            (Arc::clone(&file.lower), ticket)
        };
        lower.sync(data_only)?;
        if let Some(ticket) = ticket {
            ticket.redeem();
        }
        Ok(())
    }

    fn opened(&self, open: &OpenFile<Self>, call: &Call, flags: OpenFlags) -> Result<Opened> {
        if !self.settings.passthrough {
            return Ok(Opened::default());
        }
        let mut file = open.write();
        if !file.leave_to_kernel()? {
            return Ok(Opened::default());
        }
        if flags.writes() {
            file.before_change(call, 0)?;
            if let Err(error) = self.marks.set(&*self.store, &*file.lower) {
                log::debug!("{} is not left to the kernel: {error}", open.path().display());
                return Ok(Opened::default());
            }
            file.marked = true;
            ruled::keep(&mut file, open);
        }
        Ok(Opened::passed_through())
    }

    fn fallocate(
        &self,
        file: &mut File,
        call: &Call,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        use FallocateFlags as Flags;
        if !(Flags::KEEP_SIZE | Flags::PUNCH_HOLE | Flags::ZERO_RANGE).contains(mode) {
            return Err(Error::Unsupported);
        }
        file.before_change(call, offset.min(file.len()?))?;
        let stored = match &mut file.form {
            Form::Raw => {
                return raw::fallocate(file.lower.acting(call.credentials()), mode, offset, len);
            }
            Form::Stored(stored) => stored,
            Form::Unreadable(error) => return Err(error.clone()),
        };
        if mode.intersects(Flags::PUNCH_HOLE | Flags::ZERO_RANGE) {
            stored.erase(file.lower.acting(call.credentials()), &self.cache, offset, len)?;
        }
        // Space for what may be written later cannot be promised: nobody knows how small it gets.
        let end = offset.saturating_add(len);
        if !mode.intersects(Flags::KEEP_SIZE | Flags::PUNCH_HOLE) && end > stored.len() {
            stored.set_len(file.lower.acting(call.credentials()), end)?;
        }
        Ok(())
    }

    fn seek(&self, file: &File, offset: u64, whence: Whence) -> Result<u64> {
        match &file.form {
            Form::Raw => file.lower.seek(offset, whence),
            Form::Stored(stored) => stored.seek(offset, whence),
            Form::Unreadable(error) => Err(error.clone()),
        }
    }

    fn times(&self, file: &File) -> Option<Times> {
        file.kept_times
    }

    fn ctime(&self, file: &File, attr: &Attr) -> Option<SystemTime> {
        file.ctime(attr)
    }

    fn keeps_ctime(&self) -> bool {
        self.keeping.is_needed()
    }

    fn attributes_changed(&self, context: &Context, file: Option<&mut File>) {
        match file {
            Some(file) => {
                if let Some(installing) = &mut file.installing {
                    installing.ctime =
                        context.lower_attr().map_or_else(|_| SystemTime::now(), |attr| attr.ctime);
                } else if self.keeping.is_needed() {
                    file.summary.change_ctime(&self.keeping, context);
                }
            }
            None => summary::change_ctime(&self.keeping, context),
        }
    }

    fn times_set(&self, file: &mut File) -> Result<()> {
        if file.kept_times.is_some() {
            file.kept_times = Some(file.lower.times()?);
        }
        Ok(())
    }

    fn changed(&self, context: &Context, file: &mut File) {
        ruled::keep(file, context);
    }

    fn commit_time(&self) -> Option<Duration> {
        Some(self.settings.commit).filter(|time| !time.is_zero())
    }

    fn commit(&self, file: &mut File) -> Result<()> {
        self.mind_reserve_sometimes();
        file.commit()
    }

    fn close(&self, file: &mut File) -> Result<()> {
        file.commit()
    }

    fn is_idle(&self, file: &File) -> bool {
        !file.is_held()
    }

    fn quiet_time(&self) -> Option<Duration> {
        Some(self.settings.quiet)
    }

    fn settle(&self, files: &[Arc<OpenFile<Self>>]) -> Vec<Settled> {
        settle::settle(self, files)
    }

    fn has_past(&self, file: &File) -> bool {
        settle::has_past(self, file)
    }

    fn settle_past(&self, file: &Arc<OpenFile<Self>>) -> Settled {
        settle::settle_past(self, file)
    }

    fn describe(&self, file: &OpenFile<Self>, name: &str) -> Result<Vec<u8>> {
        match name {
            "usage" => usage::describe(&file.read()),
            _ => Err(Error::NoAttribute),
        }
    }
}
