//! Whether others have a file open.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// False if somebody has the file open in any other way than through this descriptor, which writes. A lease is
/// granted on what nobody else has open; it is given back at once. `None` where there are no leases.
pub(crate) fn is_alone(file: impl AsFd) -> Option<bool> {
    let file = file.as_fd().as_raw_fd();
    // SAFETY: the calls take numbers and an open descriptor.
    let taken = unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) };
    if taken == 0 {
        // SAFETY: as above.
        unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_UNLCK) };
        return Some(true);
    }
    let errno = Errno::from_io_error(&std::io::Error::last_os_error());
    (errno == Some(Errno::AGAIN)).then_some(false)
}
