//! Files that wait to be settled, in the order of their times.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::Ino;
use crate::content::open_file::Hold;

/// Most files that wait; beyond that, the tree is searched for them again.
const MOST_WAITING: usize = 100_000;

/// A file that waits, and is known as long as it does.
pub(super) struct Waiting {
    pub(super) hold: Hold,
    /// How often settling it has failed.
    pub(super) failures: u32,
}

impl Waiting {
    pub(super) fn new(hold: Hold) -> Self {
        Self { hold, failures: 0 }
    }
}

/// Each file at most once.
#[derive(Default)]
pub(super) struct Queue {
    by_time: BTreeMap<(Instant, Ino), Waiting>,
    times: HashMap<Ino, Instant, RandomState>,
    /// A file was turned away because too many waited.
    pub(super) overflowed: bool,
}

impl Queue {
    pub(super) fn contains(&self, ino: Ino) -> bool {
        self.times.contains_key(&ino)
    }

    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Takes a file in; returns it if it waits already, or if too many do.
    pub(super) fn push(&mut self, due: Instant, file: Waiting) -> Option<Waiting> {
        let ino = file.hold.ino;
        if self.times.contains_key(&ino) {
            return Some(file);
        }
        if self.times.len() >= MOST_WAITING {
            self.overflowed = true;
            return Some(file);
        }
        self.times.insert(ino, due);
        self.by_time.insert((due, ino), file)
    }

    pub(super) fn remove(&mut self, ino: Ino) -> Option<Waiting> {
        let due = self.times.remove(&ino)?;
        self.by_time.remove(&(due, ino))
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes out at most `limit` files whose time has come.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize) -> Vec<Waiting> {
        let mut due = Vec::new();
        while due.len() < limit && self.next_due().is_some_and(|next| next <= now) {
            if let Some(((_, ino), file)) = self.by_time.pop_first() {
                self.times.remove(&ino);
                due.push(file);
            }
        }
        due
    }
}
