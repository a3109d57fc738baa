//! Which opens of a file the kernel serves by itself, as it is noted for the next worker.

use smallvec::SmallVec;

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

/// A note of a few opens.
pub(super) type Note = SmallVec<[u8; 64]>;

/// Handles in ascending order, mostly one or two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handles(SmallVec<[u64; 4]>);

impl Handles {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, handle: u64) -> bool {
        self.0.binary_search(&handle).is_ok()
    }

    pub(crate) fn insert(&mut self, handle: u64) {
        if let Err(at) = self.0.binary_search(&handle) {
            self.0.insert(at, handle);
        }
    }

    /// True if it was there.
    pub(crate) fn remove(&mut self, handle: u64) -> bool {
        let found = self.0.binary_search(&handle).map(|at| self.0.remove(at));
        found.is_ok()
    }
}

/// The opens of one file, by handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opens {
    /// The kernel's number for the lower file, as long as there are opens that it serves.
    pub(crate) backing: Option<u32>,
    /// Nobody knows yet how they are served.
    pub(crate) starting: Handles,
    /// Served by the kernel from the lower file.
    pub(crate) passed: Handles,
    /// Served by this host, through the kernel's page cache.
    pub(crate) cached: Handles,
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
    pub(super) fn to_note(&self) -> Note {
        let mut note = Note::new();
        let mut add = |kind, number: u64| {
            note.push(kind);
            note.extend_from_slice(&number.to_ne_bytes());
        };
        add(AFRESH, 0);
        self.backing.iter().for_each(|backing| add(BACKING, (*backing).into()));
        self.starting.0.iter().for_each(|handle| add(STARTING, *handle));
        self.passed.0.iter().for_each(|handle| add(PASSED, *handle));
        self.cached.0.iter().for_each(|handle| add(CACHED, *handle));
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
                STARTING => opens.starting.insert(number),
                PASSED => opens.passed.insert(number),
                CACHED => opens.cached.insert(number),
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

    fn handles(numbers: &[u64]) -> Handles {
        let mut handles = Handles::default();
        numbers.iter().for_each(|number| handles.insert(*number));
        handles
    }

    #[test]
    fn what_is_noted_last_counts() {
        let passed = handles(&[2, 1, 2]);
        let first = Opens { backing: Some(7), passed, ..Opens::default() };
        let last = Opens { cached: handles(&[u64::MAX]), ..Opens::default() };
        assert!(first.is_past_host() && !last.is_past_host());
        let notes = [first.to_note().as_slice(), &last.to_note()].concat();
        assert_eq!(Opens::read(&notes), last);
        assert_eq!(Opens::read(&first.to_note()), first);
    }

    #[test]
    fn a_handle_is_there_from_its_first_insertion_to_its_removal() {
        let mut handles = handles(&[5, 1, 9, 5, 7, 3]);
        assert_eq!(handles.0.as_slice(), [1, 3, 5, 7, 9]);
        assert!(handles.remove(5) && !handles.remove(5));
        assert!(!handles.contains(5) && handles.contains(7));
        assert!([1, 3, 7, 9].iter().all(|number| handles.remove(*number)));
        assert!(handles.is_empty());
    }
}
