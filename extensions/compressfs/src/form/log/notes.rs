//! What the next process has to know of a log when this one dies before the next commit.
//!
//! Every change that is in memory only is noted, in order, behind what it put into the file. Notes
//! older than a commit change nothing that the commit says: each part of the state is as the last
//! note about it has it, and the commit was made behind that.

use std::ops::Range;

use hsci_extension::{Error, LowerFile, Result};

use super::{Log, Slot};

/// Notes of one file in bytes, beyond which a commit takes their place.
const MAX_NOTED: u64 = if cfg!(test) { 500 } else { 256 << 10 };

/// A change since the last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// A chunk has a slot.
    Slot { chunk: u64, place: u64, valid: u32 },
    /// More bytes of a slot count.
    Valid { chunk: u64, valid: u32 },
    /// The file has this length, and nothing lies behind it.
    Len(u64),
    /// Chunks are zeros.
    Erased(Range<u64>),
}

/// Bytes of a note: its kind and three numbers.
const LEN: usize = 25;

impl Note {
    fn encode(&self) -> [u8; LEN] {
        let (kind, numbers) = match *self {
            Self::Slot { chunk, place, valid } => (1, [chunk, place, valid.into()]),
            Self::Valid { chunk, valid } => (2, [chunk, valid.into(), 0]),
            Self::Len(len) => (3, [len, 0, 0]),
            Self::Erased(Range { start, end }) => (4, [start, end, 0]),
        };
        let mut bytes = [kind; LEN];
        for (number, room) in numbers.iter().zip(bytes[1..].chunks_exact_mut(8)) {
            room.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |place: usize| {
            let bytes = bytes.get(1 + 8 * place..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let (a, b, c) = (number(0)?, number(1)?, number(2)?);
        Some(match bytes[0] {
            1 => Self::Slot { chunk: a, place: b, valid: c.try_into().ok()? },
            2 => Self::Valid { chunk: a, valid: b.try_into().ok()? },
            3 => Self::Len(a),
            4 => Self::Erased(a..b),
            _ => return None,
        })
    }
}

impl Log {
    pub(super) fn note(&mut self, lower: &dyn LowerFile, note: &Note) {
        lower.note(self.image.number(), &note.encode());
        self.noted += LEN as u64;
    }

    /// True if a commit would be cheaper to keep than the notes.
    pub(crate) fn is_long_noted(&self) -> bool {
        self.noted > MAX_NOTED
    }

    /// What was noted is in the file, or does not count any more.
    pub(crate) fn drop_notes(&mut self, lower: &dyn LowerFile) {
        lower.drop_notes(self.image.number());
        self.noted = 0;
    }

    /// Takes what the process before has noted.
    pub(super) fn take_notes(&mut self, lower: &dyn LowerFile, chunk_len: u64) -> Result<()> {
        let notes = lower.notes(self.image.number());
        if notes.is_empty() {
            return Ok(());
        }
        for bytes in notes.chunks(LEN) {
            let note = Note::decode(bytes).ok_or_else(|| {
                Error::Broken("notes of a log that nobody understands".to_owned())
            })?;
            self.take(note, chunk_len);
        }
        // The last write may not have come to its end.
        self.cut(self.len, chunk_len);
        self.noted = notes.len() as u64;
        Ok(())
    }

    fn take(&mut self, note: Note, chunk_len: u64) {
        match note {
            Note::Slot { chunk, place, valid } => {
                let known = self.slots.get(&chunk).filter(|known| known.place == place);
                let (covered, told) = known.map_or((0, 0), |known| (known.covered, known.told));
                self.slots.insert(chunk, Slot { place, valid, covered, told });
                self.fresh.insert(chunk);
                self.end = self.end.max(place + chunk_len);
            }
            Note::Valid { chunk, valid } => {
                if let Some(slot) = self.slots.get_mut(&chunk) {
                    slot.valid = valid;
                    self.fresh.insert(chunk);
                }
            }
            Note::Len(len) => {
                self.change_len(len, chunk_len);
                self.cut(len, chunk_len);
            }
            Note::Erased(chunks) => self.forget_chunks(chunks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_they_were_written() {
        let (chunk, place, valid) = (u64::MAX, 1 << 40, u32::MAX);
        for note in [
            Note::Slot { chunk, place, valid },
            Note::Valid { chunk, valid },
            Note::Len(5),
            Note::Erased(3..9),
        ] {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
        assert_eq!(Note::decode(&[9; LEN]), None);
        assert_eq!(Note::decode(&[1; LEN - 1]), None);
    }
}
