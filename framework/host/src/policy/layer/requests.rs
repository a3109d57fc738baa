//! The operations that each request is judged as.

use std::ffi::{OsStr, OsString};

use hsci_extension::{
    Attr, Call, DirEntry, Entry, FallocateFlags, Ino, Layer, OpenFlags, Opened, RenameFlags,
    Result, SetAttr, Stack, StatFs, XattrFlags,
};
use hsci_language::{FileType, Operation};

use super::{Judged, changing, made, opening};

impl Layer for Judged {
    fn lower(&self) -> &Stack {
        &*self.below
    }

    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        let found = self.below.lookup(call, parent, name)?;
        self.policy.meet((parent, name), &found);
        Ok(found)
    }

    fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr> {
        let call = self.on(call, &[Operation::GetAttr], ino)?;
        self.below.getattr(&call, ino)
    }

    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        let call = self.on(call, &changing(changes), ino)?;
        self.grow(&call, ino, changes.size.unwrap_or_default())?;
        self.below.setattr(&call, ino, changes)
    }

    fn readlink(&self, call: &Call, ino: Ino) -> Result<OsString> {
        let call = self.on(call, &[Operation::ReadLink], ino)?;
        self.below.readlink(&call, ino)
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        let (operation, file_type) = made(mode);
        let call = self.on_new(call, operation, (parent, name), file_type)?;
        self.below.mknod(&call, parent, name, mode, rdev)
    }

    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry> {
        let call = self.on_new(call, Operation::Mkdir, (parent, name), FileType::Directory)?;
        let made = self.below.mkdir(&call, parent, name, mode)?;
        self.policy.meet((parent, name), &made);
        Ok(made)
    }

    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        let call = self.on_name(call, Operation::Unlink, parent, name)?;
        self.below.unlink(&call, parent, name)
    }

    fn rmdir(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        let call = self.on_name(call, Operation::Rmdir, parent, name)?;
        let removed = self.below.rmdir(&call, parent, name);
        self.policy.epoch.end();
        removed
    }

    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry> {
        let call = self.on_new(call, Operation::Symlink, (parent, name), FileType::Symlink)?;
        self.below.symlink(&call, parent, name, target)
    }

    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        let call = match flags.contains(RenameFlags::EXCHANGE) {
            true => self.on_rename(&self.on_rename(call, to, from)?, from, to)?,
            false => self.on_rename(call, from, to)?,
        };
        let renamed = self.below.rename(&call, from, to, flags);
        self.policy.epoch.end();
        renamed
    }

    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        let call = self.on_link(call, ino, parent, name)?;
        self.below.link(&call, ino, parent, name)
    }

    fn open(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        let (operations, known) = opening(flags);
        let call = self.pass(call, &operations, |policy| self.object(policy, ino, known))?;
        self.below.open(&call, ino, flags)
    }

    fn opendir(&self, call: &Call, ino: Ino) -> Result<()> {
        let call = self.on(call, &[Operation::Open, Operation::ReadDir], ino)?;
        self.below.opendir(&call, ino)
    }

    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let call = self.on_content(call, Operation::ReadData, ino)?;
        self.below.read(&call, ino, offset, buffer)
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        let call = self.on_content(call, Operation::WriteData, ino)?;
        self.grow(&call, ino, offset.saturating_add(data.len() as u64))?;
        self.below.write(&call, ino, offset, data)
    }

    fn fsync(&self, call: &Call, ino: Ino, data_only: bool) -> Result<()> {
        let call = self.on(call, &[Operation::Fsync], ino)?;
        self.below.fsync(&call, ino, data_only)
    }

    fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let call = self.on(call, &[Operation::Allocate], ino)?;
        if !mode.contains(FallocateFlags::KEEP_SIZE) {
            self.grow(&call, ino, offset.saturating_add(len))?;
        }
        self.below.fallocate(&call, ino, mode, offset, len)
    }

    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        self.on_content(call, Operation::ReadData, from.0)?;
        let call = self.on_content(call, Operation::WriteData, to.0)?;
        self.grow(&call, to.0, to.1.saturating_add(len))?;
        self.below.copy_file_range(&call, from, to, len)
    }

    fn readdir(&self, call: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        let how = (Operation::ReadDir, !self.policy.sees_opendirs);
        let call = self.on_right(call, how, ino)?;
        self.below.readdir(&call, ino, cookie, budget)
    }

    fn fsyncdir(&self, call: &Call, ino: Ino, data_only: bool) -> Result<()> {
        let call = self.on(call, &[Operation::Fsync], ino)?;
        self.below.fsyncdir(&call, ino, data_only)
    }

    fn statfs(&self, call: &Call, ino: Ino) -> Result<StatFs> {
        let call = self.on(call, &[Operation::Statfs], ino)?;
        self.below.statfs(&call, ino)
    }

    fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        let call = self.on(call, &[Operation::SetXattr], ino)?;
        self.below.setxattr(&call, ino, name, value, flags)
    }

    fn getxattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        let call = self.on(call, &[Operation::GetXattr], ino)?;
        self.below.getxattr(&call, ino, name)
    }

    fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        let call = self.on(call, &[Operation::ListXattr], ino)?;
        self.below.listxattr(&call, ino)
    }

    fn removexattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        let call = self.on(call, &[Operation::RemoveXattr], ino)?;
        self.below.removexattr(&call, ino, name)
    }

    fn control_get(&self, call: &Call, ino: Ino, name: &str) -> Result<Vec<u8>> {
        // Who asks is shown what would hold for what they write.
        let call = self.on_right(call, (Operation::WriteData, false), ino)?;
        self.below.control_get(&call, ino, name)
    }
}
