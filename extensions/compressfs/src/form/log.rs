//! What was written to a file since its image was made: slots and commits behind the image.
//!
//! A slot holds the current bytes of one chunk and is overwritten in place, like a raw file. A
//! commit tells which slots count. It reaches the disk in one `fdatasync` together with the
//! slots it tells of, in any order; so it carries checksums of them, and recovery drops it where
//! they do not hold. Before bytes under such a checksum change, the commit is *confirmed* by a
//! later one, durable already, and its checksums are not looked at any more.

mod erased;
mod notes;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_extension::{Acting, Errno, Error, LowerFile, Result};

use self::erased::Ranges;
use self::notes::Notes;
use super::segments::Segments;
use crate::format::log as format;
use crate::format::notes::Note;

/// Where a chunk's current bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Position of the chunk's first byte in the lower file.
    pub(crate) place: u64,
    /// Bytes that count; the rest of the chunk is zeros.
    pub(crate) valid: u32,
    /// Bytes under the checksum of commit `told`.
    covered: u32,
    /// The last commit that tells of this slot, 0 if none does yet.
    told: u64,
    /// CRC-32C of the bytes that count; `None` once some of them were overwritten.
    crc: Option<u32>,
    /// A note or a commit tells of it as it is.
    is_noted: bool,
}

/// The log of one file.
pub(crate) struct Log {
    /// Logical length of the file.
    pub(crate) len: u64,
    /// The image's bytes at and behind this offset read as zeros: the shortest that the file has
    /// been since the image was made.
    pub(crate) limit: u64,
    pub(crate) slots: BTreeMap<u64, Slot>,
    /// Chunks that read as zeros unless they have a slot.
    pub(crate) erased: Ranges,
    /// Where the log begins, its first item lies, and the next one goes.
    start: u64,
    items: u64,
    end: u64,
    /// The space that is taken for the next commits, so that a full disk fails writes and not them.
    reserved: Range<u64>,
    /// Something torn lies behind `end`.
    has_tail: bool,
    /// The chain as the image begins it.
    image: format::Chain,
    chain: format::Chain,
    /// Number of the last commit; the image itself is commit 0.
    seq: u64,
    /// The last commit known to be on the disk. Shared with those who wait for the disk without
    /// holding the file.
    durable: Arc<AtomicU64>,
    /// The last commit that a durable one confirms.
    confirmed: u64,
    /// Length as of the last commit, and the shortest since.
    told_len: u64,
    shortest: u64,
    /// Chunks whose slots the next commit must tell of, and chunks it must tell are zeros.
    fresh: BTreeSet<u64>,
    fresh_erased: Ranges,
    /// The log has room for notes.
    has_notes: bool,
    notes: Notes,
}

impl Log {
    /// The empty log behind a file's segments.
    pub(crate) fn new(segments: &Segments) -> Self {
        let len = segments.len();
        let (header, base) = segments.log_base();
        let (start, items) = (header.log_start(base), header.items_start(base));
        Self {
            len,
            limit: len,
            slots: BTreeMap::new(),
            erased: Ranges::default(),
            start,
            items,
            end: items,
            reserved: 0..0,
            has_tail: false,
            image: header.chain(),
            chain: header.chain(),
            seq: 0,
            durable: Arc::default(),
            confirmed: 0,
            told_len: len,
            shortest: len,
            fresh: BTreeSet::new(),
            fresh_erased: Ranges::default(),
            has_notes: header.has_notes(),
            notes: Notes::default(),
        }
    }

    /// True if the file is what its image says.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == self.items && !self.needs_commit()
    }

    /// True if no commit was found or made.
    pub(crate) fn has_no_commit(&self) -> bool {
        self.seq == 0
    }

    /// The first chunk that is not what the segments say; of one that was cut, the one it was cut in.
    pub(crate) fn first_changed(&self, segments_len: u64, chunk_len: u64) -> u64 {
        let slot = self.slots.keys().next().copied();
        let erased = self.erased.iter().next().map(|range| range.start);
        let cut = (self.limit < segments_len).then_some(self.limit / chunk_len);
        slot.into_iter().chain(erased).chain(cut).min().unwrap_or(u64::MAX)
    }

    /// Where the next item goes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes from the first item to the end of the last.
    pub(crate) fn stored_len(&self) -> u64 {
        self.end - self.items
    }

    /// True if something would be lost if the file was opened anew.
    pub(crate) fn needs_commit(&self) -> bool {
        self.len != self.told_len
            || self.shortest < self.told_len
            || !self.fresh.is_empty()
            || !self.fresh_erased.is_empty()
    }

    /// True if a checksum that recovery may look at covers the slot's bytes from `start` on.
    pub(crate) fn is_covered(&self, slot: &Slot, start: usize) -> bool {
        start < slot.covered as usize && slot.told > self.confirmed
    }

    /// Takes space for the commits that become necessary by a change that needs so many new slots,
    /// before anything is changed: one that tells of everything, and one that confirms it.
    pub(crate) fn prepare(
        &mut self,
        lower: Acting<'_>,
        new_slots: u64,
        chunk_len: u64,
    ) -> Result<()> {
        let start = self.end + new_slots * (format::ALIGNMENT + chunk_len);
        let slots = self.fresh.len() + new_slots as usize + 1;
        let erased = self.fresh_erased.iter().count() + 1;
        // A file that was shorter meanwhile takes two commits.
        let len = format::commit_len(slots, erased) as u64 + 2 * format::ALIGNMENT;
        let needed = start..start + len;
        if self.reserved.start <= needed.start && needed.end <= self.reserved.end {
            return Ok(());
        }
        if self.end == self.items && self.has_notes {
            reserve(lower, self.start..self.items)?;
        }
        reserve(lower, needed.clone())?;
        self.reserved = needed;
        Ok(())
    }

    pub(crate) fn add_slot(
        &mut self,
        lower: Acting<'_>,
        chunk: u64,
        bytes: &[u8],
        chunk_len: u64,
    ) -> Result<()> {
        self.drop_tail(&*lower)?;
        let mut item = format::slot(&self.chain, self.seq + 1, chunk);
        let place = self.end + item.len() as u64;
        item.extend_from_slice(bytes);
        lower.write_at(self.end, &item)?;
        let (valid, crc) = (bytes.len() as u32, Some(crc32c::crc32c(bytes)));
        let slot = Slot { place, valid, covered: 0, told: 0, crc, is_noted: false };
        self.slots.insert(chunk, slot);
        self.fresh.insert(chunk);
        self.end = place + chunk_len;
        Ok(())
    }

    /// Before bytes of a slot that count are overwritten: its checksum counts no more.
    pub(crate) fn begin_overwrite(&mut self, lower: Acting<'_>, chunk: u64) -> Result<()> {
        let slot = self.slots.get_mut(&chunk).expect("the slot is about to be written");
        if slot.crc.take().is_some() && slot.is_noted && self.fresh.contains(&chunk) {
            self.note_write(lower, &[chunk], self.len)?;
        }
        Ok(())
    }

    /// Bytes were written to a slot from `start` on, which is at most where those that count ended.
    pub(crate) fn grow_slot(&mut self, chunk: u64, start: usize, bytes: &[u8]) {
        let slot = self.slots.get_mut(&chunk).expect("the slot was just written");
        let end = (start + bytes.len()) as u32;
        if end > slot.valid {
            let is_appended = start == slot.valid as usize;
            slot.crc =
                slot.crc.filter(|_| is_appended).map(|crc| crc32c::crc32c_append(crc, bytes));
            slot.valid = end;
            slot.is_noted = false;
            self.fresh.insert(chunk);
        }
    }

    /// True if a note is needed before a write to the slot is acknowledged.
    pub(crate) fn is_noted(&self, chunk: u64) -> bool {
        self.slots.get(&chunk).is_some_and(|slot| slot.is_noted)
    }

    pub(crate) fn set_len(&mut self, lower: Acting<'_>, len: u64, chunk_len: u64) -> Result<()> {
        self.prepare(lower, 0, chunk_len)?;
        self.change_len(len, chunk_len);
        self.note(lower, &[Note::Len(len)])
    }

    /// A write ends after the end of the file so far.
    pub(crate) fn grow_to(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    fn change_len(&mut self, len: u64, chunk_len: u64) {
        if len < self.len {
            self.shortest = self.shortest.min(len);
            self.cut(len, chunk_len);
        }
        self.len = len;
    }

    /// Forgets what a write that failed has left behind the end.
    pub(crate) fn forget_behind_end(&mut self, chunk_len: u64) {
        self.cut(self.len, chunk_len);
    }

    /// Forgets whatever lies behind `len`.
    fn cut(&mut self, len: u64, chunk_len: u64) {
        self.limit = self.limit.min(len);
        let gone = self.slots.split_off(&len.div_ceil(chunk_len));
        self.fresh.retain(|chunk| !gone.contains_key(chunk));
        if let Some(slot) = self.slots.get_mut(&(len / chunk_len)) {
            let end = (len % chunk_len) as u32;
            if end < slot.valid {
                (slot.valid, slot.crc) = (end, None);
            }
        }
    }

    pub(crate) fn erase(&mut self, lower: Acting<'_>, chunks: Range<u64>) -> Result<()> {
        self.forget_chunks(chunks.clone());
        self.note(lower, &[Note::Erased(chunks)])
    }

    fn forget_chunks(&mut self, chunks: Range<u64>) {
        self.forget_slots(&chunks);
        self.erased.insert(chunks.clone());
        self.fresh_erased.insert(chunks);
    }

    fn forget_slots(&mut self, chunks: &Range<u64>) {
        let gone: Vec<u64> = self.slots.range(chunks.clone()).map(|(chunk, _)| *chunk).collect();
        for chunk in gone {
            self.slots.remove(&chunk);
            self.fresh.remove(&chunk);
        }
    }

    /// Appends a commit if there is something to tell.
    pub(crate) fn commit(&mut self, lower: Acting<'_>) -> Result<()> {
        if self.needs_commit() {
            let times = lower.times()?;
            self.append_commits(lower)?;
            // The time of change is that of the write, not that of the commit. An unprivileged
            // host may not set it on another's file, which is no reason to fail.
            let _ = lower.set_times(&times);
        }
        Ok(())
    }

    /// For the last commit: [`Ticket::redeem`] it when the lower file has been synced.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { seq: self.seq, durable: Arc::clone(&self.durable) }
    }

    /// Appends commits that count together. If that fails, the log is as it was.
    fn append_commits(&mut self, lower: Acting<'_>) -> Result<()> {
        let before = (self.end, self.seq, self.chain, self.told_len);
        let appended = self.try_append_commits(lower);
        if appended.is_err() {
            (self.end, self.seq, self.chain, self.told_len) = before;
            self.has_tail = true;
        }
        appended
    }

    fn try_append_commits(&mut self, lower: Acting<'_>) -> Result<()> {
        if self.shortest < self.told_len && self.shortest < self.len {
            // Two lengths to tell: what lies between must not come back.
            self.append(lower, self.shortest, true, Vec::new(), Vec::new())?;
            self.told_len = self.shortest;
        }
        let mut slots = Vec::new();
        let mut bytes = Vec::new();
        for &chunk in &self.fresh {
            let slot = self.slots.get_mut(&chunk).expect("fresh slots exist");
            let crc = match slot.crc {
                Some(crc) => crc,
                None => {
                    bytes.resize(slot.valid as usize, 0);
                    lower.read_exact_at(slot.place, &mut bytes)?;
                    crc32c::crc32c(&bytes)
                }
            };
            slot.crc = Some(crc);
            let (place, len) = (slot.place, slot.valid);
            slots.push(format::SlotRecord { chunk, place, len, crc });
        }
        let mut erased: Vec<_> = self.fresh_erased.iter().collect();
        // All that is erased first: a slot may be younger.
        while erased.len() + slots.len() > format::MAX_RECORDS {
            let some = erased.split_off(erased.len().saturating_sub(format::MAX_RECORDS));
            let room = format::MAX_RECORDS - some.len();
            let more = if erased.is_empty() { room } else { 0 };
            let told = slots.split_off(slots.len().saturating_sub(more));
            self.append(lower, self.len, true, told, some)?;
        }
        self.append(lower, self.len, false, slots, erased)?;
        for chunk in &self.fresh {
            let slot = self.slots.get_mut(chunk).expect("fresh slots exist");
            slot.covered = slot.covered.max(slot.valid);
            (slot.told, slot.is_noted) = (self.seq, true);
        }
        self.mark_told(self.seq);
        Ok(())
    }

    /// Everything is as commit `seq` says.
    fn mark_told(&mut self, seq: u64) {
        self.seq = seq;
        self.told_len = self.len;
        self.shortest = self.len;
        self.fresh.clear();
        self.fresh_erased.clear();
        self.notes.clear();
    }

    /// Appends one commit.
    fn append(
        &mut self,
        lower: Acting<'_>,
        len: u64,
        continues: bool,
        slots: Vec<format::SlotRecord>,
        erased: Vec<Range<u64>>,
    ) -> Result<()> {
        self.drop_tail(&*lower)?;
        let confirms = self.durable.load(Ordering::Acquire);
        let commit = format::Commit { seq: self.seq + 1, len, confirms, continues, slots, erased };
        let (item, chain) = commit.encode(&self.chain);
        lower.write_at(self.end, &item)?;
        self.end += item.len() as u64;
        self.seq += 1;
        self.chain = chain;
        Ok(())
    }

    fn drop_tail(&mut self, lower: &dyn LowerFile) -> Result<()> {
        if self.has_tail {
            lower.set_len(self.end)?;
            (self.has_tail, self.reserved) = (false, 0..0);
        }
        Ok(())
    }

    /// Makes the disk know that the last commit is there, so that what it covers may change.
    pub(crate) fn confirm(&mut self, lower: Acting<'_>) -> Result<()> {
        // A commit ends what was noted, so everything goes into the one to be confirmed.
        self.commit(lower)?;
        if self.durable.load(Ordering::Acquire) < self.seq {
            lower.sync(true)?;
            self.durable.store(self.seq, Ordering::Release);
        }
        let confirmed = self.seq;
        self.append(lower, self.told_len, false, Vec::new(), Vec::new())?;
        self.notes.clear();
        lower.sync(true)?;
        self.durable.store(self.seq, Ordering::Release);
        self.confirmed = confirmed;
        Ok(())
    }
}

/// Allocates space, where the lower file system can.
fn reserve(lower: Acting<'_>, range: Range<u64>) -> Result<()> {
    match lower.reserve(range.start, range.end - range.start) {
        Err(Error::Unsupported | Error::Lower(Errno::OPNOTSUPP | Errno::NOSYS)) => Ok(()),
        reserved => reserved,
    }
}

/// A commit that becomes durable with the next sync of the lower file.
pub(crate) struct Ticket {
    seq: u64,
    durable: Arc<AtomicU64>,
}

impl Ticket {
    /// The lower file was synced after the ticket was issued.
    pub(crate) fn redeem(self) {
        self.durable.fetch_max(self.seq, Ordering::AcqRel);
    }
}
