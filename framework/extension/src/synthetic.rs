//! Trees that exist nowhere: directories and files of which an extension says what is in them, as `/proc` does.
//!
//! A [`Tree`] holds names, attributes and [providers](Provider) of contents, and shows them at the root of the mount
//! beside what is stored. The number of an inode follows from its path, so that the next worker, which
//! makes the same tree, knows those that the kernel has. What is stored hides a synthetic file of the same name.

mod nodes;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;

use self::nodes::{AFTER, Node, Nodes, is_synthetic, names};
use crate::{
    Attr, Call, DirEntry, Entry, Errno, Error, FallocateFlags, FileKind, Ino, Kernel, Layer,
    LowerFile, OpenFlags, Opened, RenameFlags, Result, SetAttr, Stack, StatFs, Whence, XattrFlags,
};

/// What is in a synthetic file. A function that returns all of it is one.
pub trait Provider: Send + Sync + 'static {
    /// Its length in bytes.
    fn size(&self) -> Result<u64>;

    /// Reads at `offset`; returns fewer bytes than asked for only at the end.
    fn read(&self, call: &Call, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Takes all of `data` at `offset`, or fails. Unless overridden nothing can be written.
    fn write(&self, call: &Call, offset: u64, data: &[u8]) -> Result<()> {
        let (_, _, _) = (call, offset, data);
        Err(Errno::ROFS.into())
    }

    /// Sets the length, as truncation does before a file is written. Unless overridden it cannot be.
    fn set_len(&self, call: &Call, len: u64) -> Result<()> {
        let (_, _) = (call, len);
        Err(Errno::ROFS.into())
    }
}

impl<F: Fn() -> Vec<u8> + Send + Sync + 'static> Provider for F {
    fn size(&self) -> Result<u64> {
        Ok(self().len() as u64)
    }

    fn read(&self, _: &Call, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let bytes = self();
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// A layer with a synthetic tree beside what is stored below. It may change while it is used.
pub struct Tree {
    lower: Arc<Stack>,
    kernel: Arc<dyn Kernel>,
    nodes: RwLock<Nodes>,
}

fn refuse(ino: Ino) -> Result<()> {
    if is_synthetic(ino) { Err(Errno::ROFS.into()) } else { Ok(()) }
}

impl Tree {
    /// An empty tree beside what is in `lower`.
    pub fn new(lower: Arc<Stack>, kernel: Arc<dyn Kernel>) -> Self {
        Self { lower, kernel, nodes: RwLock::default() }
    }

    /// Adds a directory, and those above it that are missing; one that is there stays as it is.
    pub fn directory(&self, path: impl AsRef<Path>) -> Result<()> {
        self.directories(&names(path.as_ref())?).map(drop)
    }

    /// Adds a file with permissions such as `0o444`, and the directories above it that are missing. EEXIST if the
    /// name is there.
    pub fn file(&self, path: impl AsRef<Path>, mode: u32, provider: impl Provider) -> Result<()> {
        let names = names(path.as_ref())?;
        let (name, above) = names.split_last().expect("there is a name");
        let parent = self.directories(above)?;
        self.add(parent, name, mode & 0o777, Some(Arc::new(provider))).map(drop)
    }

    /// Removes a name, and what is below it. Calls on what is in use then fail with ESTALE.
    pub fn remove(&self, path: impl AsRef<Path>) -> Result<()> {
        let ino = self.nodes.read().find(path.as_ref())?;
        let removed = self.nodes.write().remove(ino);
        if let Some(Node { parent, name, .. }) = removed {
            self.kernel.deleted(parent, &name, ino);
        }
        Ok(())
    }

    /// A file has other content than it had: what the kernel remembers of it is dropped.
    pub fn changed(&self, path: impl AsRef<Path>) -> Result<()> {
        let ino = self.nodes.read().find(path.as_ref())?;
        self.kernel.invalidate_content(ino);
        Ok(())
    }

    fn directories(&self, names: &[&OsStr]) -> Result<Ino> {
        names.iter().try_fold(Ino::ROOT, |parent, name| {
            let found = self.nodes.read().child(parent, name);
            match found {
                Some(ino) if self.nodes.read().node(ino)?.provider.is_some() => {
                    Err(Errno::NOTDIR.into())
                }
                Some(ino) => Ok(ino),
                None => self.add(parent, name, 0o555, None),
            }
        })
    }

    fn add(
        &self,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        provider: Option<Arc<dyn Provider>>,
    ) -> Result<Ino> {
        let (name, made) = (name.to_owned(), SystemTime::now());
        let node = Node { parent, name: name.clone(), mode, made, provider };
        let ino = self.nodes.write().add(node)?;
        self.kernel.invalidate_entry(parent, &name);
        Ok(ino)
    }

    fn node(&self, ino: Ino) -> Result<Node> {
        self.nodes.read().node(ino).cloned()
    }

    /// What is in a file. The lock is not held while its provider works.
    fn provider(&self, ino: Ino) -> Result<Arc<dyn Provider>> {
        self.node(ino)?.provider.ok_or(Error::Lower(Errno::ISDIR))
    }

    fn attr(&self, ino: Ino) -> Result<Attr> {
        let node = self.node(ino)?;
        let kind = match node.provider {
            Some(_) => FileKind::Regular,
            None => FileKind::Directory,
        };
        let mut attr = Attr::new(ino, kind, node.mode);
        (attr.atime, attr.mtime, attr.ctime) = (node.made, node.made, node.made);
        match &node.provider {
            Some(provider) => attr.size = provider.size()?,
            None => attr.nlink = 2,
        }
        Ok(attr)
    }

    /// The synthetic inode of a name, unless what is stored hides it.
    fn shown(&self, call: &Call, parent: Ino, name: &OsStr) -> Option<Ino> {
        let ino = self.nodes.read().child(parent, name)?;
        if !is_synthetic(parent) {
            let stored = self.lower.lookup(call, parent, name);
            if let Ok(entry) = stored {
                self.lower.forget(entry.ino, 1);
                return None;
            }
        }
        Some(ino)
    }

    /// Fails with `errno` for a name that is shown, and where nothing can be stored.
    fn free(&self, call: &Call, parent: Ino, name: &OsStr, errno: Errno) -> Result<()> {
        match self.shown(call, parent, name) {
            Some(_) => Err(errno.into()),
            None => refuse(parent),
        }
    }

    /// The names from a position on, `.` and `..` included where nothing is stored.
    fn list(&self, call: &Call, dir: Ino, from: usize, budget: usize) -> Result<Vec<DirEntry>> {
        let directory = Some(FileKind::Directory);
        let mut all = Vec::new();
        if is_synthetic(dir) {
            let node = self.node(dir)?;
            if node.provider.is_some() {
                return Err(Errno::NOTDIR.into());
            }
            all.push((OsString::from("."), dir.0, directory));
            all.push((OsString::from(".."), node.parent.0, directory));
        }
        let children: Vec<_> = {
            let nodes = self.nodes.read();
            let children = nodes.children.get(&dir).into_iter().flatten();
            children
                .map(|(name, ino)| (name.clone(), *ino, nodes.by_ino[ino].provider.is_some()))
                .collect()
        };
        for (name, ino, is_file) in children {
            let kind = if is_file { FileKind::Regular } else { FileKind::Directory };
            if self.shown(call, dir, &name).is_some() {
                all.push((name, ino.0, Some(kind)));
            }
        }
        let mut left = budget;
        let entries = all.into_iter().enumerate().skip(from).map(|(place, (name, ino, kind))| {
            DirEntry::new(name, ino, kind, AFTER | (place as u64 + 1))
        });
        let fits = |entry: &DirEntry| {
            let rest = left.checked_sub(entry.name.len() + 24);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        Ok(entries.take_while(fits).collect())
    }
}

/// Operations on what is stored; a synthetic file refuses them.
macro_rules! stored {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, call: &Call, ino: Ino, $($argument: $type),*) -> Result<$answer> {
            refuse(ino)?;
            self.lower.$name(call, ino, $($argument),*)
        })*
    };
}

/// Operations of which all synthetic files have one answer.
macro_rules! either {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty { $own:expr })*) => {
        $(fn $name(&self, call: &Call, ino: Ino, $($argument: $type),*) -> Result<$answer> {
            if is_synthetic(ino) { $own } else { self.lower.$name(call, ino, $($argument),*) }
        })*
    };
}

impl Layer for Tree {
    fn lower(&self) -> &Stack {
        &*self.lower
    }

    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        if !is_synthetic(parent) {
            match self.lower.lookup(call, parent, name) {
                Err(Error::Lower(Errno::NOENT)) => {}
                found => return found,
            }
        }
        let ino = self.nodes.read().child(parent, name).ok_or(Error::Lower(Errno::NOENT))?;
        Ok(Entry::new(ino, self.attr(ino)?))
    }

    fn readdir(&self, call: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        if is_synthetic(ino) || cookie & AFTER != 0 {
            return self.list(call, ino, (cookie & !AFTER) as usize, budget);
        }
        let stored = self.lower.readdir(call, ino, cookie, budget)?;
        match stored.is_empty() {
            true => self.list(call, ino, 0, budget),
            false => Ok(stored),
        }
    }

    // What the kernel knows follows from the tree, so nothing is counted.
    fn retain(&self, ino: Ino) -> Result<()> {
        if is_synthetic(ino) { self.node(ino).map(drop) } else { self.lower.retain(ino) }
    }

    fn forget(&self, ino: Ino, lookups: u64) -> bool {
        is_synthetic(ino) || self.lower.forget(ino, lookups)
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        if !is_synthetic(ino) {
            return self.lower.parent(ino);
        }
        self.node(ino).map(|node| (node.parent, node.name))
    }

    fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr> {
        if is_synthetic(ino) { self.attr(ino) } else { self.lower.getattr(call, ino) }
    }

    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        if !is_synthetic(ino) {
            return self.lower.setattr(call, ino, changes);
        }
        // Times come with a length.
        match (changes.size, changes.mode, changes.uid, changes.gid) {
            (Some(len), None, None, None) => self.provider(ino)?.set_len(call, len)?,
            _ => return Err(Errno::ROFS.into()),
        }
        self.attr(ino)
    }

    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        match is_synthetic(ino) {
            true => self.provider(ino)?.read(call, offset, buffer),
            false => self.lower.read(call, ino, offset, buffer),
        }
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        match is_synthetic(ino) {
            true => self.provider(ino)?.write(call, offset, data),
            false => self.lower.write(call, ino, offset, data),
        }
    }

    fn lseek(&self, call: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        if !is_synthetic(ino) {
            return self.lower.lseek(call, ino, offset, whence);
        }
        let len = self.attr(ino)?.size;
        match whence {
            _ if offset >= len => Err(Errno::NXIO.into()),
            Whence::Data => Ok(offset),
            Whence::Hole => Ok(len),
        }
    }

    either! {
        fn open(flags: OpenFlags) -> Opened { Ok(Opened::default()) }
        fn opendir() -> () { Ok(()) }
        fn flush() -> () { Ok(()) }
        fn fsync(data_only: bool) -> () { Ok(()) }
        fn fsyncdir(data_only: bool) -> () { Ok(()) }
        fn getxattr(name: &OsStr) -> Vec<u8> { Err(Error::NoAttribute) }
        fn listxattr() -> Vec<OsString> { Ok(Vec::new()) }
        fn control_get(name: &str) -> Vec<u8> { Err(Error::NoAttribute) }
    }

    stored! {
        fn readlink() -> OsString;
        fn fallocate(mode: FallocateFlags, offset: u64, len: u64) -> ();
        fn setxattr(name: &OsStr, value: &[u8], flags: XattrFlags) -> ();
        fn removexattr(name: &OsStr) -> ();
        fn control_set(name: &str, value: &[u8]) -> ();
    }

    fn statfs(&self, call: &Call, ino: Ino) -> Result<StatFs> {
        self.lower.statfs(call, if is_synthetic(ino) { Ino::ROOT } else { ino })
    }

    fn release(&self, ino: Ino, handle: u64) -> Result<()> {
        if is_synthetic(ino) { Ok(()) } else { self.lower.release(ino, handle) }
    }

    fn drop_privileges(&self, ino: Ino) -> Result<()> {
        if is_synthetic(ino) { Ok(()) } else { self.lower.drop_privileges(ino) }
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        if is_synthetic(ino) { Err(Error::Unsupported) } else { self.lower.file(ino) }
    }

    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        // The kernel copies by reading and writing then.
        if is_synthetic(from.0) || is_synthetic(to.0) {
            return Err(Errno::XDEV.into());
        }
        self.lower.copy_file_range(call, from, to, len)
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        self.free(call, parent, name, Errno::EXIST)?;
        self.lower.mknod(call, parent, name, mode, rdev)
    }

    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry> {
        self.free(call, parent, name, Errno::EXIST)?;
        self.lower.mkdir(call, parent, name, mode)
    }

    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry> {
        self.free(call, parent, name, Errno::EXIST)?;
        self.lower.symlink(call, parent, name, target)
    }

    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        refuse(ino)?;
        self.free(call, parent, name, Errno::EXIST)?;
        self.lower.link(call, ino, parent, name)
    }

    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.free(call, parent, name, Errno::ROFS)?;
        self.lower.unlink(call, parent, name)
    }

    fn rmdir(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.free(call, parent, name, Errno::ROFS)?;
        self.lower.rmdir(call, parent, name)
    }

    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        self.free(call, from.0, from.1, Errno::ROFS)?;
        self.free(call, to.0, to.1, Errno::ROFS)?;
        self.lower.rename(call, from, to, flags)
    }
}
