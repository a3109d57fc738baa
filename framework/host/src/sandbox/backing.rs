//! Lower files that the kernel is to serve by itself.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{Errno, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::sys::identity::{own_filesystem_ids, set_filesystem_ids};
use crate::sys::passthrough::open_backing;

/// Makes a file known to a FUSE connection, which takes `CAP_SYS_ADMIN`.
///
/// The kernel opens the file anew as each caller asks, so whoever hands it over must be able to read and write it
/// already. It goes on with the credentials that it finds here, so they are those of the file's owner, without
/// a capability that would keep set-user-id bits from going at a write, or lift quotas and reserves.
pub(super) fn open(device: &OwnedFd, file: &OwnedFd) -> Result<u32> {
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || fcntl_getfl(file)? & OFlags::RWMODE != OFlags::RDWR
    {
        return Err(Errno::PERM);
    }
    // By the calling thread: one that is started for it costs some 0.1 ms more.
    let (mine, owner) = (own_filesystem_ids(), (stat.st_uid, stat.st_gid));
    let sets = capabilities(None)?;
    let of = |effective| set_capabilities(None, CapabilitySets { effective, ..sets });
    set_filesystem_ids(owner.0, owner.1);
    let opened =
        of(sets.permitted & CapabilitySet::SYS_ADMIN).and_then(|()| open_backing(device, file));
    // Rights last, for the kernel gives some of its own accord to a thread that becomes root. Where they do not come back, the
    // thread goes on with less.
    set_filesystem_ids(mine.0, mine.1);
    of(sets.effective)?;
    opened
}
