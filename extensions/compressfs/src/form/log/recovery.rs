//! Finds out what a log says after whatever happened to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hsci_extension::{LowerFile, Result};

use super::{Log, Slot};
use crate::form::segments::Segments;
use crate::format::log::{Chain, Commit, Item, Reader};

impl Log {
    /// The log behind the segments in `lower`, up to the last commit that holds, and what was noted
    /// since by processes that are gone. Nothing is written: what is torn is overwritten by and by.
    pub(crate) fn recover(lower: &dyn LowerFile, segments: &Segments) -> Result<Self> {
        let mut log = Self::new(segments);
        let (header, base) = segments.log_base();
        let mut reader = Reader::new(lower, header, base)?;
        // Groups of commits wait here until a later one confirms them, so that few are kept at a time.
        let (mut waiting, mut group) = (VecDeque::new(), Vec::new());
        let mut confirmed = 0;
        while let Some(item) = reader.next()? {
            let Item::Commit(commit) = item else {
                continue;
            };
            // What a commit confirms was durable, even if the commit's own slots are torn.
            confirmed = commit.confirms.max(confirmed);
            let (seq, continues) = (commit.seq, commit.continues);
            group.push((commit, reader.end(), reader.chain()));
            if continues {
                continue;
            }
            waiting.push_back((seq, std::mem::take(&mut group)));
            let safe = waiting.iter().take_while(|(seq, _)| *seq <= confirmed).count();
            for commit in waiting.drain(..safe).flat_map(|(_, group)| group) {
                log.replay(commit, segments.chunk_len());
            }
        }
        // Bytes that are not what was committed are no better for a note of the same write.
        let mut is_damaged = false;
        for (_, group) in waiting {
            if !all_hold(lower, &group)? {
                is_damaged = true;
                break;
            }
            group.into_iter().for_each(|commit| log.replay(commit, segments.chunk_len()));
        }
        log.confirmed = confirmed;
        log.durable = Arc::new(AtomicU64::new(confirmed));
        log.take_notes(lower, segments.chunk_len(), is_damaged)?;
        log.has_tail = lower.len()? > log.end;
        Ok(log)
    }

    /// True if a slot or a commit lies behind the segments, be it noted or not.
    pub(crate) fn is_begun(lower: &dyn LowerFile, segments: &Segments) -> Result<bool> {
        let (header, base) = segments.log_base();
        Ok(Reader::new(lower, header, base)?.next()?.is_some())
    }

    /// Takes a commit, and the end of the log and the chain behind it.
    fn replay(&mut self, (commit, end, chain): (Commit, u64, Chain), chunk_len: u64) {
        self.change_len(commit.len, chunk_len);
        for range in &commit.erased {
            self.forget_chunks(range.clone());
        }
        for record in &commit.slots {
            let covered = record.len;
            let slot = Slot {
                place: record.place,
                valid: record.len,
                covered,
                told: commit.seq,
                // Bytes under a confirmed commit may have changed since.
                crc: None,
                is_noted: true,
            };
            self.slots.insert(record.chunk, slot);
        }
        self.mark_told(commit.seq);
        (self.end, self.chain) = (end, chain);
    }
}

fn all_hold(lower: &dyn LowerFile, group: &[(Commit, u64, Chain)]) -> Result<bool> {
    for (commit, ..) in group {
        if !holds(lower, commit)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// True if the slots that a commit tells of are what they were when it was made.
fn holds(lower: &dyn LowerFile, commit: &Commit) -> Result<bool> {
    let mut bytes = Vec::new();
    for slot in &commit.slots {
        bytes.resize(slot.len as usize, 0);
        let read = lower.read_at(slot.place, &mut bytes)?;
        if read < bytes.len() || crc32c::crc32c(&bytes) != slot.crc {
            return Ok(false);
        }
    }
    Ok(true)
}
