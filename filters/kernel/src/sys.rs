//! Everything unsafe: which types may be copied to and from maps, and memory shared with programs.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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
/// A record of both sides, as a map holds it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<R: hsci_abi::Record>(pub(crate) R);

// SAFETY: records are `repr(C)`, made of numbers only, without padding (a test adds the fields up).
unsafe impl<R: hsci_abi::Record + 'static> aya::Pod for Plain<R> {}

/// An order to the guard: an ioctl on a directory, with a number.
pub(crate) struct Order {
    pub(crate) number: Opcode,
    pub(crate) argument: u32,
}

// SAFETY: the argument is a number, and not one of memory: no file system knows these orders, and the
// guard takes it as it is. Nothing is written.
unsafe impl Ioctl for Order {
    type Output = ();

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.number
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.argument as usize)
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Gives an order about a directory; how the guard, or else the file system, answers it.
pub(crate) fn give(directory: BorrowedFd<'_>, order: Order) -> Errno {
    // SAFETY: `Order` is an ioctl by which nobody reads or writes memory of this process.
    match unsafe { ioctl(directory, order) } {
        Ok(()) => Errno::NOTTY,
        Err(errno) => errno,
    }
}

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
}

impl hsci_abi::callers::Shared for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "within the map");
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as maps begin with a
        // page; shared with the kernel, which writes whole numbers.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "within the map");
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
