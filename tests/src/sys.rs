//! What takes the kernel's own interface: here, shared memory mappings of files.
#![allow(unsafe_code)]

pub mod calls;
pub mod hostile;

use std::ffi::c_void;
use std::fs::File;
use std::io;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// The first bytes of a file, mapped shared, for reading and writing.
///
/// The file must not become shorter than the mapping while bytes are touched: that raises SIGBUS,
/// which ends the process.
#[derive(Debug)]
pub struct Map {
    start: *mut u8,
    len: usize,
}

impl Map {
    /// Maps `len` bytes, at least one, of a file opened for reading and writing.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no existing memory.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) }?;
        Ok(Self { start: start.cast(), len })
    }

    /// Stores bytes.
    ///
    /// # Panics
    /// If the range is not mapped.
    pub fn write(&self, offset: usize, data: &[u8]) {
        self.check(offset, data.len());
        // SAFETY: the range is mapped writable until drop, `data` is no part of it (it is only
        // reachable through this type), and no reference to mapped memory exists.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.start.add(offset), data.len()) }
    }

    /// Loads bytes.
    ///
    /// # Panics
    /// If the range is not mapped.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) {
        self.check(offset, buffer.len());
        // SAFETY: as in `write`, in the other direction.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.start.add(offset),
                buffer.as_mut_ptr(),
                buffer.len(),
            );
        }
    }

    /// Writes dirty pages back, and waits for it.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly the range that was mapped.
        Ok(unsafe { msync(self.start.cast::<c_void>(), self.len, MsyncFlags::SYNC) }?)
    }

    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(end.is_some_and(|end| end <= self.len), "{offset}+{len} of {}", self.len);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped; nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast::<c_void>(), self.len) };
    }
}

/// Gives this process a mount table of its own: what it mounts from now on, nobody else sees.
///
/// # Panics
/// If that is not permitted.
pub fn own_mounts() {
    let flags = rustix::thread::UnshareFlags::NEWNS;
    // SAFETY: no descriptor table is unshared, so no descriptor changes its meaning.
    unsafe { rustix::thread::unshare_unsafe(flags) }.expect("a mount namespace");
    crate::Run::new("mount").args(["--make-rprivate", "/"]).ok();
    leave_others();
}

/// Takes off the copies of other tests' mounts, which these would keep busy.
fn leave_others() {
    // The runner's: `--one NAME DIR`.
    let Some(own) = std::env::args_os().nth(3).map(std::path::PathBuf::from) else { return };
    let Some(base) = own.parent() else { return };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    let is_others = |point: &&str| {
        let name =
            std::path::Path::new(point).strip_prefix(base).ok().and_then(|below| below.to_str());
        !std::path::Path::new(point).starts_with(&own)
            && name.is_some_and(|name| name.starts_with("hsci-"))
    };
    for point in points.filter(is_others) {
        let _ = crate::Run::new("umount").arg("-l").arg(point).done();
    }
}
