//! What is found again when all processes die before the next commit, while the machine runs on: each
//! change is noted in front of the log before it is acknowledged.

use hsci_extension::{Acting, LowerFile, Result};

use super::{Log, Slot, format};
use crate::format::notes::{self, Found, MAX_NOTES, NOTES_LEN, Note, Stamp};

/// The notes since the last commit, and where the next goes.
#[derive(Default)]
pub(super) struct Notes {
    /// Goes up with each note.
    next: u32,
    /// Rooms that are taken.
    rooms: usize,
    /// The chunk that the last note tells of, and the rooms of its last two notes, the older first.
    last: Option<(u64, Option<usize>, usize)>,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The room for a note. A slot that grows on and on takes two of them by turns, for a note that is
    /// torn must not have overwritten the one before.
    fn room(&mut self, note: &Note) -> usize {
        let chunk = match note {
            Note::Slot { chunk, .. } => Some(*chunk),
            _ => None,
        };
        let before = self.last.filter(|(last, ..)| Some(*last) == chunk);
        let room = match before {
            Some((_, Some(older), _)) => older,
            _ => {
                self.rooms += 1;
                self.rooms - 1
            }
        };
        self.last = chunk.map(|chunk| (chunk, before.map(|(.., newer)| newer), room));
        room
    }
}

impl Log {
    /// Writes notes down. A log that has no room for them is committed instead.
    pub(super) fn note(&mut self, lower: Acting<'_>, all: &[Note]) -> Result<()> {
        let lifetime = lower.lifetime();
        let is_full = self.notes.rooms + all.len() > MAX_NOTES;
        if !self.has_notes || is_full || !lifetime.is_known() {
            return self.commit(lower);
        }
        for note in all {
            let stamp = Stamp { lifetime, seq: self.seq as u32, number: self.notes.next };
            let room = self.notes.room(note);
            self.notes.next += 1;
            lower.write_at(notes::place(self.start, room), &note.encode(&stamp, &self.image))?;
        }
        Ok(())
    }

    /// Notes the slots of a write that has come to its end, and the length after it.
    pub(crate) fn note_write(
        &mut self,
        lower: Acting<'_>,
        chunks: &[u64],
        len_before: u64,
    ) -> Result<()> {
        let note = |(place, chunk): (usize, &u64)| {
            let slot = &self.slots[chunk];
            // The length comes with the last, so that it never speaks of bytes without a note.
            let len = if place + 1 == chunks.len() { self.len } else { len_before };
            Note::Slot { chunk: *chunk, place: slot.place, valid: slot.valid, crc: slot.crc, len }
        };
        let notes: Vec<Note> = chunks.iter().enumerate().map(note).collect();
        self.note(lower, &notes)?;
        for chunk in chunks {
            if let Some(slot) = self.slots.get_mut(chunk) {
                slot.is_noted = true;
            }
        }
        Ok(())
    }

    /// Takes what was noted by processes that are gone; after damage, only what its checksums prove.
    pub(super) fn take_notes(
        &mut self,
        lower: &dyn LowerFile,
        chunk_len: u64,
        is_damaged: bool,
    ) -> Result<()> {
        if !self.has_notes {
            return Ok(());
        }
        let mut bytes = vec![0; NOTES_LEN];
        lower.read_at(self.start, &mut bytes)?;
        let Found { notes, rooms, needs_proof } =
            notes::read(&bytes, &self.image, self.seq, lower.lifetime());
        let Some(last) = notes.keys().next_back().copied() else { return Ok(()) };
        if !notes.values().all(|note| self.is_possible(note, chunk_len)) {
            return Ok(());
        }
        let notes: Vec<Note> = notes.into_values().collect();
        if (needs_proof || is_damaged)
            && !(are_proved(lower, &notes)? && self.are_reached(lower, &notes, chunk_len)?)
        {
            return Ok(());
        }
        for note in &notes {
            self.take(note, chunk_len);
        }
        // The last write may not have come to its end.
        self.cut(self.len, chunk_len);
        self.notes = Notes { next: last + 1, rooms, last: None };
        Ok(())
    }

    /// True if a reader of the log will come from the last commit to all slots that notes tell of.
    fn are_reached(&self, lower: &dyn LowerFile, notes: &[Note], chunk_len: u64) -> Result<bool> {
        let mut item = vec![0; format::ALIGNMENT as usize];
        let place = |note: &Note| match note {
            Note::Slot { place, .. } => *place,
            _ => 0,
        };
        let end = notes.iter().map(place).max().unwrap_or(0);
        let mut at = self.end;
        while at < end {
            let read = lower.read_at(at, &mut item)?;
            if read < item.len() || !format::is_slot(&item, &self.chain, self.seq + 1) {
                return Ok(false);
            }
            at += format::ALIGNMENT + chunk_len;
        }
        Ok(true)
    }

    /// No number of a note leads out of the file.
    fn is_possible(&self, note: &Note, chunk_len: u64) -> bool {
        const END: u64 = i64::MAX as u64;
        match note {
            Note::Slot { chunk, place, valid, len, .. } => {
                let is_in_file =
                    |start: u64| start.checked_add(chunk_len).is_some_and(|end| end <= END);
                *chunk <= END / chunk_len
                    && u64::from(*valid) <= chunk_len
                    && *place >= self.items
                    && is_in_file(*place)
                    && *len <= END
            }
            Note::Len(len) => *len <= END,
            Note::Erased(chunks) => chunks.start < chunks.end && chunks.end <= END / chunk_len + 1,
        }
    }

    fn take(&mut self, note: &Note, chunk_len: u64) {
        match *note {
            Note::Slot { chunk, place, valid, len, .. } => {
                let known = self.slots.get(&chunk).filter(|known| known.place == place);
                let (covered, told) = known.map_or((0, 0), |known| (known.covered, known.told));
                // A write that was under way when the process died may have changed bytes under the note's checksum:
                // the next commit reads them.
                let slot = Slot { place, valid, covered, told, crc: None, is_noted: true };
                self.slots.insert(chunk, slot);
                self.fresh.insert(chunk);
                self.end = self.end.max(place + chunk_len);
                self.change_len(len.max(self.len), chunk_len);
            }
            Note::Len(len) => {
                self.change_len(len, chunk_len);
                self.cut(len, chunk_len);
            }
            Note::Erased(ref chunks) => self.forget_chunks(chunks.clone()),
        }
    }
}

/// True if the slots that notes tell of are what was written. For each, its last note counts.
fn are_proved(lower: &dyn LowerFile, notes: &[Note]) -> Result<bool> {
    let mut bytes = Vec::new();
    for (number, note) in notes.iter().enumerate() {
        let Note::Slot { chunk, place, valid, crc, .. } = note else { continue };
        let is_same = |later: &Note| matches!(later, Note::Slot { chunk: c, .. } if c == chunk);
        if notes[number + 1..].iter().any(is_same) {
            continue;
        }
        bytes.resize(*valid as usize, 0);
        let read = lower.read_at(*place, &mut bytes)?;
        if read < bytes.len() || Some(crc32c::crc32c(&bytes)) != *crc {
            return Ok(false);
        }
    }
    Ok(true)
}
