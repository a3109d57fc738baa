//! The capabilities of a file stay what they are while the host changes how its bytes are stored, although the kernel
//! takes them with every change.
//!
//! A copy is kept where the inode is, so that a cut loses nothing. It counts only for recovery, which
//! knows that the content is what it was; nobody but root can make one.

use std::ffi::OsStr;

use hsci_extension::{Errno, Error, Result, XattrFlags};

use super::LowerTree;
use super::inodes::Inode;
use super::xattrs::{get, remove, set};

pub(super) const CAPABILITY: &str = "security.capability";
/// The copy.
pub(super) const KEPT: &str = "security.hsci.capability";

impl LowerTree {
    pub(super) fn keep_privileges(&self, inode: &Inode, again: bool) -> Result<()> {
        let path = self.reach(inode)?;
        let mut kept = inode.capability_to_keep().lock();
        let (now, copy) =
            (found(get(&path, OsStr::new(CAPABILITY)))?, found(get(&path, OsStr::new(KEPT)))?);
        match (&now, &copy) {
            (None, Some(_)) if !again => discard(remove(&path, OsStr::new(KEPT)))?,
            (Some(now), _) => set(&path, OsStr::new(KEPT), now, XattrFlags::empty())?,
            _ => {}
        }
        *kept = now.or(copy.filter(|_| again)).map(Vec::into_boxed_slice);
        Ok(())
    }

    pub(super) fn restore_privileges(&self, inode: &Inode) {
        let Some(kept) = inode.kept_capability() else { return };
        let mut kept = kept.lock();
        let Some(value) = kept.take() else { return };
        let restored = self.reach(inode).and_then(|path| {
            set(&path, OsStr::new(CAPABILITY), &value, XattrFlags::empty())?;
            discard(remove(&path, OsStr::new(KEPT)))
        });
        if let Err(error) = restored {
            log::error!("inode {}: its capabilities are lost: {error}", inode.ino.0);
        }
    }

    pub(super) fn drop_privileges_of(&self, inode: &Inode) -> Result<()> {
        let Some(kept) = inode.kept_capability() else { return Ok(()) };
        let mut kept = kept.lock();
        if kept.is_some() {
            discard(remove(&self.reach(inode)?, OsStr::new(KEPT)))?;
            *kept = None;
        }
        Ok(())
    }
}

fn found(value: Result<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoAttribute | Error::Unsupported | Error::Lower(Errno::OPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An attribute that is not there is as good as one that was removed.
pub(super) fn discard(removed: Result<()>) -> Result<()> {
    match removed {
        Err(Error::NoAttribute) => Ok(()),
        other => other,
    }
}
