//! Extended attributes, ACLs among them.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use hsci_extension::{Call, Error, Ino, Result, XattrFlags};
use rustix::io::Errno;

use super::{LowerTree, proc_path};
use crate::sandbox::broker;

/// The most that a value or a list of names can hold (`XATTR_SIZE_MAX`).
const MOST: usize = 64 << 10;

impl LowerTree {
    pub(super) fn xattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        get(&*self.path(ino)?, name)
    }

    pub(super) fn set_xattr(
        &self,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        set(&*self.path(ino)?, name, value, flags)
    }

    /// Those of the kernel's are for root to see.
    pub(super) fn xattrs(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        let inode = self.path(ino)?;
        if call.uid == 0
            && let Some(answer) = broker::xattrs(inode.as_fd())
        {
            return Ok(split(&answer?));
        }
        let path = proc_path(&inode);
        let mut names = Vec::with_capacity(1024);
        let list = |names: &mut Vec<u8>| {
            rustix::fs::listxattr(&*path, rustix::buffer::spare_capacity(names))
        };
        match list(&mut names) {
            Err(Errno::RANGE) => {
                names.reserve(MOST);
                list(&mut names)?
            }
            other => other?,
        };
        Ok(split(&names))
    }

    pub(super) fn remove_xattr(&self, ino: Ino, name: &OsStr) -> Result<()> {
        remove(&*self.path(ino)?, name)
    }
}

/// Reads an extended attribute of what a descriptor refers to.
pub(super) fn get(inode: &OwnedFd, name: &OsStr) -> Result<Vec<u8>> {
    if name.as_bytes().starts_with(b"trusted.")
        && let Some(answer) = broker::xattr(inode.as_fd(), name.as_bytes())
    {
        return answer.map_err(none_as_no_attribute);
    }
    let path = proc_path(inode);
    let mut value = Vec::with_capacity(256);
    let read = |value: &mut Vec<u8>| {
        rustix::fs::getxattr(&*path, name, rustix::buffer::spare_capacity(value))
    };
    match read(&mut value) {
        Err(Errno::RANGE) => {
            value.reserve(MOST);
            read(&mut value)
        }
        other => other,
    }
    .map_err(none_as_no_attribute)?;
    Ok(value)
}

/// Sets an extended attribute.
pub(super) fn set(inode: &OwnedFd, name: &OsStr, value: &[u8], flags: XattrFlags) -> Result<()> {
    let flags = rustix::fs::XattrFlags::from_bits_retain(flags.bits());
    let set = rustix::fs::setxattr(&*proc_path(inode), name, value, flags);
    let name = name.as_bytes();
    if set == Err(Errno::PERM)
        && broker::is_kernels(name)
        && let Some(answer) = broker::set_xattr(inode.as_fd(), name, value, flags)
    {
        return Ok(answer?);
    }
    Ok(set?)
}

/// Removes an extended attribute.
pub(super) fn remove(inode: &OwnedFd, name: &OsStr) -> Result<()> {
    let name = name.as_bytes();
    let removed = rustix::fs::removexattr(&*proc_path(inode), name);
    if removed == Err(Errno::PERM)
        && broker::is_kernels(name)
        && let Some(answer) = broker::remove_xattr(inode.as_fd(), name)
    {
        return answer.map_err(none_as_no_attribute);
    }
    removed.map_err(none_as_no_attribute)
}

/// Names that are each ended by 0.
fn split(names: &[u8]) -> Vec<OsString> {
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| OsString::from_vec(name.to_vec())).collect()
}

fn none_as_no_attribute(errno: Errno) -> Error {
    if errno == Errno::NODATA { Error::NoAttribute } else { errno.into() }
}
