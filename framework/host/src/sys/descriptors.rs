//! Descriptors that come from another process.

use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::fd::BorrowedFd;
use rustix::io::{Errno, FdFlags, Result};

/// Takes over a descriptor that the parent process left open for this one under a known number;
/// EBADF if it did not. From now on programs started by this process do not get it.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd> {
    if number <= 2 {
        return Err(Errno::BADF);
    }
    // SAFETY: if the descriptor is open it stays so through the call, for nothing else in this
    // process knows of it; if it is not, the call says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and the parent left it for this call to own: each number is passed once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes the number of an open descriptor another name for what `by` refers to.
pub(crate) fn replace(descriptor: RawFd, by: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor is open and stays so: its number is its owner's before and after, and
    // what is made of it here is never dropped.
    let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
    rustix::io::dup3(by, &mut target, rustix::io::DupFlags::CLOEXEC)
}
