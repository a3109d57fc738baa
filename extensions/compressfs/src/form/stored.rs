//! A file in sealed or log form: an image, and what was written since, chunk by chunk.

use std::sync::Arc;

use hsci_extension::{Acting, Errno, Error, LowerFile, Result, Whence};

use super::awaited_log::AwaitedLog;
use super::log::Log;
use super::segments::{Awaited, Segments};
use crate::cache::Cache;
use crate::journal::Batch;

/// The logical content of a sealed or log file.
///
/// A chunk comes from the first of these that has it: its slot in the log, zeros if it was erased
/// or lies behind the image, the image.
pub(crate) struct Stored {
    pub(crate) segments: Segments,
    pub(crate) log: Log,
    /// Set while the log lies in a journal, where no mount could bring it into the lower file.
    pub(crate) awaited_log: Option<AwaitedLog>,
    /// Set while an image is on its way into the lower file; the journal is needed until then.
    pub(crate) batch: Option<Arc<Batch>>,
}

/// A part of one chunk that a range covers.
#[derive(Clone, Copy)]
struct Piece {
    chunk: u64,
    /// Range within the chunk.
    start: usize,
    end: usize,
}

impl Stored {
    /// What a lower file holds that begins with the given bytes; `None` if it is raw.
    pub(crate) fn of_head(lower: &Arc<dyn LowerFile>, head: &[u8]) -> Result<Option<Self>> {
        let Some(segments) = Segments::of_head(lower, head)? else {
            return Ok(None);
        };
        let log = Log::recover(&**lower, &segments)?;
        Ok(Some(Self { segments, log, awaited_log: None, batch: None }))
    }

    /// What a lower file holds some images of which lie in a journal still.
    pub(crate) fn with_awaited(lower: &Arc<dyn LowerFile>, awaited: &Awaited) -> Result<Self> {
        let segments = Segments::with_awaited(lower, awaited)?;
        let mut log = Log::recover(&**lower, &segments)?;
        let mut awaited_log = None;
        // Before its first commit, the log in the file is none of these segments.
        if let (true, Some(found)) = (log.has_no_commit(), AwaitedLog::of(awaited, &segments)) {
            log = Log::recover(&found, &segments)?;
            if log.has_no_commit() {
                return Err(Error::Damaged("journal: no log where one is named".to_owned()));
            }
            awaited_log = Some(found);
        }
        Ok(Self { segments, log, awaited_log, batch: None })
    }

    /// True if somebody began to write behind the segments, which are not in the lower file yet.
    pub(crate) fn has_begun_log(&self, lower: &dyn LowerFile) -> Result<bool> {
        Ok(self.awaited_log.is_none()
            && (!self.log.is_empty() || Log::is_begun(lower, &self.segments)?))
    }

    /// Brings the log from the journal into the file, before it is written to.
    pub(crate) fn install_log(&mut self, lower: &dyn LowerFile) -> Result<()> {
        if let Some(awaited) = &self.awaited_log {
            awaited.install(lower)?;
            self.log = Log::recover(lower, &self.segments)?;
            self.awaited_log = None;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        self.log.len
    }

    /// True if a crash would make recovery put the image back.
    pub(crate) fn is_held(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.holds_files())
    }

    fn chunk_len(&self) -> u64 {
        self.segments.chunk_len()
    }

    pub(crate) fn read(
        &self,
        lower: &dyn LowerFile,
        cache: &Cache,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let wanted = self.len().saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut rest = &mut buffer[..wanted];
        for piece in pieces(offset, wanted as u64, self.chunk_len()) {
            let (part, behind) = rest.split_at_mut(piece.end - piece.start);
            self.read_piece(lower, cache, piece, part)?;
            rest = behind;
        }
        Ok(wanted)
    }

    fn read_piece(
        &self,
        lower: &dyn LowerFile,
        cache: &Cache,
        piece: Piece,
        out: &mut [u8],
    ) -> Result<()> {
        if let Some(slot) = self.log.slots.get(&piece.chunk) {
            let valid = (slot.valid as usize).clamp(piece.start, piece.end) - piece.start;
            let place = slot.place + piece.start as u64;
            match &self.awaited_log {
                Some(awaited) => awaited.read_exact_at(place, &mut out[..valid])?,
                None => lower.read_exact_at(place, &mut out[..valid])?,
            }
            out[valid..].fill(0);
            return Ok(());
        }
        // Where the image's bytes count, within the chunk.
        let valid = self.image_part(piece.chunk)?.clamp(piece.start, piece.end) - piece.start;
        out[valid..].fill(0);
        if valid > 0 {
            let start = piece.start;
            self.segments.read(cache, piece.chunk, start, &mut out[..valid])?;
        }
        Ok(())
    }

    /// How many bytes at the start of a chunk without slot come from the image; behind them are
    /// zeros.
    pub(crate) fn image_part(&self, chunk: u64) -> Result<usize> {
        let start = chunk * self.chunk_len();
        let end = self.segments.len().min(self.log.limit);
        if start >= end || self.log.erased.contains(chunk) || self.segments.is_hole(chunk)? {
            return Ok(0);
        }
        Ok((end - start).min(self.chunk_len()) as usize)
    }

    pub(crate) fn write(
        &mut self,
        lower: Acting<'_>,
        cache: &Cache,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= lower.max_len());
        let end = end.ok_or_else(|| Error::TooLarge(format!("a write at {offset}")))?;
        let chunk_len = self.chunk_len();
        let covered = || pieces(offset, data.len() as u64, chunk_len);
        let new = covered().filter(|piece| !self.log.slots.contains_key(&piece.chunk)).count();
        let grows = covered().any(|piece| self.grows(&piece)) || end > self.len();
        if grows {
            self.log.prepare(lower, new as u64, chunk_len)?;
        }
        let (mut rest, mut to_note, len_before) = (data, Vec::new(), self.len());
        for piece in covered() {
            let (part, after) = rest.split_at(piece.end - piece.start);
            if let Err(error) = self.write_piece(lower, cache, piece, part) {
                self.log.forget_behind_end(chunk_len);
                return Err(error);
            }
            if !self.log.is_noted(piece.chunk) {
                to_note.push(piece.chunk);
            }
            rest = after;
        }
        self.log.grow_to(end);
        match to_note.is_empty() {
            true => Ok(()),
            false => self.log.note_write(lower, &to_note, len_before),
        }
    }

    /// True if a commit has to tell of a write to this piece.
    fn grows(&self, piece: &Piece) -> bool {
        self.log.slots.get(&piece.chunk).is_none_or(|slot| piece.end > slot.valid as usize)
    }

    fn write_piece(
        &mut self,
        lower: Acting<'_>,
        cache: &Cache,
        piece: Piece,
        data: &[u8],
    ) -> Result<()> {
        let Some(&slot) = self.log.slots.get(&piece.chunk) else {
            return self.add_slot(lower, cache, piece, data);
        };
        let valid = slot.valid as usize;
        if self.log.is_covered(&slot, piece.start.min(valid)) {
            self.log.confirm(lower)?;
        }
        if piece.start > valid {
            // What lies there now may be left from before a truncation.
            let zeros = vec![0; piece.start - valid];
            lower.write_at(slot.place + valid as u64, &zeros)?;
            self.log.grow_slot(piece.chunk, valid, &zeros);
        } else if piece.start < valid {
            self.log.begin_overwrite(lower, piece.chunk)?;
        }
        lower.write_at(slot.place + piece.start as u64, data)?;
        self.log.grow_slot(piece.chunk, piece.start, data);
        Ok(())
    }

    /// Gives a chunk its slot, with the chunk's current bytes and `data` over them.
    fn add_slot(
        &mut self,
        lower: Acting<'_>,
        cache: &Cache,
        piece: Piece,
        data: &[u8],
    ) -> Result<()> {
        let current = self.image_part(piece.chunk)?;
        let mut bytes = vec![0; current.max(piece.end)];
        if current > 0 && (piece.start > 0 || piece.end < current) {
            self.segments.read(cache, piece.chunk, 0, &mut bytes[..current])?;
        }
        bytes[piece.start..piece.end].copy_from_slice(data);
        self.log.add_slot(lower, piece.chunk, &bytes, self.chunk_len())
    }

    /// Truncates or extends; nothing is written.
    pub(crate) fn set_len(&mut self, lower: Acting<'_>, len: u64) -> Result<()> {
        if len > lower.max_len() {
            return Err(Error::TooLarge(format!("a length of {len}")));
        }
        self.log.set_len(lower, len, self.chunk_len())
    }

    /// Makes a range read as zeros; the length stays.
    pub(crate) fn erase(
        &mut self,
        lower: Acting<'_>,
        cache: &Cache,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let end = offset.saturating_add(len).min(self.len());
        let chunk_len = self.chunk_len();
        // The last chunk counts as whole if nothing of it is left.
        let whole_end = if end == self.len() { end.div_ceil(chunk_len) } else { end / chunk_len };
        let whole = offset.div_ceil(chunk_len)..whole_end;
        let edges = match whole.is_empty() {
            true => [offset..end, 0..0],
            false => [offset..whole.start * chunk_len, whole.end * chunk_len..end],
        };
        self.log.prepare(lower, edges.len() as u64, chunk_len)?;
        for edge in edges.into_iter().filter(|edge| edge.start < edge.end) {
            for piece in pieces(edge.start, edge.end - edge.start, chunk_len) {
                if self.has_data(piece.chunk)? {
                    let zeros = vec![0; piece.end - piece.start];
                    self.write_piece(lower, cache, piece, &zeros)?;
                    if !self.log.is_noted(piece.chunk) {
                        self.log.note_write(lower, &[piece.chunk], self.log.len)?;
                    }
                }
            }
        }
        if whole.is_empty() {
            return Ok(());
        }
        self.log.erase(lower, whole)
    }

    /// False if the whole chunk reads as zeros and takes no space.
    pub(crate) fn has_data(&self, chunk: u64) -> Result<bool> {
        Ok(self.log.slots.contains_key(&chunk) || self.image_part(chunk)? > 0)
    }

    /// The next data or hole, in whole chunks.
    pub(crate) fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        let first = offset / self.chunk_len();
        let found = match whence {
            Whence::Data => self.next_data(first)?,
            Whence::Hole => self.next_hole(first)?,
        };
        let position = found.saturating_mul(self.chunk_len()).max(offset);
        match whence {
            Whence::Data if position >= self.len() => Err(Error::Lower(Errno::NXIO)),
            _ => Ok(position.min(self.len())),
        }
    }

    fn next_data(&self, first: u64) -> Result<u64> {
        let slot = self.log.slots.range(first..).next().map_or(u64::MAX, |(chunk, _)| *chunk);
        for chunk in first..self.segments.chunks().min(slot) {
            if self.image_part(chunk)? > 0 {
                return Ok(chunk);
            }
        }
        Ok(slot)
    }

    fn next_hole(&self, first: u64) -> Result<u64> {
        let mut chunk = first;
        while self.has_data(chunk)? {
            chunk += 1;
        }
        Ok(chunk)
    }

    /// True if a chunk's bytes are those of the image, all of them.
    pub(crate) fn is_from_image(&self, chunk: u64) -> Result<bool> {
        if self.log.slots.contains_key(&chunk) {
            return Ok(false);
        }
        let start = chunk * self.chunk_len();
        let whole = |len: u64| len.saturating_sub(start).min(self.chunk_len()) as usize;
        let part = self.image_part(chunk)?;
        Ok(part > 0 && part == whole(self.segments.len()) && part == whole(self.len()))
    }
}

/// Cuts a range at the borders of chunks.
fn pieces(offset: u64, len: u64, chunk_len: u64) -> impl Iterator<Item = Piece> {
    let end = offset + len;
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let chunk = at / chunk_len;
        let first = chunk * chunk_len;
        let start = (at - first) as usize;
        let stop = (end - first).min(chunk_len) as usize;
        at = first + stop as u64;
        Some(Piece { chunk, start, end: stop })
    })
}
