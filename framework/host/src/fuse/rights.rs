//! Set-user-id and set-group-id go with a change of content by others, as on every file system, and the
//! kernel knows before the caller does: it would go on with the mode that it has cached.

use std::ffi::OsStr;

use fuser::INodeNo;
use hsci_extension::{Call, FileSystem, Ino, Result, SetAttr, protection};

use super::adapter::Adapter;
use crate::lower::{is_member, keeps_set_id};

const SET_IDS: u32 = 0o6000;
const SET_GID: u32 = 0o2000;

impl Adapter {
    /// Somebody is about to change a file by a request of which the kernel does not say whether
    /// the caller may keep its bits. Few files have any, and only for those the caller is looked at.
    pub(super) fn before_change(&self, call: &Call, ino: Ino) -> Result<()> {
        if self.gives_rights(ino) && !keeps_set_id(call) { self.take(call, ino) } else { Ok(()) }
    }

    /// Clears the bits of a file that somebody who may not keep them is about to change.
    pub(super) fn take_rights(&self, call: &Call, ino: Ino) -> Result<()> {
        if self.gives_rights(ino) { self.take(call, ino) } else { Ok(()) }
    }

    /// An inode that an extension makes up has no bits below.
    fn gives_rights(&self, ino: Ino) -> bool {
        protection::stands("set-ids")
            && self.tree.getattr(&Call::internal(), ino).is_ok_and(|attr| attr.mode & SET_IDS != 0)
    }

    fn take(&self, call: &Call, ino: Ino) -> Result<()> {
        self.top.drop_privileges(ino)?;
        self.tree.clear_foreign_set_gid(call, ino)?;
        self.forget_mode(ino);
        Ok(())
    }

    /// After an access control list was set: who is not in the group of a file does not keep its
    /// set-group-id.
    pub(super) fn after_acl(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        if name != "system.posix_acl_access" || keeps_set_id(call) {
            return Ok(());
        }
        let attr = self.tree.getattr(&Call::internal(), ino)?;
        if attr.mode & SET_GID == 0 || is_member(call, attr.gid) {
            return Ok(());
        }
        let mut changes = SetAttr::default();
        changes.mode = Some(attr.mode & !SET_GID);
        self.tree.setattr(&Call::internal(), ino, &changes)?;
        self.forget_mode(ino);
        Ok(())
    }

    /// Attributes only, which takes no lock that the caller may hold.
    fn forget_mode(&self, ino: Ino) {
        if let Some(notifier) = self.notifier.get()
            && protection::stands("forget-mode")
        {
            // ENOENT: the kernel does not know the inode.
            let _ = notifier.inval_inode(INodeNo(ino.0), -1, 0);
        }
    }
}
