//! From images in a journal to files: commit, install, remove the journal.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use hsci_extension::{Credentials, Error, LowerFile, OpenFile, Result, Settled, Times, Whence};

use super::plan::in_use;
use crate::compress::Compress;
use crate::form::{Awaited, File, Form, Pending, Segments};
use crate::journal::{Batch, Entry, Writer};
use crate::notices;
use crate::transfer::{copy, restore_times};

/// A finished image in the journal.
pub(super) struct Ready<'a> {
    pub(super) open: &'a OpenFile<Compress>,
    /// The state of the file that the images show.
    pub(super) changes: u64,
    /// The images in the journal.
    pub(super) images: Awaited,
    /// Chunks of the file that are in images then.
    pub(super) chunks: u64,
}

/// A file of a committed batch.
struct Member<'a> {
    open: &'a OpenFile<Compress>,
    entry: Entry,
}

/// Makes the images those of their files; one answer for each. An error means that all files
/// are what they were.
pub(super) fn install(
    compress: &Compress,
    mut journal: Writer,
    ready: Vec<Ready<'_>>,
) -> Result<Vec<Settled>> {
    if ready.is_empty() {
        journal.remove()?;
        return Ok(Vec::new());
    }
    journal.sync()?;
    let batch = Batch::new(ready.len());
    let members: Vec<Result<Member<'_>>> = ready
        .into_iter()
        .enumerate()
        .map(|(place, ready)| offer(compress, ready, &batch, place))
        .collect();
    let stayed = batch.close();
    let entries: Vec<Entry> = members
        .iter()
        .zip(&stayed)
        .filter_map(|(member, stayed)| member.as_ref().ok().filter(|_| *stayed))
        .map(|member| member.entry.clone())
        .collect();
    let journal = match batch.commit(journal, &entries) {
        Ok(journal) => journal,
        Err(error) => {
            for member in members.iter().flatten() {
                // In doubt, it is tried again before the file changes.
                let _ = member.open.write().resolve_pending();
            }
            return Err(error);
        }
    };
    let mut complete = true;
    let mut answers = Vec::with_capacity(members.len());
    for (member, stayed) in members.into_iter().zip(stayed) {
        answers.push(match member {
            Ok(member) if stayed => {
                let installed = settle_member(compress, &journal, &member);
                if let Err(error) = &installed {
                    complete = false;
                    note_waiting(compress, member.open, error);
                }
                installed.map_or_else(Settled::Failed, |()| Settled::Changed)
            }
            Ok(_) | Err(Error::Busy) => Settled::Busy,
            Err(error) => Settled::Failed(error),
        });
    }
    if complete {
        compress.store.sync_all()?;
        journal.remove()?;
        batch.finish();
    } else {
        // The files are served from the journal until recovery gets another chance.
        log::error!("a journal stays in the store");
    }
    Ok(answers)
}

/// The `ctime` that users see now of a file that is locked, to go on to show it.
pub(super) fn shown_ctime(
    compress: &Compress,
    open: &OpenFile<Compress>,
    file: &File,
) -> Option<SystemTime> {
    // First: of what is changed from now on, this gets to know.
    compress.keeping.extend();
    let lower = open.lower_attr().ok()?;
    Some(file.ctime(&lower).unwrap_or(lower.ctime))
}

/// A committed image cannot be brought into its file.
pub(super) fn note_waiting(compress: &Compress, open: &OpenFile<Compress>, error: &Error) {
    let lower = Arc::clone(&open.read().lower);
    compress.notices.add(&open.path(), notices::waits(Some(&*lower), error));
}

fn offer<'a>(
    compress: &Compress,
    ready: Ready<'a>,
    batch: &Arc<Batch>,
    place: usize,
) -> Result<Member<'a>> {
    let Ready { open, changes, images, .. } = ready;
    let mut file = open.write();
    if file.changes != changes || file.is_held() {
        // Nobody in the batch waits for this place any more.
        let _ = batch.withdraw(place);
        return Err(Error::Busy);
    }
    let entry = Entry::new(&*file.lower, images.source.base, images.at, images.len)?;
    if file.lower.is_open_elsewhere()? {
        let _ = batch.withdraw(place);
        return Err(in_use());
    }
    file.installing = shown_ctime(compress, open, &file).map(|ctime| compress.keeping.begin(ctime));
    file.lower.keep_privileges(false)?;
    if let Err(error) = reserve_holes(&*file.lower, images.at..images.at + images.len, &entry.times)
    {
        file.lower.restore_privileges();
        return Err(error);
    }
    let segments = match Segments::with_awaited(&file.lower, &images) {
        Ok(segments) => segments,
        Err(error) => {
            let _ = batch.withdraw(place);
            file.lower.restore_privileges();
            return Err(error);
        }
    };
    file.offer(Pending { segments, log: None, batch: Arc::clone(batch), place });
    Ok(Member { open, entry })
}

/// Where images will lie over holes of the old form, space is taken before it is too late.
pub(super) fn reserve_holes(lower: &dyn LowerFile, place: Range<u64>, times: &Times) -> Result<()> {
    if lower.len()? >= place.end && lower.seek(place.start, Whence::Hole)? >= place.end {
        return Ok(());
    }
    lower.reserve(Credentials::HOST, place.start, place.end - place.start)?;
    restore_times(lower, times);
    Ok(())
}

/// Writes images to their place in the file.
pub(super) fn copy_images(
    journal: &Writer,
    entry: &Entry,
    lower: &Arc<dyn LowerFile>,
) -> Result<()> {
    copy(&**journal.file(), entry.base, (&**lower, entry.at), entry.len)
}

/// Writes one image into its file; readers are served from the journal meanwhile, and writers
/// write behind the image.
fn settle_member(compress: &Compress, journal: &Writer, member: &Member<'_>) -> Result<()> {
    let lower = {
        let mut file = member.open.write();
        file.resolve_pending()?;
        file.take_mark()?;
        Arc::clone(&file.lower)
    };
    copy_images(journal, &member.entry, &lower)?;
    let mut file = member.open.write();
    if let Form::Stored(stored) = &mut file.form {
        stored.segments.move_to(&lower);
    }
    file.release();
    let ctime = file.installing.take();
    file.summarize(&compress.keeping, None, ctime.as_ref().map(|installing| installing.ctime));
    Ok(())
}
