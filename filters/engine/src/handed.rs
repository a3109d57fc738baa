//! Who calls, as a program in the kernel hands it over: memory of places, each for one request.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::layout::{Record as _, SubjectClass, hash};

// As in `filters/kernel/bpf/callers.bpf.c`.
const PLACES: u32 = 4096;
const PLACE_LEN: usize = 64;
const SUBJECT: usize = 16;
const BY_THREAD: u64 = 1 << 62;
const RESENT: u64 = 1 << 63;

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
        *part = word(SUBJECT + 4 * index).to_le_bytes();
    }
    let (generation, opcode) = (word(8), word(12));
    let subject = SubjectClass::read(&bytes);
    // What was read belongs to the key if the key is still there.
    fence(Ordering::Acquire);
    let is_whole = memory.long(place).load(Ordering::Relaxed) == key;
    is_whole.then_some(Caller { generation, opcode, subject })
}
