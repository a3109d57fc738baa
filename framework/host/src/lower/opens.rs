//! Which opens of a file the kernel serves by itself, as it is noted for the next worker.

use std::collections::BTreeSet;

/// What the host's own notes are about.
pub(super) const OPENS: u64 = u64::MAX;

const BACKING: u8 = b'b';
const STARTING: u8 = b's';
const PASSED: u8 = b'p';
const CACHED: u8 = b'c';
const CLOSING: u8 = b'x';
/// Forget what stands before.
const AFRESH: u8 = b'-';
const ENTRY_LEN: usize = 9;

/// The opens of one file, by handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opens {
    /// The kernel's number for the lower file, as long as there are opens that it serves.
    pub(crate) backing: Option<u32>,
    /// Nobody knows yet how they are served.
    pub(crate) starting: BTreeSet<u64>,
    /// Served by the kernel from the lower file.
    pub(crate) passed: BTreeSet<u64>,
    /// Served by this host, through the kernel's page cache.
    pub(crate) cached: BTreeSet<u64>,
    /// A number of before, of which the kernel may not know yet that it is not needed.
    pub(crate) closing: Option<u32>,
}

impl Opens {
    /// True if there is nothing to note.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// True if the lower file is read or written past the host, or may be at any time.
    pub(super) fn is_past_host(&self) -> bool {
        self.backing.is_some() || !self.starting.is_empty() || !self.passed.is_empty()
    }

    /// All of it as a note, which makes up for those before it.
    pub(super) fn to_note(&self) -> Vec<u8> {
        let mut note = Vec::new();
        let mut add = |kind, number: u64| {
            note.push(kind);
            note.extend_from_slice(&number.to_ne_bytes());
        };
        add(AFRESH, 0);
        self.backing.iter().for_each(|backing| add(BACKING, (*backing).into()));
        self.starting.iter().for_each(|handle| add(STARTING, *handle));
        self.passed.iter().for_each(|handle| add(PASSED, *handle));
        self.cached.iter().for_each(|handle| add(CACHED, *handle));
        self.closing.iter().for_each(|number| add(CLOSING, (*number).into()));
        note
    }

    /// The other way round, from all notes of a file.
    pub(super) fn read(notes: &[u8]) -> Self {
        let mut opens = Self::default();
        for entry in notes.chunks_exact(ENTRY_LEN) {
            let number = entry[1..].try_into().map_or(0, u64::from_ne_bytes);
            match entry[0] {
                AFRESH => opens = Self::default(),
                BACKING => opens.backing = u32::try_from(number).ok(),
                STARTING => drop(opens.starting.insert(number)),
                PASSED => drop(opens.passed.insert(number)),
                CACHED => drop(opens.cached.insert(number)),
                CLOSING => opens.closing = u32::try_from(number).ok(),
                _ => {}
            }
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_last_counts() {
        let first = Opens { backing: Some(7), passed: [1, 2].into(), ..Opens::default() };
        let last = Opens { cached: [u64::MAX].into(), ..Opens::default() };
        assert!(first.is_past_host() && !last.is_past_host());
        let notes = [first.to_note(), last.to_note()].concat();
        assert_eq!(Opens::read(&notes), last);
        assert_eq!(Opens::read(&first.to_note()), first);
    }
}
