//! An extended attribute by the name of its file.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, Result};
use syscalls::Sysno;

/// `struct xattr_args`.
#[repr(C, align(8))]
struct Arguments {
    value: u64,
    size: u32,
    flags: u32,
}

/// The kernel has no such call (before 6.13), or something keeps this process from making it.
static IS_MISSING: AtomicBool = AtomicBool::new(false);

/// Reads an attribute of what a name in a directory leads to, which is not followed; returns its length. ENOSYS where
/// this cannot be done.
pub(crate) fn get_at(
    directory: BorrowedFd<'_>,
    name: &CStr,
    attribute: &CStr,
    value: &mut [u8],
) -> Result<usize> {
    if IS_MISSING.load(Ordering::Relaxed) {
        return Err(Errno::NOSYS);
    }
    let size = u32::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    let mut arguments = Arguments { value: value.as_mut_ptr() as u64, size, flags: 0 };
    // SAFETY: the names, the arguments and the buffer that they name live through the call, and the kernel writes no
    // more than `size` bytes into it.
    let result = unsafe {
        libc::syscall(
            Sysno::getxattrat as libc::c_long,
            directory.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            attribute.as_ptr(),
            &raw mut arguments,
            size_of::<Arguments>(),
        )
    };
    usize::try_from(result).map_err(|_| {
        let errno = super::handle::last_error();
        if errno == Errno::NOSYS {
            IS_MISSING.store(true, Ordering::Relaxed);
        }
        errno
    })
}
