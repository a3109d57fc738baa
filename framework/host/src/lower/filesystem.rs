//! The operations of the base layer. Nothing is below it.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use hsci_extension::{
    Attr, Call, DirEntry, Entry, Errno, Error, FallocateFlags, FileSystem, Ino, LowerFile,
    OpenFlags, Opened, RenameFlags, Result, SetAttr, StatFs, Whence, XattrFlags,
};
use rustix::fs::AtFlags;

use super::LowerTree;
use super::content::{read_at, seek};
use super::descriptors::Access;

impl FileSystem for LowerTree {
    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        let found = self.find(parent, name)?;
        // The host's own walks stay on the file system: what is mounted below it is somebody else's.
        if call.anonymous && !self.is_at_home(found.ino) {
            self.forget(found.ino, 1);
            return Err(Errno::XDEV.into());
        }
        Ok(found)
    }

    fn absent_ttl(&self, _: &Call, _: Ino, _: &OsStr) -> Option<Duration> {
        None
    }

    fn retain(&self, ino: Ino) -> Result<()> {
        self.inodes.retain(ino)
    }

    fn forget(&self, ino: Ino, lookups: u64) -> bool {
        let gone = self.inodes.forget(ino, lookups);
        self.close(&gone);
        gone.contains(&ino)
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        let (parent, name) = self.inodes.get(ino)?.name().ok_or(Errno::NOENT)?;
        Ok((parent, name.to_os_string()))
    }

    fn getattr(&self, _: &Call, ino: Ino) -> Result<Attr> {
        self.attributes(ino)
    }

    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        self.set_attributes(call, ino, changes)
    }

    fn drop_privileges(&self, ino: Ino) -> Result<()> {
        self.clear_set_id(ino)
    }

    fn readlink(&self, _: &Call, ino: Ino) -> Result<OsString> {
        self.read_symlink(ino)
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        self.make_node(call, parent, name, mode, rdev)
    }

    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry> {
        self.make_directory(call, parent, name, mode)
    }

    fn unlink(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.remove(parent, name, AtFlags::empty())
    }

    fn rmdir(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.remove(parent, name, AtFlags::REMOVEDIR)
    }

    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry> {
        self.make_symlink(call, parent, name, target)
    }

    fn rename(
        &self,
        _: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        self.move_name(from, to, flags)
    }

    fn link(&self, _: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.make_link(ino, parent, name)
    }

    fn opendir(&self, _: &Call, _: Ino) -> Result<()> {
        Ok(())
    }

    fn open(&self, _: &Call, _: Ino, _: OpenFlags) -> Result<Opened> {
        Ok(Opened::default())
    }

    fn release(&self, _: Ino, _: u64) -> Result<()> {
        Ok(())
    }

    fn flush(&self, _: &Call, _: Ino) -> Result<()> {
        Ok(())
    }

    fn read(&self, _: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        read_at(&*self.content_of(ino, Access::Read)?, offset, buffer)
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.write_as(&*self.inodes.get(ino)?, call.credentials(), offset, data)
    }

    fn fsync(&self, _: &Call, ino: Ino, data_only: bool) -> Result<()> {
        self.sync(ino, data_only)
    }

    fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.credentials.act_as(call.credentials());
        let content = self.content_of(ino, Access::Write)?;
        let mode = rustix::fs::FallocateFlags::from_bits_retain(mode.bits());
        self.patiently(|| Ok(rustix::fs::fallocate(&*content, mode, offset, len)?))
    }

    fn lseek(&self, _: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        seek(&*self.content_of(ino, Access::Read)?, offset, whence)
    }

    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        self.credentials.act_as(call.credentials());
        self.copy(from, to, len)
    }

    fn readdir(&self, call: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        self.list(ino, cookie, budget, call.anonymous)
    }

    fn fsyncdir(&self, _: &Call, ino: Ino, data_only: bool) -> Result<()> {
        self.sync_names(ino, data_only)
    }

    fn statfs(&self, _: &Call, _: Ino) -> Result<StatFs> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        let mut answer = StatFs::default();
        (answer.block_size, answer.fragment_size) = (stat.f_bsize, stat.f_frsize);
        (answer.blocks, answer.blocks_free) = (stat.f_blocks, stat.f_bfree);
        answer.blocks_available = stat.f_bavail;
        (answer.files, answer.files_free) = (stat.f_files, stat.f_ffree);
        answer.name_max = stat.f_namemax;
        Ok(answer)
    }

    fn setxattr(
        &self,
        _: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        self.set_xattr(ino, name, value, flags)
    }

    fn getxattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        self.xattr(ino, name)
    }

    fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        self.xattrs(call, ino)
    }

    fn removexattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        self.remove_xattr(ino, name)
    }

    fn control_get(&self, _: &Call, _: Ino, _: &str) -> Result<Vec<u8>> {
        Err(Error::NoAttribute)
    }

    fn control_set(&self, _: &Call, _: Ino, _: &str, _: &[u8]) -> Result<()> {
        Err(Error::NoAttribute)
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        self.open_file(ino)
    }

    fn shutdown(&self) {
        // Everything acknowledged is with the lower file system already.
    }
}
