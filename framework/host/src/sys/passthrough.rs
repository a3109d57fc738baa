//! Lower files that the kernel serves by itself (`FUSE_DEV_IOC_BACKING_*`, Linux 6.9).

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

/// `struct fuse_backing_map`.
#[repr(C)]
struct BackingMap {
    file: i32,
    flags: u32,
    padding: u64,
}

const BACKING_OPEN: libc::Ioctl = 0x4010_e501;
const BACKING_CLOSE: libc::Ioctl = 0x4004_e502;

/// Makes an open file known to a FUSE connection; returns its number there. What the kernel does with the file
/// it does with the credentials that this thread has now.
pub(crate) fn open_backing(device: impl AsFd, file: impl AsFd) -> Result<u32> {
    let map = BackingMap { file: file.as_fd().as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the call reads the structure, which has the size that is part of its number.
    let number = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BACKING_OPEN, &raw const map) };
    u32::try_from(number).map_err(|_| last_error())
}

/// Ends that; opens that the kernel serves by the file go on.
pub(crate) fn close_backing(device: impl AsFd, number: u32) -> Result<()> {
    // SAFETY: the call reads one number.
    let done = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BACKING_CLOSE, &raw const number) };
    if done == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
