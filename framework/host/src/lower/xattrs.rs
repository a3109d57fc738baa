//! Extended attributes, ACLs among them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use hsci_extension::{Error, Ino, Result, XattrFlags};
use rustix::io::Errno;

use super::{LowerTree, proc_path};

/// The most that a value or a list of names can hold (`XATTR_SIZE_MAX`).
const MOST: usize = 64 << 10;

impl LowerTree {
    pub(super) fn xattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        let inode = self.path(ino)?;
        let path = proc_path(&inode);
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

    pub(super) fn set_xattr(
        &self,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        let flags = rustix::fs::XattrFlags::from_bits_retain(flags.bits());
        Ok(rustix::fs::setxattr(&*proc_path(&*self.path(ino)?), name, value, flags)?)
    }

    pub(super) fn xattrs(&self, ino: Ino) -> Result<Vec<OsString>> {
        let inode = self.path(ino)?;
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
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| OsString::from_vec(name.to_vec())).collect())
    }

    pub(super) fn remove_xattr(&self, ino: Ino, name: &OsStr) -> Result<()> {
        let inode = self.path(ino)?;
        let path = proc_path(&inode);
        rustix::fs::removexattr(&*path, name.as_bytes()).map_err(none_as_no_attribute)
    }
}

fn none_as_no_attribute(errno: Errno) -> Error {
    if errno == Errno::NODATA { Error::NoAttribute } else { errno.into() }
}
