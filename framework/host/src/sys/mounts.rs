//! Mount tables and attributes of mounts.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};
use rustix::mount::MountAttrFlags;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives this thread a mount table of its own. To be called while it is the only one.
pub(crate) fn own_mount_table() -> Result<()> {
    // SAFETY: `CLONE_NEWNS` shares no memory or descriptors and leaves them as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets attributes of a mount, given by a descriptor of its root.
pub(crate) fn restrict(mount: impl AsFd, attributes: MountAttrFlags) -> Result<()> {
    let attributes =
        Attributes { set: attributes.bits().into(), clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the descriptor is open, the path is empty and ends with 0, and the structure is as long
    // as the last argument says; the call keeps nothing of them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result < 0 { Err(last_error()) } else { Ok(()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
