//! Memory shared with a program in the kernel, or with the worker to come.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Memory of a file or of an array map, reached number by number.
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
    /// Maps the first `len` bytes of a map of the kernel, to be read.
    pub(crate) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
        Self::map(map, 0, len, ProtFlags::READ)
    }

    /// Maps `len` bytes of a file, which has them, from a multiple of the page size on.
    pub(crate) fn writable(file: impl AsFd, from: u64, len: usize) -> io::Result<Self> {
        Self::map(file, from, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map(file: impl AsFd, from: u64, len: usize, access: ProtFlags) -> io::Result<Self> {
        let (anywhere, flags) = (std::ptr::null_mut(), MapFlags::SHARED);
        // SAFETY: the kernel chooses a free place, so that nothing else is overwritten.
        let start = unsafe { mmap(anywhere, len, access, flags, file, from)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }
}

impl Shared {
    /// The number of eight bytes at an offset. Of a map of the kernel, it is only to be read.
    pub(crate) fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "within the map");
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as mappings begin with a
        // page; whoever else writes there writes whole numbers.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Copies bytes to an offset of a file that is mapped to be written.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.len && bytes.len() <= self.len - offset, "within the map");
        // SAFETY: within the mapping, of which nobody in this process has a reference while it is borrowed
        // mutably; another process looks at the file only when this one has ended.
        unsafe {
            self.start.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }
}

impl hsci_abi::callers::Shared for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "within the map");
        // SAFETY: as in `long`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        self.long(offset)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
