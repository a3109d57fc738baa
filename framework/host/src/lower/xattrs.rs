//! Extended attributes, ACLs among them.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use hsci_extension::{Call, Error, Ino, Result, XattrFlags};
use rustix::io::Errno;

use super::LowerTree;
use super::inodes::Inode;
use super::privileges::{CAPABILITY, KEPT, discard};
use super::proc_path::proc_path;
use super::reach::Reached;
use crate::sandbox::broker;

/// The most that a value or a list of names can hold (`XATTR_SIZE_MAX`).
const MOST: usize = 64 << 10;
/// Most values are no longer.
const SHORT: usize = 256;

impl LowerTree {
    pub(super) fn xattr(&self, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        if name == KEPT {
            return Err(Error::NoAttribute);
        }
        let inode = self.inodes.get(ino)?;
        if name != CAPABILITY {
            return self.with_attributes(&inode, |file| get(file, name));
        }
        if inode.has_no_capability() {
            return Err(Error::NoAttribute);
        }
        let path = self.reach(&inode)?;
        loop {
            if let Some(kept) = inode.kept_capability() {
                let kept = kept.lock();
                return kept.as_ref().map_or_else(|| get(&path, name), |kept| Ok(kept.to_vec()));
            }
            let value = get(&path, name);
            // Where one was kept meanwhile, the file may have been without it.
            if inode.kept_capability().is_none() {
                return value;
            }
        }
    }

    pub(super) fn set_xattr(
        &self,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        if name == KEPT {
            return Err(Error::Reserved(KEPT.to_owned()));
        }
        let _changing = self.prefetched.change();
        let inode = self.inodes.get(ino)?;
        if name == CAPABILITY {
            inode.note_capability();
            let path = self.reach(&inode)?;
            if let Some(kept) = inode.kept_capability()
                && let mut kept = kept.lock()
                && kept.is_some()
            {
                set(&path, OsStr::new(KEPT), value, XattrFlags::empty())?;
                *kept = Some(value.into());
                return Ok(());
            }
        }
        self.with_attributes(&inode, |file| set(file, name, value, flags))
    }

    /// Those of the kernel's are for root to see.
    pub(super) fn xattrs(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        let reached = self.reach(&*self.inodes.get(ino)?)?;
        let inode = &reached.descriptor;
        if call.uid == 0
            && let Some(answer) = broker::xattrs(inode.as_fd())
        {
            return Ok(self.shown(ino, split(&answer?)));
        }
        let mut names = Vec::with_capacity(1024);
        let list = |names: &mut Vec<u8>| {
            let names = rustix::buffer::spare_capacity(names);
            match reached.is_open {
                true => rustix::fs::flistxattr(&**inode, names),
                false => rustix::fs::listxattr(&*proc_path(inode), names),
            }
        };
        match list(&mut names) {
            Err(Errno::RANGE) => {
                names.reserve(MOST);
                list(&mut names)?
            }
            other => other?,
        };
        Ok(self.shown(ino, split(&names)))
    }

    /// Names as they are seen through the mount, whatever the host is doing to the file.
    fn shown(&self, ino: Ino, mut names: Vec<OsString>) -> Vec<OsString> {
        let before = names.len();
        names.retain(|name| name != KEPT);
        if names.len() < before
            && let Some(inode) = self.inodes.find(ino)
            && keeps_capability(&inode)
            && !names.iter().any(|name| name == CAPABILITY)
        {
            names.push(CAPABILITY.into());
        }
        names
    }

    pub(super) fn remove_xattr(&self, ino: Ino, name: &OsStr) -> Result<()> {
        let _changing = self.prefetched.change();
        let inode = self.inodes.get(ino)?;
        if name == CAPABILITY && keeps_capability(&inode) {
            self.drop_privileges_of(&inode)?;
            return discard(remove(&self.reach(&inode)?, name));
        }
        self.with_attributes(&inode, |file| remove(file, name))
    }

    /// Reads or changes an attribute. Whether the caller may was judged before; the mode of the file has no say in what
    /// the host may.
    pub(super) fn with_attributes<T>(
        &self,
        inode: &Inode,
        attempt: impl Fn(&Reached) -> Result<T>,
    ) -> Result<T> {
        let file = self.reach(inode)?;
        match attempt(&file) {
            Err(Error::Lower(hsci_extension::Errno::ACCESS)) => {
                self.with_owners_rights(inode, || attempt(&file))
            }
            done => done,
        }
    }
}

fn keeps_capability(inode: &Inode) -> bool {
    inode.kept_capability().is_some_and(|kept| kept.lock().is_some())
}

/// Reads an extended attribute of an inode.
pub(super) fn get(inode: &Reached, name: &OsStr) -> Result<Vec<u8>> {
    let Reached { descriptor, is_open } = inode;
    if name.as_bytes().starts_with(b"trusted.")
        && let Some(answer) = broker::xattr(descriptor.as_fd(), name.as_bytes())
    {
        return answer.map_err(none_as_no_attribute);
    }
    let read = |value: &mut [u8]| match is_open {
        true => rustix::fs::fgetxattr(&**descriptor, name, value),
        false => rustix::fs::getxattr(&*proc_path(descriptor), name, value),
    };
    // The kernel asks for one before most writes, and finds none.
    let mut short = [0; SHORT];
    match read(&mut short) {
        Ok(len) => Ok(short[..len].to_vec()),
        Err(Errno::RANGE) => {
            let mut value = vec![0; MOST];
            let len = read(&mut value).map_err(none_as_no_attribute)?;
            value.truncate(len);
            Ok(value)
        }
        Err(errno) => Err(none_as_no_attribute(errno)),
    }
}

/// Sets an extended attribute.
pub(super) fn set(inode: &Reached, name: &OsStr, value: &[u8], flags: XattrFlags) -> Result<()> {
    let Reached { descriptor, is_open } = inode;
    if name == CAPABILITY && *is_open {
        // A server of the file system below may write later what it was given before, and the kernel there would take
        // the capability with that; it is done with all of it when a descriptor is closed.
        drop(descriptor.try_clone());
    }
    let flags = rustix::fs::XattrFlags::from_bits_retain(flags.bits());
    let set = match is_open {
        true => rustix::fs::fsetxattr(&**descriptor, name, value, flags),
        false => rustix::fs::setxattr(&*proc_path(descriptor), name, value, flags),
    };
    let name = name.as_bytes();
    if set == Err(Errno::PERM)
        && broker::is_kernels(name)
        && let Some(answer) = broker::set_xattr(descriptor.as_fd(), name, value, flags)
    {
        return Ok(answer?);
    }
    Ok(set?)
}

/// Removes an extended attribute.
pub(super) fn remove(inode: &Reached, name: &OsStr) -> Result<()> {
    let Reached { descriptor, is_open } = inode;
    let name = name.as_bytes();
    let removed = match is_open {
        true => rustix::fs::fremovexattr(&**descriptor, name),
        false => rustix::fs::removexattr(&*proc_path(descriptor), name),
    };
    if removed == Err(Errno::PERM)
        && broker::is_kernels(name)
        && let Some(answer) = broker::remove_xattr(descriptor.as_fd(), name)
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
