//! File systems that other users serve by FUSE. Every call on one waits for that user's program, with no end, and
//! the process cannot be ended meanwhile; and whose a file is there is that user's word. So root's programs
//! go there in no case. The kernel tells without asking the server.

use std::os::fd::AsFd;
use std::path::Path;

use hsci_extension::protection;
use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::failure::{Exit, Failure};
use crate::mounts;

/// The number of the mount of a file that was just found in a directory on the mount `from`; fails where root would
/// enter what another user serves.
pub(super) fn enter(
    file: impl AsFd,
    from: Option<u64>,
    given: &Path,
) -> Result<Option<u64>, Failure> {
    let mount = mounts::mount_id(file);
    let Some(id) = mount.filter(|_| mount != from && geteuid().is_root()) else { return Ok(mount) };
    match mounts::server_of(id) {
        Some(user) if user != 0 && protection::stands("users-servers") => {
            let text = format!(
                "{}: a program of user {user} serves what is mounted there (FUSE), and others than root decide what it says; do that as this user, or name a place of root's",
                given.display()
            );
            Err(Failure::new(Exit::Impossible, text))
        }
        _ => Ok(mount),
    }
}

/// What the kernel knows of what a link in `/proc` leads to; no server is asked.
pub(crate) fn known(link: &Path) -> Result<Statx, Errno> {
    let flags = match protection::stands("unasked") {
        true => AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT,
        false => AtFlags::empty(),
    };
    statx(CWD, link, flags, StatxFlags::BASIC_STATS)
}

/// The device of a file, as one number.
pub(crate) fn device_of(stat: &Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}
