//! Notes in front of a log: what was acknowledged since the last commit. They count for as long as
//! nothing that was written can have been lost, synced or not.

use std::collections::BTreeMap;
use std::ops::Range;

use hsci_extension::Lifetime;

use super::log::Chain;

/// Bytes of all notes: the first block of a log.
pub(crate) const NOTES_LEN: usize = 4096;
/// Bytes of one note.
const NOTE_LEN: usize = 64;
/// Notes that there is room for.
pub(crate) const MAX_NOTES: usize = NOTES_LEN / NOTE_LEN;

/// A change since the last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A slot is new or longer, and the file has at least this length.
    Slot {
        chunk: u64,
        place: u64,
        /// Bytes that count.
        valid: u32,
        /// CRC-32C of them; `None` once some of them were overwritten.
        crc: Option<u32>,
        len: u64,
    },
    /// The file has this length, and nothing lies after it.
    Len(u64),
    /// Chunks are zeros.
    Erased(Range<u64>),
}

/// What a note belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) lifetime: Lifetime,
    /// Number of the commit before, in its lower 32 bits.
    pub(crate) seq: u32,
    /// Goes up with each note since then.
    pub(crate) number: u32,
}

const HAS_CRC: u8 = 1;

impl Note {
    /// The bytes of a note of a log whose first chain is given.
    pub(crate) fn encode(&self, stamp: &Stamp, chain: &Chain) -> [u8; NOTE_LEN] {
        let (kind, flags, numbers, valid, crc) = match *self {
            Self::Slot { chunk, place, valid, crc, len } => {
                let flags = if crc.is_some() { HAS_CRC } else { 0 };
                (1, flags, [chunk, place, len], valid, crc.unwrap_or(0))
            }
            Self::Len(len) => (2, 0, [len, 0, 0], 0, 0),
            Self::Erased(Range { start, end }) => (3, 0, [start, end, 0], 0, 0),
        };
        let mut bytes = [0; NOTE_LEN];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &stamp.lifetime.machine.to_le_bytes());
        put(8, &stamp.lifetime.mount.to_le_bytes());
        put(16, &stamp.seq.to_le_bytes());
        put(20, &stamp.number.to_le_bytes());
        put(56, &[kind, flags]);
        for (place, number) in numbers.iter().enumerate() {
            put(24 + 8 * place, &number.to_le_bytes());
        }
        put(48, &valid.to_le_bytes());
        put(52, &crc.to_le_bytes());
        let check = chain.over(&bytes[..60]);
        bytes[60..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The note in the given bytes, if there is one.
    fn decode(bytes: &[u8], chain: &Chain) -> Option<(Stamp, Self)> {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        if u32_at(60) != chain.over(&bytes[..60]) {
            return None;
        }
        let stamp = Stamp {
            lifetime: Lifetime { machine: u64_at(0), mount: u64_at(8) },
            seq: u32_at(16),
            number: u32_at(20),
        };
        let (a, b, c) = (u64_at(24), u64_at(32), u64_at(40));
        let note = match bytes[56] {
            1 => {
                let crc = (bytes[57] & HAS_CRC != 0).then(|| u32_at(52));
                Self::Slot { chunk: a, place: b, valid: u32_at(48), crc, len: c }
            }
            2 => Self::Len(a),
            3 => Self::Erased(a..b),
            _ => return None,
        };
        Some((stamp, note))
    }
}

/// Notes that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// By their numbers, so in the order in which they were made.
    pub(crate) notes: BTreeMap<u32, Note>,
    /// Rooms from the first to the last that holds one.
    pub(crate) rooms: usize,
    /// The file system was unmounted since: a device that was pulled and came back may have lost what it
    /// had not been sent, so what they say of slots needs proof.
    pub(crate) needs_proof: bool,
}

/// The notes since commit `seq` of the machine's present lifetime. One that was being written when its
/// process died is no note.
pub(crate) fn read(bytes: &[u8], chain: &Chain, seq: u64, now: Lifetime) -> Found {
    let mut found = Found::default();
    for (room, bytes) in bytes.chunks_exact(NOTE_LEN).enumerate() {
        let Some((stamp, note)) = Note::decode(bytes, chain) else { continue };
        let is_ours = now.is_known() && stamp.lifetime.machine == now.machine;
        if stamp.seq != seq as u32 || !is_ours {
            continue;
        }
        found.needs_proof |= stamp.lifetime.mount != now.mount;
        found.rooms = room + 1;
        found.notes.insert(stamp.number, note);
    }
    found
}

/// Position of a room in the file, for notes that begin at `start`.
pub(crate) fn place(start: u64, room: usize) -> u64 {
    start + (room * NOTE_LEN) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_count_in_their_order_and_lifetime_only() {
        let chain = Chain::new(7);
        let now = Lifetime { machine: 1, mount: 2 };
        let slot = |crc| Note::Slot { chunk: 5, place: 1 << 40, valid: 9, crc, len: 77 };
        let notes = [slot(Some(3)), Note::Len(5), Note::Erased(3..9), slot(None)];
        let mut bytes = Vec::new();
        // In another order than they were made in.
        for number in [1, 0, 2, 3] {
            let stamp = Stamp { lifetime: now, seq: 4, number };
            bytes.extend(notes[number as usize].encode(&stamp, &chain));
        }
        bytes.resize(NOTES_LEN, 0);
        let all = Found {
            notes: (0..).zip(notes.to_vec()).collect(),
            rooms: notes.len(),
            needs_proof: false,
        };
        assert_eq!(read(&bytes, &chain, 4, now), all);
        assert_eq!(read(&bytes, &chain, 5, now), Found::default(), "of another commit");
        assert_eq!(read(&bytes, &Chain::new(8), 4, now), Found::default(), "of another image");
        let remounted = Lifetime { mount: 3, ..now };
        let unproved = Found { needs_proof: true, ..all };
        assert_eq!(read(&bytes, &chain, 4, remounted), unproved);
        let restarted = Lifetime { machine: 9, ..now };
        assert_eq!(read(&bytes, &chain, 4, restarted), Found::default(), "another start");
        assert_eq!(read(&bytes, &chain, 4, Lifetime::default()), Found::default(), "unknown");
        bytes[3 * NOTE_LEN + 30] ^= 1;
        assert_eq!(read(&bytes, &chain, 4, now).notes.len(), 3, "one is torn");
    }
}
