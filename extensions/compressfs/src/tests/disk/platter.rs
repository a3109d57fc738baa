//! What the platter holds, and what may be on it after a power cut.
//!
//! Of the changes that no sync has waited for, any may be there and any may be lost, as a whole
//! or, of writes, in sectors. These rules of file systems bound that:
//!
//! * The length of one file and what follows from it change in order: where a change of length was
//!   lost, what later lay behind that length is lost, too, and so are later changes of length.
//! * A new length without the bytes that came with it reads as zeros, not as what others left.
//! * A name appears, changes and goes as a whole, and never leads to an inode that was never made.
//! * An inode that no name leads to is gone.

use std::collections::{BTreeSet, HashMap};

use super::{Change, Disk, Event, ROOT, STORE, State};
use crate::tests::random::Random;

/// Bytes that are written as a whole or not at all.
pub(in crate::tests) const SECTOR: usize = 512;

/// What a power cut leaves of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tests) enum Part {
    Nothing,
    All,
    /// The first so many sectors of a write.
    First(usize),
    /// Sectors drawn by a seed.
    Some(u64),
    /// The length that a write gives the file, with zeros.
    Length,
}

impl Part {
    fn has(self, sector: usize) -> bool {
        match self {
            Self::Nothing | Self::Length => false,
            Self::All => true,
            Self::First(count) => sector < count,
            Self::Some(seed) => Random(seed ^ (sector as u64) << 32).below(2) == 0,
        }
    }

    /// A part for each change that waits, at random.
    pub(in crate::tests) fn draw(platter: &Platter, random: &mut Random) -> Vec<Self> {
        let share = random.below(5);
        let names = random.below(3);
        let waiting = platter.waiting.iter().map(|(_, change)| match change {
            // Often in order: lost from some point on.
            Change::Names { .. } if names > 0 => {
                if random.below(3) < names {
                    Self::All
                } else {
                    Self::Nothing
                }
            }
            Change::Write { .. } if random.below(4) == 0 => match random.below(4) {
                0 => Self::Length,
                1 => Self::First(random.below(64) as usize),
                _ => Self::Some(random.next()),
            },
            _ => {
                if random.below(4) < share {
                    Self::All
                } else {
                    Self::Nothing
                }
            }
        });
        waiting.collect()
    }
}

/// The platter at some point in a life.
pub(in crate::tests) struct Platter {
    durable: State,
    /// Changes that no sync has waited for, with their times, in order.
    pub(in crate::tests) waiting: Vec<(u64, Change)>,
}

impl Platter {
    pub(in crate::tests) fn new(base: &State) -> Self {
        Self { durable: base.clone(), waiting: Vec::new() }
    }

    /// The next event happens.
    pub(in crate::tests) fn take(&mut self, event: &Event) {
        match event {
            Event::Change { clock, change } => {
                // So that what is written to a new inode has a place before its name lasts.
                if let Change::Names { new: Some((ino, inode)), .. } = change {
                    self.durable.inodes.insert(*ino, (**inode).clone());
                    self.durable.next_ino = self.durable.next_ino.max(*ino);
                }
                self.durable.clock = self.durable.clock.max(*clock);
                self.waiting.push((*clock, change.clone()));
            }
            Event::Sync(covers) => {
                let durable = &mut self.durable;
                self.waiting.retain(|(clock, change)| {
                    let covered = covers.covers(change);
                    if covered {
                        change.apply(durable, *clock);
                    }
                    !covered
                });
            }
        }
    }

    /// The disk after a power cut that leaves these parts of the changes that wait.
    pub(in crate::tests) fn crash(&self, parts: &[Part]) -> Disk {
        assert_eq!(parts.len(), self.waiting.len(), "one part for each change");
        let mut state = self.durable.clone();
        // For each file, the shortest of the lengths that were lost.
        let mut lost: HashMap<u64, u64> = HashMap::new();
        for ((clock, change), part) in self.waiting.iter().zip(parts) {
            match change {
                Change::Write { ino, offset, data } => {
                    let limit = lost.get(ino).copied().unwrap_or(u64::MAX);
                    write_part(&mut state, (*ino, *offset), data, *part, limit);
                }
                Change::SetLen { ino, len } if *part != Part::All || lost.contains_key(ino) => {
                    let limit = lost.entry(*ino).or_insert(u64::MAX);
                    *limit = (*limit).min(*len);
                }
                Change::Punch { ino, .. } | Change::Reserve { ino, .. }
                    if lost.contains_key(ino) => {}
                _ if *part == Part::All => change.apply(&mut state, *clock),
                _ => {}
            }
        }
        // Either the power was cut, or the device was pulled while the machine ran on.
        state.lifetime.mount += 1;
        state.lifetime.machine += u64::from(parts.len().is_multiple_of(2));
        state.cuts += 1;
        state.forget_unreachable();
        (state.calls, state.fate) = (0, super::Fate::default());
        Disk::of(state)
    }
}

/// Writes the sectors of a part, and as far as a lost change of length lets it.
fn write_part(state: &mut State, place: (u64, u64), data: &[u8], part: Part, limit: u64) {
    let (ino, offset) = place;
    if part == Part::Length && offset + data.len() as u64 <= limit {
        let pages = &mut state.file(ino).now;
        pages.set_len(pages.len.max(offset + data.len() as u64));
    }
    let mut at = 0;
    while at < data.len() {
        // Sectors are those of the file, wherever the write begins.
        let start = offset + at as u64;
        let sector = start as usize / SECTOR - offset as usize / SECTOR;
        let len = (SECTOR - start as usize % SECTOR).min(data.len() - at);
        if part.has(sector) && start < limit {
            state.write(ino, start, &data[at..at + len]);
        }
        at += len;
    }
}

impl State {
    fn forget_unreachable(&mut self) {
        let mut known = BTreeSet::from([ROOT, STORE]);
        let mut dirs = vec![ROOT, STORE];
        while let Some(dir) = dirs.pop() {
            for (_, ino) in self.names_in(dir) {
                if known.insert(ino) {
                    dirs.push(ino);
                }
            }
        }
        self.names.retain(|(dir, _), ino| known.contains(dir) && known.contains(ino));
        self.inodes.retain(|ino, _| known.contains(ino));
    }
}
