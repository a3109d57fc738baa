//! What is remembered between calls: memory that the kernel's programs and all hosts share.
//!
//! Processes and buckets lie in two tables with open addressing: an entry is within a few places of its
//! key's hash. Everything is reached by atomics alone, so that threads on both sides need no lock. The
//! kernel's programs enter and remove processes, as they are started and end; hosts look them up.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::callers::Shared;
use crate::record::{Described, Record as _};
use crate::tables::{Effect, Rate, hash};

/// Places for processes.
pub const PROCESSES: u32 = 1 << 16;
/// Places for buckets.
pub const BUCKETS: u32 = 1 << 14;
/// An entry is within as many places.
pub const MEMORY_PROBES: u32 = 16;
/// A process's key: its id below this bit, and above when it was started, which its threads and the programs
/// that it executes have in common.
pub const PROCESS_BITS: u32 = 22;
/// A start counts in this many bits of nanoseconds.
pub const START_SHIFT: u32 = 16;
/// In a bucket's key: it is a user's.
pub const OF_USER: u64 = 1 << 63;
/// Bits of a rate's number in a bucket's key.
pub const RATE_BITS: u32 = 8;

crate::record::declare! {
    /// What is known of a process.
    Process, "hsci_process" {
        /// Which one, or 0.
        key: u64,
        /// Its marks.
        marks: u64,
        /// Number of its lineage, and above its user; 0 before it has one.
        lineage: u64,
        /// 1 if nobody but root could steer what it has executed, by the environment or as its tracer.
        secure: u64,
    }
    /// Tokens of a rate.
    Bucket, "hsci_bucket" {
        /// Whose, and which rate's; 0 if nobody's.
        key: u64,
        /// When it is full, in nanoseconds since the machine was started. A full one may be taken for another key.
        full: u64,
    }
    /// All of it.
    Remembered, "hsci_memory" {
        /// Lineages so far.
        lineages: u64,
        /// Processes that found no place. From then on, one that is not there may have had marks.
        lost: u64,
        /// Processes are followed from this start on, in the units of keys: those started later have a place, or were lost.
        since: u64,
        /// Processes.
        processes: [Process; PROCESSES as usize],
        /// Buckets.
        buckets: [Bucket; BUCKETS as usize],
    }
}

pub(crate) fn records() -> Vec<Described> {
    vec![Process::describe(), Bucket::describe(), Remembered::describe()]
}

pub(crate) const NUMBERS: &[(&str, u64)] = &[
    ("PROCESSES", PROCESSES as u64),
    ("BUCKETS", BUCKETS as u64),
    ("MEMORY_PROBES", MEMORY_PROBES as u64),
    ("PROCESS_BITS", PROCESS_BITS as u64),
    ("START_SHIFT", START_SHIFT as u64),
    ("OF_USER", OF_USER),
    ("RATE_BITS", RATE_BITS as u64),
];

/// Length in bytes.
pub const MEMORY_LEN: usize = size_of::<Remembered>();

/// Tries to change a number that others change, too.
const TRIES: usize = 64;

/// The memory, by whatever holds it.
#[derive(Debug)]
pub struct Memory<'a, S>(pub &'a S);

impl<S> Clone for Memory<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Memory<'_, S> {}

/// A process that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its place.
    pub place: u32,
    /// Which one it is.
    pub key: u64,
}

fn places(key: u64, count: u32) -> impl Iterator<Item = u32> {
    let first = hash((key ^ key >> 32) as u32, count - 1);
    (0..MEMORY_PROBES).map(move |probe| (first + probe) & (count - 1))
}

impl<S: Shared> Memory<'_, S> {
    fn process(&self, place: u32, field: usize) -> &AtomicU64 {
        let at = offset_of!(Remembered, processes) + place as usize * size_of::<Process>();
        self.0.long(at + field)
    }

    fn bucket(&self, place: u32, field: usize) -> &AtomicU64 {
        let at = offset_of!(Remembered, buckets) + place as usize * size_of::<Bucket>();
        self.0.long(at + field)
    }

    /// Processes that found no place.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.long(offset_of!(Remembered, lost)).load(SeqCst)
    }

    /// A process, if it is there.
    #[must_use]
    pub fn find(&self, key: u64) -> Option<Known> {
        let is_there =
            |place: &u32| self.process(*place, offset_of!(Process, key)).load(SeqCst) == key;
        places(key, PROCESSES).find(is_there).map(|place| Known { place, key })
    }

    /// A process that makes a call. Nothing if one that is not there may have had marks.
    #[must_use]
    pub fn caller(&self, key: u64) -> Option<Known> {
        let since = self.0.long(offset_of!(Remembered, since)).load(SeqCst);
        let is_new = self.lost() == 0 && key >> PROCESS_BITS <= since;
        self.find(key).or_else(|| is_new.then(|| self.enter(key)).flatten())
    }

    /// The process that has an id now, if it is there. Looks at all places.
    #[must_use]
    pub fn find_by_id(&self, id: u32) -> Option<Known> {
        let all = (0..PROCESSES).map(|place| {
            let key = self.process(place, offset_of!(Process, key)).load(SeqCst);
            Known { place, key }
        });
        let is_it = |known: &Known| known.key & ((1 << PROCESS_BITS) - 1) == u64::from(id);
        all.filter(is_it).max_by_key(|known| known.key)
    }

    /// Processes are followed that start from a time on, in nanoseconds since the machine was started.
    pub fn follow_since(&self, now: u64) {
        self.0.long(offset_of!(Remembered, since)).store(now >> START_SHIFT, SeqCst);
    }

    /// A process, entered if it is not there. Nothing without room.
    pub fn enter(&self, key: u64) -> Option<Known> {
        if let Some(known) = self.find(key) {
            return Some(known);
        }
        let claimed = places(key, PROCESSES).find(|place| {
            let own = self.process(*place, offset_of!(Process, key));
            own.compare_exchange(0, key, SeqCst, SeqCst).map_or_else(|seen| seen == key, |_| true)
        });
        if claimed.is_none() {
            self.0.long(offset_of!(Remembered, lost)).fetch_add(1, SeqCst);
        }
        claimed.map(|place| Known { place, key })
    }

    /// A process has ended.
    pub fn remove(&self, key: u64) {
        if let Some(Known { place, .. }) = self.find(key) {
            self.process(place, offset_of!(Process, marks)).store(0, SeqCst);
            self.process(place, offset_of!(Process, lineage)).store(0, SeqCst);
            self.process(place, offset_of!(Process, secure)).store(0, SeqCst);
            self.process(place, offset_of!(Process, key)).store(0, SeqCst);
        }
    }

    /// A process of a user starts another one.
    pub fn inherit(&self, parent: u64, user: u32, child: u64, is_init: bool) {
        let (Some(parent), Some(child)) = (self.enter(parent), self.enter(child)) else { return };
        let lineage = if is_init { self.begin(user) } else { self.lineage(parent, user) };
        self.process(child.place, offset_of!(Process, marks)).store(self.marks(parent), SeqCst);
        self.process(child.place, offset_of!(Process, lineage)).store(lineage, SeqCst);
        let secure = u64::from(self.is_secure(parent));
        self.process(child.place, offset_of!(Process, secure)).store(secure, SeqCst);
    }

    /// A process has executed a program.
    pub fn execute(&self, process: u64, secure: bool) {
        if let Some(Known { place, .. }) = self.enter(process) {
            self.process(place, offset_of!(Process, secure)).store(secure.into(), SeqCst);
        }
    }

    /// True if nobody but root could steer what a process has executed.
    #[must_use]
    pub fn is_secure(&self, process: Known) -> bool {
        self.process(process.place, offset_of!(Process, secure)).load(SeqCst) != 0
    }

    fn begin(&self, user: u32) -> u64 {
        let number = self.0.long(offset_of!(Remembered, lineages)).fetch_add(1, SeqCst) + 1;
        u64::from(user) << 32 | number & u64::from(u32::MAX)
    }

    /// The lineage of a process, which is a user's now.
    #[must_use]
    pub fn lineage(&self, process: Known, user: u32) -> u64 {
        let own = self.process(process.place, offset_of!(Process, lineage));
        let known = own.load(SeqCst);
        if known != 0 && (known >> 32) as u32 == user {
            return known;
        }
        let next = self.begin(user);
        own.compare_exchange(known, next, SeqCst, SeqCst).map_or_else(|seen| seen, |_| next)
    }

    /// The marks of a process.
    #[must_use]
    pub fn marks(&self, process: Known) -> u64 {
        self.process(process.place, offset_of!(Process, marks)).load(SeqCst)
    }

    /// Sets and clears marks of a process.
    pub fn mark(&self, process: Known, effect: &Effect) {
        let set = u64::from(effect.set_low) | u64::from(effect.set_high) << 32;
        let clear = u64::from(effect.clear_low) | u64::from(effect.clear_high) << 32;
        if self.process(process.place, offset_of!(Process, key)).load(SeqCst) != process.key {
            return;
        }
        let marks = self.process(process.place, offset_of!(Process, marks));
        if set != 0 {
            marks.fetch_or(set, SeqCst);
        }
        if clear != 0 {
            marks.fetch_and(!clear, SeqCst);
        }
    }

    /// Takes a token of a rate; false if there is none.
    #[must_use]
    pub fn take(&self, owner: Owner, number: u32, rate: &Rate, now: u64) -> bool {
        let key = match owner {
            Owner::User(user) => OF_USER | u64::from(user) << RATE_BITS,
            Owner::Lineage(lineage) => (lineage & u64::from(u32::MAX)) << RATE_BITS,
        } | u64::from(number);
        let interval = u64::from(rate.interval_low) | u64::from(rate.interval_high) << 32;
        let window = u64::from(rate.window_low) | u64::from(rate.window_high) << 32;
        let place = self.bucket_of(key, now);
        let Some(full) = place.map(|place| self.bucket(place, offset_of!(Bucket, full))) else {
            return false;
        };
        for _ in 0..TRIES {
            let seen = full.load(SeqCst);
            let next = seen.max(now) + interval;
            if next - now > window {
                return false;
            }
            if full.compare_exchange(seen, next, SeqCst, SeqCst).is_ok() {
                return true;
            }
        }
        false
    }

    /// The bucket of a key; a full one is taken if there is none. Nothing without room.
    fn bucket_of(&self, key: u64, now: u64) -> Option<u32> {
        let own = |place: u32| self.bucket(place, offset_of!(Bucket, key));
        if let Some(place) = places(key, BUCKETS).find(|place| own(*place).load(SeqCst) == key) {
            return Some(place);
        }
        places(key, BUCKETS).find(|place| {
            let seen = own(*place).load(SeqCst);
            let is_free =
                seen == 0 || self.bucket(*place, offset_of!(Bucket, full)).load(SeqCst) <= now;
            seen == key
                || is_free
                    && own(*place)
                        .compare_exchange(seen, key, SeqCst, SeqCst)
                        .map_or_else(|seen| seen == key, |_| true)
        })
    }

    /// Another policy comes into force: nobody has the marks of the given bits, and all buckets are full.
    /// Processes that have ended unseen go.
    pub fn renew(&self, marks: u64, is_alive: impl Fn(u32) -> bool) {
        for place in 0..PROCESSES {
            let key = self.process(place, offset_of!(Process, key)).load(SeqCst);
            if key != 0 && !is_alive((key & ((1 << PROCESS_BITS) - 1)) as u32) {
                self.remove(key);
            }
            self.process(place, offset_of!(Process, marks)).fetch_and(!marks, SeqCst);
        }
        for place in 0..BUCKETS {
            self.bucket(place, offset_of!(Bucket, full)).store(0, SeqCst);
        }
        self.0.long(offset_of!(Remembered, lost)).store(0, SeqCst);
    }
}

/// Whose bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Of a lineage.
    Lineage(u64),
    /// Of a user.
    User(u32),
}

/// Memory of a process of its own: for tests, and where no kernel shares it.
#[derive(Debug)]
pub struct OwnMemory(Vec<AtomicU64>);

impl Default for OwnMemory {
    fn default() -> Self {
        Self((0..MEMORY_LEN / 8).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Shared for OwnMemory {
    fn word(&self, _: usize) -> &std::sync::atomic::AtomicU32 {
        unreachable!("this memory holds numbers of eight bytes")
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        &self.0[offset / 8]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate =
        Rate { interval_low: 10, interval_high: 0, window_low: 1000, window_high: 0, per_user: 0 };

    #[test]
    fn threads_together_get_no_more_tokens_than_there_are() {
        let memory = OwnMemory::default();
        let taken = std::thread::scope(|scope| {
            let take = || {
                let owner = Owner::Lineage(7);
                (0..1000).filter(|_| Memory(&memory).take(owner, 0, &RATE, 5000)).count()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(taken, 100);
    }

    #[test]
    fn threads_that_mark_at_once_lose_no_mark() {
        let memory = OwnMemory::default();
        let known = Memory(&memory).enter(42).expect("room");
        std::thread::scope(|scope| {
            for bit in 0..32 {
                let effect = Effect { set_low: 1 << bit, ..Effect::default() };
                let memory = &memory;
                scope.spawn(move || Memory(memory).mark(known, &effect));
            }
        });
        assert_eq!(Memory(&memory).marks(known), u64::from(u32::MAX));
    }

    #[test]
    fn a_place_is_given_to_another_process_without_marks() {
        let memory = OwnMemory::default();
        let memory = Memory(&memory);
        let known = memory.enter(42).expect("room");
        memory.mark(known, &Effect { set_high: 1, ..Effect::default() });
        memory.execute(42, true);
        memory.remove(42);
        assert_eq!(memory.find(42), None);
        let known = memory.enter(42).expect("room");
        assert_eq!((memory.marks(known), memory.is_secure(known)), (0, false));
    }

    #[test]
    fn a_child_is_as_secure_as_what_started_it_until_it_executes() {
        let memory = OwnMemory::default();
        let memory = Memory(&memory);
        let is_secure = |key| memory.find(key).is_some_and(|known| memory.is_secure(known));
        memory.execute(1, true);
        memory.inherit(1, 0, 2, false);
        memory.inherit(1, 0, 3, false);
        memory.execute(3, false);
        assert_eq!([1, 2, 3].map(is_secure), [true, true, false]);
    }

    #[test]
    fn a_process_that_should_be_there_and_is_not_is_nobody() {
        let memory = OwnMemory::default();
        let memory = Memory(&memory);
        memory.follow_since(5 << START_SHIFT);
        let key = |start: u64| start << PROCESS_BITS | 7;
        assert_eq!(memory.caller(key(6)), None);
        assert!(memory.caller(key(5)).is_some());
        memory.inherit(key(5), 0, 6 << PROCESS_BITS | 8, false);
        assert!(memory.caller(6 << PROCESS_BITS | 8).is_some());
        assert_eq!(memory.find_by_id(8).map(|known| known.key), Some(6 << PROCESS_BITS | 8));
        assert_eq!(memory.find_by_id(9), None);
    }

    #[test]
    fn where_places_run_out_it_is_known() {
        let memory = OwnMemory::default();
        let memory = Memory(&memory);
        let entered = (1..=u64::from(PROCESSES)).filter(|key| memory.enter(*key).is_some()).count();
        assert!(entered < PROCESSES as usize);
        assert_eq!(entered as u64 + memory.lost(), u64::from(PROCESSES));
    }

    #[test]
    fn a_new_policy_keeps_other_marks_and_drops_the_dead() {
        let memory = OwnMemory::default();
        let memory = Memory(&memory);
        let (one, other) = (1 << PROCESS_BITS | 5, 1 << PROCESS_BITS | 6);
        for key in [one, other] {
            let known = memory.enter(key).expect("room");
            memory.mark(known, &Effect { set_low: 0b11, ..Effect::default() });
        }
        memory.renew(0b10, |process| process == 5);
        assert_eq!(memory.find(one).map(|known| memory.marks(known)), Some(0b01));
        assert_eq!(memory.find(other), None);
    }
}
