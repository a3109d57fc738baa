//! Lower files that the kernel is to serve by itself.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{Errno, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::sys::identity::set_filesystem_ids;
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
    let open = || {
        let permitted = capabilities(None)?.permitted;
        set_filesystem_ids(stat.st_uid, stat.st_gid);
        let effective = permitted & CapabilitySet::SYS_ADMIN;
        let inheritable = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective, permitted: effective, inheritable })?;
        open_backing(device, file)
    };
    // Of a thread that ends, for it does not get its rights back.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("backing".to_owned());
        let thread = thread.spawn_scoped(scope, open).map_err(|_| Errno::AGAIN)?;
        thread.join().unwrap_or(Err(Errno::IO))
    })
}
