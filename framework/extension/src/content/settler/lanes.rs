//! Turns: the files of each user, and each user's orders, wait in a lane of their own, and lanes take turns.

use std::collections::{HashMap, HashSet, VecDeque};

use super::BATCH_BYTES;
use super::BATCH_FILES;
use super::order::Order;
use super::queue::Waiting;
use crate::Ino;

/// So many lanes are worked on at a time. A turn may be long, for one file may be large.
pub(super) const MOST_AT_ONCE: usize = 4;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// The quiet files of this user.
    Files(u32),
    /// What this user has ordered.
    Order(u32),
}

/// What is done in one turn.
pub(super) enum Turn {
    Files(Vec<Waiting>),
    Order(Box<Order>),
}

#[derive(Default)]
pub(super) struct Lanes {
    /// Those with something to do that nobody works on, the next one first.
    next: VecDeque<Lane>,
    busy: HashSet<Lane>,
    /// Files with the bytes that their lower files hold.
    files: HashMap<u32, VecDeque<(Waiting, u64)>>,
    /// The files in `files`.
    known: HashSet<Ino>,
    orders: HashMap<u32, Box<Order>>,
}

impl Lanes {
    /// Takes in a file of a user. Returns it if it waits already.
    pub(super) fn push(&mut self, user: u32, file: Waiting, bytes: u64) -> Option<Waiting> {
        if !self.known.insert(file.hold.ino) {
            return Some(file);
        }
        self.files.entry(user).or_default().push_back((file, bytes));
        self.line_up(Lane::Files(user));
        None
    }

    /// Takes in what is left of an order of a user, who has one at a time.
    pub(super) fn order(&mut self, user: u32, order: Box<Order>) {
        self.orders.insert(user, order);
        self.line_up(Lane::Order(user));
    }

    fn line_up(&mut self, lane: Lane) {
        if !self.busy.contains(&lane) && !self.next.contains(&lane) {
            self.next.push_back(lane);
        }
    }

    /// The next turn; it is over with [`Lanes::done`].
    pub(super) fn begin(&mut self) -> Option<(Lane, Turn)> {
        let lane = self.next.pop_front()?;
        self.busy.insert(lane);
        let turn = match lane {
            Lane::Files(user) => Turn::Files(self.take_files(user)),
            Lane::Order(user) => Turn::Order(self.orders.remove(&user)?),
        };
        Some((lane, turn))
    }

    /// As many of a user's files as are handed to the extension at a time.
    fn take_files(&mut self, user: u32) -> Vec<Waiting> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let Some(waiting) = self.files.get_mut(&user) else { return taken };
        while taken.len() < BATCH_FILES && bytes < BATCH_BYTES {
            let Some((file, len)) = waiting.pop_front() else { break };
            self.known.remove(&file.hold.ino);
            bytes += len;
            taken.push(file);
        }
        if waiting.is_empty() {
            self.files.remove(&user);
        }
        taken
    }

    pub(super) fn done(&mut self, lane: Lane) {
        self.busy.remove(&lane);
        let goes_on = match lane {
            Lane::Files(user) => self.files.contains_key(&user),
            Lane::Order(user) => self.orders.contains_key(&user),
        };
        if goes_on {
            self.line_up(lane);
        }
    }

    /// True if no lane has anything to do.
    pub(super) fn is_idle(&self) -> bool {
        self.next.is_empty() && self.busy.is_empty()
    }

    /// True if a lane waits for its turn.
    pub(super) fn has_next(&self) -> bool {
        !self.next.is_empty()
    }

    /// How many files wait for their turn.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    pub(super) fn contains(&self, ino: Ino) -> bool {
        self.known.contains(&ino)
    }

    /// Takes a file out that waits for its turn.
    pub(super) fn remove(&mut self, ino: Ino) -> Option<Waiting> {
        if !self.known.remove(&ino) {
            return None;
        }
        self.files.values_mut().find_map(|waiting| {
            let place = waiting.iter().position(|(file, _)| file.hold.ino == ino)?;
            waiting.remove(place).map(|(file, _)| file)
        })
    }
}
