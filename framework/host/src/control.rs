//! The control channel of mounts: one socket for each, named by the device number of the mount and the
//! process that listens, in a directory of whoever mounts.
//!
//! A mount is found by what the kernel says of it, and its supervisor by its socket and the user that
//! the kernel names as its owner. No file system is asked for either.

mod client;
mod sockets;
mod sweep;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::client::{Channel, Silence, statuses};
pub(crate) use self::client::{are_served, ask_all, force_end};
pub(crate) use self::sweep::sweep;
use crate::mounts::{Device, Mounted};

/// How sockets of a mount begin: its device number.
fn prefix(device: Device) -> String {
    format!("{}-{}-", device.major, device.minor)
}

/// How the sockets of this very mount begin: the kernel gives the numbers of devices and mounts again at once, so
/// the directory counts as well.
fn own_prefix(mounted: &Mounted) -> String {
    let dir = crc32fast::hash(mounted.dir.as_os_str().as_bytes());
    format!("{}{}-{dir:08x}-", prefix(mounted.device), mounted.id)
}

/// The name of the socket on which a process listens for a mount from now on. No other gets the same.
pub(crate) fn socket_name(mounted: &Mounted, pid: u32) -> OsString {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{}{pid}-{now:x}{}", own_prefix(mounted), sweep::ENDING).into()
}
