//! Everything unsafe: which types may be copied to and from maps, and memory shared with programs.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::evaluate::{Answer, Question};

/// Tables as a map holds them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Room<const WORDS: usize>([u32; WORDS]);

impl<const WORDS: usize> Room<WORDS> {
    /// Of exactly as many words; on the heap, as a stack has no room for them.
    pub(crate) fn boxed(words: Vec<u32>) -> Box<Self> {
        assert_eq!(words.len(), WORDS);
        let words = Box::into_raw(words.into_boxed_slice());
        // SAFETY: the allocation holds `WORDS` numbers, as was asserted, and `Self` is laid out as
        // an array of them.
        unsafe { Box::from_raw(words.cast::<Self>()) }
    }
}

// SAFETY: an array of numbers, without padding; every bit pattern is one.
unsafe impl<const WORDS: usize> aya::Pod for Room<WORDS> {}
// SAFETY: `repr(C)`, made of numbers only, without padding (a test adds the fields up).
unsafe impl aya::Pod for Question {}
// SAFETY: as above.
unsafe impl aya::Pod for Answer {}

/// Names an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct InodeKey {
    number: u64,
    device: u32,
    reserved: u32,
}

impl InodeKey {
    pub(crate) fn new(number: u64, device: u32) -> Self {
        Self { number, device, reserved: 0 }
    }
}

/// Names the root of a file system, for one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RootKey {
    pub(crate) device: u32,
    pub(crate) generation: u32,
}

// SAFETY: `repr(C)`, numbers only; 8 + 4 + 4 bytes leave no padding.
unsafe impl aya::Pod for InodeKey {}
// SAFETY: `repr(C)`, two numbers of the same size.
unsafe impl aya::Pod for RootKey {}

/// The values of an array map, as memory that programs in the kernel write at the same time.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is reached through atomics only, by whichever thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the first `len` bytes of an array that allows it.
    pub(crate) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a free place, so that nothing else is overwritten.
        let start = unsafe { mmap(std::ptr::null_mut(), len, rights, MapFlags::SHARED, map, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }

    /// The number of eight bytes at an offset.
    pub(crate) fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "within the map");
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as maps begin with a
        // page; shared with the kernel, which writes whole numbers.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// The number of four bytes at an offset.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "within the map");
        // SAFETY: as in `long`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

impl hsci_engine::handed::Shared for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        self.word(offset)
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        self.long(offset)
    }
}
