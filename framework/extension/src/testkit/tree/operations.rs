//! The operations of the tree. Nothing is below it, so every method is overridden.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use super::node::{Body, Node};
use super::{MemoryTree, names};
use crate::{
    Attr, Call, Credentials, DirEntry, Entry, Errno, Error, FallocateFlags, FileKind, FileSystem,
    Ino, LowerFile, OpenFlags, Opened, RenameFlags, Result, SetAttr, StatFs, Whence, XattrFlags,
};

/// What an entry takes beside its name.
const FIXED: usize = 24;

impl FileSystem for MemoryTree {
    fn lookup(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.nodes.lock().look_up(parent, name)
    }

    fn absent_ttl(&self, _: &Call, _: Ino, _: &OsStr) -> Option<Duration> {
        None
    }

    fn retain(&self, ino: Ino) -> Result<()> {
        if ino != Ino::ROOT {
            self.nodes.lock().get(ino)?.lookups += 1;
        }
        Ok(())
    }

    fn forget(&self, ino: Ino, lookups: u64) -> bool {
        self.nodes.lock().forget(ino, lookups)
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        let name = self.nodes.lock().get(ino)?.name.clone();
        name.ok_or_else(|| Errno::NOENT.into())
    }

    fn getattr(&self, _: &Call, ino: Ino) -> Result<Attr> {
        self.nodes.lock().get(ino)?.attr(ino)
    }

    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        if let Some(size) = changes.size {
            self.content(ino)?.set_len(size)?;
            if call.uid != 0 && !call.anonymous {
                self.drop_privileges(ino)?;
            }
        }
        let mut nodes = self.nodes.lock();
        let node = nodes.get(ino)?;
        node.change(changes)?;
        node.attr(ino)
    }

    fn drop_privileges(&self, ino: Ino) -> Result<()> {
        self.nodes.lock().get(ino)?.clear_privileges();
        Ok(())
    }

    fn readlink(&self, _: &Call, ino: Ino) -> Result<OsString> {
        match &self.nodes.lock().get(ino)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        let kind = names::special_kind(mode)?;
        let make = |ino| names::node(call, kind, mode, rdev, ino);
        self.nodes.lock().make(parent, name, make)
    }

    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry> {
        self.nodes.lock().make(parent, name, |_| Node::directory(call, mode, parent))
    }

    fn unlink(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.nodes.lock().remove(parent, name, false)
    }

    fn rmdir(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.nodes.lock().remove(parent, name, true)
    }

    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry> {
        let call = call.clone().with_umask(0);
        let body = Body::Symlink(target.to_owned());
        let make = |_| Node::new(&call, FileKind::Symlink, 0o777, body);
        self.nodes.lock().make(parent, name, make)
    }

    fn rename(
        &self,
        _: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        self.nodes.lock().rename(from, to, flags)
    }

    fn link(&self, _: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.nodes.lock().link(ino, parent, name)
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
        self.content(ino)?.read_at(offset, buffer)
    }

    fn write(&self, _: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.content(ino)?.write_at(Credentials::HOST, offset, data)
    }

    fn fsync(&self, _: &Call, ino: Ino, data_only: bool) -> Result<()> {
        self.content(ino)?.sync(data_only)
    }

    fn fallocate(
        &self,
        _: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        use FallocateFlags as Flags;
        let file = self.content(ino)?;
        let keep = mode.contains(Flags::KEEP_SIZE);
        match mode.difference(Flags::KEEP_SIZE) {
            kind if kind.is_empty() => file.reserve(Credentials::HOST, offset, len)?,
            Flags::PUNCH_HOLE if keep => file.punch(offset, len)?,
            Flags::ZERO_RANGE => file.punch(offset, len)?,
            _ => return Err(Errno::OPNOTSUPP.into()),
        }
        if !keep && offset + len > file.len()? {
            file.set_len(offset + len)?;
        }
        Ok(())
    }

    fn lseek(&self, _: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        self.content(ino)?.seek(offset, whence)
    }

    fn copy_file_range(&self, _: &Call, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64> {
        let (source, target) = (self.content(from.0)?, self.content(to.0)?);
        let mut bytes = vec![0; len.min(1 << 20) as usize];
        let read = source.read_at(from.1, &mut bytes)?;
        target.write_at(Credentials::HOST, to.1, &bytes[..read])?;
        Ok(read as u64)
    }

    fn readdir(&self, _: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        let mut nodes = self.nodes.lock();
        let (above, entries) = nodes.get(ino)?.entries()?;
        let directory = Some(FileKind::Directory);
        let dot = |name: &str, ino: Ino, next| DirEntry::new(name, ino.0, directory, next);
        let dots = [dot(".", ino, 1), dot("..", above, 2)];
        let dots = dots.into_iter().filter(|entry| entry.next > cookie);
        let mut used = 0;
        let listed = dots.chain(entries.after(cookie)).take_while(|entry| {
            used += FIXED + entry.name.len();
            used <= budget || used == FIXED + entry.name.len()
        });
        Ok(listed.collect())
    }

    fn fsyncdir(&self, _: &Call, _: Ino, _: bool) -> Result<()> {
        Ok(())
    }

    fn statfs(&self, _: &Call, _: Ino) -> Result<StatFs> {
        let free = 1 << 28;
        Ok(StatFs {
            block_size: 4096,
            fragment_size: 4096,
            blocks: free,
            blocks_free: free,
            blocks_available: free,
            files: free,
            files_free: free,
            name_max: 255,
        })
    }

    fn setxattr(
        &self,
        _: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        let mut nodes = self.nodes.lock();
        let xattrs = &mut nodes.get(ino)?.xattrs;
        match xattrs.contains_key(name) {
            true if flags.contains(XattrFlags::CREATE) => Err(Errno::EXIST.into()),
            false if flags.contains(XattrFlags::REPLACE) => Err(Error::NoAttribute),
            _ => {
                xattrs.insert(name.to_owned(), value.to_vec());
                Ok(())
            }
        }
    }

    fn getxattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        self.nodes.lock().get(ino)?.xattrs.get(name).cloned().ok_or(Error::NoAttribute)
    }

    fn listxattr(&self, _: &Call, ino: Ino) -> Result<Vec<OsString>> {
        Ok(self.nodes.lock().get(ino)?.xattrs.keys().cloned().collect())
    }

    fn removexattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        let removed = self.nodes.lock().get(ino)?.xattrs.remove(name);
        removed.map(drop).ok_or(Error::NoAttribute)
    }

    fn control_get(&self, _: &Call, _: Ino, _: &str) -> Result<Vec<u8>> {
        Err(Error::NoAttribute)
    }

    fn control_set(&self, _: &Call, _: Ino, _: &str, _: &[u8]) -> Result<()> {
        Err(Error::NoAttribute)
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        self.content(ino)
    }

    fn shutdown(&self) {}
}
