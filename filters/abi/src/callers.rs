//! Who calls, as a program in the kernel hands it over: memory of places, each for one request.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use std::mem::offset_of;

use crate::memory::{Known, PROCESSES};
use crate::record::{Described, Record as _};
use crate::tables::{SubjectClass, Words as _, hash};

/// Places for callers.
pub const PLACES: u32 = 4096;
/// Mounts whose callers one program tells.
pub const CONNECTIONS: u32 = 4096;
/// In a key: the rest is a thread's id.
pub const BY_THREAD: u64 = 1 << 62;
/// In the number of a request: it was sent again.
pub const RESENT: u64 = 1 << 63;

crate::record::declare! {
    /// Who made one request.
    HandedOver, "hsci_handed" {
        /// The request's number, or [`BY_THREAD`] and the thread's id. 0 while the rest is being written.
        key: u64,
        /// Which tables the classes are from.
        generation: u32,
        /// Operation code of the request.
        opcode: u32,
        /// The classes.
        subject: SubjectClass,
        /// Key of the process, or 0 if nothing is remembered of it.
        process: u64,
        /// Its place.
        place: u32,
        /// 0.
        reserved: u32,
    }
    /// What a caller tracer counts, and what those who share it know it by.
    TracerState, "hsci_tracer" {
        /// Number of the policy that it classifies by; 0 while that changes.
        policy: u64,
        /// The mount namespace in which executables were found.
        namespace: u64,
        /// Requests for which it could not be found out who calls.
        unknown: u64,
        /// Marks what is found by that policy.
        generation: u32,
        /// Which of the rooms for tables the program was built for.
        room: u32,
        /// 1 if it tells what is remembered of callers.
        remembers: u32,
        /// 0.
        reserved: u32,
    }
}

pub(crate) fn records() -> Vec<Described> {
    vec![HandedOver::describe(), TracerState::describe()]
}

pub(crate) const NUMBERS: &[(&str, u64)] = &[
    ("PLACES", PLACES as u64),
    ("CONNECTIONS", CONNECTIONS as u64),
    ("BY_THREAD", BY_THREAD),
    ("RESENT", RESENT),
];

const PLACE_LEN: usize = size_of::<HandedOver>();

/// Length of the memory in bytes.
pub const HANDED_LEN: usize = PLACES as usize * PLACE_LEN;

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which tables the classes are from.
    pub generation: u32,
    /// Operation code of the request.
    pub opcode: u32,
    /// The classes.
    pub subject: SubjectClass,
    /// Which process it is, where that is remembered.
    pub process: Option<Known>,
}

/// Memory that a program in the kernel writes at the same time. Offsets are in bytes.
pub trait Shared {
    /// The number of four bytes at an offset.
    fn word(&self, offset: usize) -> &AtomicU32;
    /// The number of eight bytes at an offset.
    fn long(&self, offset: usize) -> &AtomicU64;
}

/// Who made a request: found by its number, or on kernels that number requests later by the thread
/// that made it. Nothing if the kernel could not find out, or if too many requests were made since.
#[must_use]
pub fn caller(memory: &impl Shared, unique: u64, tid: u32) -> Option<Caller> {
    let by_thread = || handed_over(memory, BY_THREAD | u64::from(tid));
    handed_over(memory, unique & !RESENT).or_else(by_thread)
}

/// Who made the latest requests, in no order; at most as many as there are places.
#[must_use]
pub fn recent(memory: &impl Shared) -> Vec<Caller> {
    let key = |place: usize| memory.long(place * PLACE_LEN).load(Ordering::Acquire);
    let keys = (0..PLACES as usize).map(key).filter(|key| *key != 0);
    keys.filter_map(|key| handed_over(memory, key)).collect()
}

fn handed_over(memory: &impl Shared, key: u64) -> Option<Caller> {
    let place = hash(key as u32, PLACES - 1) as usize * PLACE_LEN;
    if memory.long(place).load(Ordering::Acquire) != key {
        return None;
    }
    let word = |offset: usize| memory.word(place + offset).load(Ordering::Relaxed);
    let mut bytes = [0; size_of::<SubjectClass>()];
    for (index, part) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *part = word(offset_of!(HandedOver, subject) + 4 * index).to_le_bytes();
    }
    let (generation, opcode) =
        (word(offset_of!(HandedOver, generation)), word(offset_of!(HandedOver, opcode)));
    let subject = SubjectClass::read(&bytes);
    let process = memory.long(place + offset_of!(HandedOver, process)).load(Ordering::Relaxed);
    let process = (process != 0)
        .then(|| Known { key: process, place: word(offset_of!(HandedOver, place)) })
        .filter(|known| known.place < PROCESSES);
    // What was read belongs to the key if the key is still there.
    fence(Ordering::Acquire);
    let is_whole = memory.long(place).load(Ordering::Relaxed) == key;
    is_whole.then_some(Caller { generation, opcode, subject, process })
}
