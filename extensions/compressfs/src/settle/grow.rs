//! A file that is never quiet: what is past of it gets a segment, while writers go on at its end.
//!
//! The journal holds the segment, and the log that comes after it with the chunks that are not past. From the
//! commit on both are what the file holds. It waits for the file's lock, and writers for it, while these chunks
//! are copied, and synced before their record is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hsci_extension::{Call, Content, Error, OpenFile, Result, Settled};

use super::batch::{self, Made};
use super::install::{self, Ready};
use super::plan::{self, in_use};
use crate::compress::Compress;
use crate::form::{Awaited, AwaitedLog, File, Form, Pending, Segments};
use crate::format::log::{self, Commit, SlotRecord};
use crate::journal::{Batch, Entry, Writer};

/// The most bytes that may not be past: writers wait while they are copied.
const MAX_REST: u64 = 16 << 20;

/// How often a file was sealed while it grew.
#[cfg(test)]
pub(crate) static SEALED_GROWING: std::sync::atomic::AtomicUsize =
    std::sync::atomic::AtomicUsize::new(0);

/// Seals what is past of a file that grows.
pub(crate) fn settle_past(compress: &Compress, open: &Arc<OpenFile<Compress>>) -> Settled {
    let settled = seal(compress, open);
    // What begins now is about the whole file again.
    open.read().sealing.store(u64::MAX, Ordering::Relaxed);
    settled.unwrap_or_else(|error| {
        // The next attempt is not made at once.
        open.write().growth.restart();
        match error {
            Error::InUse(_) => Settled::Busy,
            error => super::answer(error),
        }
    })
}

fn seal(compress: &Compress, open: &Arc<OpenFile<Compress>>) -> Result<Settled> {
    let Some(plan) = plan::plan_past(compress, open)? else {
        return Ok(Settled::Unchanged);
    };
    let plans = [plan];
    let Made { mut journal, answers, ready } = batch::make(compress, &plans)?;
    let Some((_, ready)) = ready.into_iter().next() else {
        return Ok(answers.into_iter().next().unwrap_or(Settled::Busy));
    };
    journal.sync()?;
    let (journal, batch, entry) = commit(compress, journal, ready)?;
    let lower = {
        let mut file = open.write();
        file.take_mark()?;
        Arc::clone(&file.lower)
    };
    if let Err(error) = install::copy_images(&journal, &entry, &lower) {
        install::note_waiting(compress, open, &error);
        return Err(error);
    }
    {
        let mut file = open.write();
        if let Form::Stored(stored) = &mut file.form {
            stored.segments.move_to(&lower);
        }
        file.release();
    }
    compress.store.sync_all()?;
    journal.remove()?;
    batch.finish();
    #[cfg(test)]
    SEALED_GROWING.fetch_add(1, Ordering::Relaxed);
    Ok(Settled::Changed)
}

/// Makes the images in the journal those of the file, and the rest of it their log.
fn commit(
    compress: &Compress,
    mut journal: Writer,
    ready: Ready<'_>,
) -> Result<(Writer, Arc<Batch>, Entry)> {
    let Ready { open, changes, images, chunks } = ready;
    let mut file = open.write();
    if file.changes != changes || file.is_held() {
        return Err(Error::Busy);
    }
    let mut entry = Entry::new(&*file.lower, images.source.base, images.at, images.len)?;
    if file.lower.is_open_elsewhere()? {
        return Err(in_use());
    }
    let segments = Segments::with_awaited(&file.lower, &images)?;
    entry.log_len = write_log(compress, &file, &segments, chunks, &mut journal)?;
    let images = Awaited { log_len: entry.log_len, ..images };
    let log = AwaitedLog::of(&images, &segments);
    let end = log.as_ref().map_or(segments.end(), AwaitedLog::end);
    install::reserve_holes(&*file.lower, images.at..end, &entry.times)?;
    file.lower.keep_privileges(false)?;
    let batch = Batch::new(1);
    batch.close();
    file.offer(Pending { segments, log, batch: Arc::clone(&batch), place: 0 });
    match batch.commit(journal, std::slice::from_ref(&entry)) {
        Ok(journal) => {
            // Nobody can step back from a batch that is committed.
            file.resolve_pending()?;
            Ok((journal, batch, entry))
        }
        Err(error) => {
            // In doubt, it is tried again before the file changes.
            let _ = file.resolve_pending();
            Err(error)
        }
    }
}

/// Appends the log to the journal that has what comes after so many chunks of a file; returns its length.
fn write_log(
    compress: &Compress,
    file: &File,
    segments: &Segments,
    chunks: u64,
    journal: &mut Writer,
) -> Result<u64> {
    let chunk_len = segments.chunk_len();
    let len = file.len()?;
    if len.saturating_sub(chunks * chunk_len) > MAX_REST {
        return Err(Error::Busy);
    }
    let (header, base) = segments.log_base();
    let (start, mut place) = (header.log_start(base), header.items_start(base));
    let journal_start = journal.align();
    journal.skip(place - start);
    let (mut slots, mut bytes) = (Vec::new(), Vec::new());
    for chunk in chunks..len.div_ceil(chunk_len) {
        let valid = (len - chunk * chunk_len).min(chunk_len);
        bytes.resize(valid as usize, 0);
        if compress.read(file, &Call::internal(), chunk * chunk_len, &mut bytes)? != bytes.len() {
            return Err(Error::Broken("a file that ends early".to_owned()));
        }
        journal.append(&log::slot(&header.chain(), 1, chunk))?;
        journal.append(&bytes)?;
        journal.skip(chunk_len - valid);
        place += log::ALIGNMENT;
        let crc = crc32c::crc32c(&bytes);
        slots.push(SlotRecord { chunk, place, len: valid as u32, crc });
        place += chunk_len;
    }
    let commit = Commit { seq: 1, len, confirms: 0, continues: false, slots, erased: Vec::new() };
    journal.append(&commit.encode(&header.chain()).0)?;
    Ok(journal.end() - journal_start)
}
