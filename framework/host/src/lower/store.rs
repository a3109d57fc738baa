//! An extension's own corner of the store.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use hsci_extension::{Credentials, Errno, FileId, LowerFile, RESERVED_NAME, Result, Store};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, statx};

use super::inodes::Inode;
use super::{LowerTree, device_of};
use crate::sys::handle::{Handle, handle_of};

/// The directory `.hsci/EXTENSION` of a lower directory.
pub struct LowerStore {
    tree: Arc<LowerTree>,
    directory: OwnedFd,
}

impl LowerStore {
    pub(super) fn open(tree: Arc<LowerTree>, extension: &str, create: bool) -> Result<Self> {
        let reserved = open_directory(&tree.root, RESERVED_NAME, create)?;
        let directory = open_directory(&reserved, extension, create)?;
        Ok(Self { tree, directory })
    }

    fn as_file(&self, descriptor: OwnedFd) -> Result<Arc<dyn LowerFile>> {
        let stat = statx(&descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        let handle = handle_of(&descriptor).ok();
        let ino = self.tree.inodes.number(device_of(&stat), stat.stx_ino);
        let inode = Inode::new(ino, device_of(&stat), stat.stx_ino, handle);
        inode.pin(Arc::new(descriptor));
        if let Some(known) = self.tree.inodes.find(ino).filter(|known| known.handle == inode.handle)
        {
            (*inode.notes.lock()).clone_from(&known.notes.lock());
        }
        Ok(self.tree.open_unknown(inode))
    }
}

impl Store for LowerStore {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>> {
        self.tree.credentials.act_as(Credentials::HOST);
        let mut flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if create {
            flags |= OFlags::CREATE;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        self.as_file(rustix::fs::openat(&self.directory, name, flags, mode)?)
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    fn sync_names(&self) -> Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    fn sync_all(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(&self.directory)?)
    }

    fn free_space(&self) -> Result<u64> {
        self.tree.wait_for_release();
        let stat = rustix::fs::fstatvfs(&self.directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn reopen(&self, id: &FileId) -> Result<Arc<dyn LowerFile>> {
        let handle = Handle::from_bytes(&id.0);
        if self.tree.by_handle {
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            return self.as_file(handle.open(self.tree.root(), flags)?);
        }
        self.as_file(search(&self.tree, &handle)?)
    }
}

/// Finds an inode by walking the tree, where handles cannot be opened.
fn search(tree: &LowerTree, wanted: &Handle) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut waiting = VecDeque::from([rustix::fs::openat(&tree.root, ".", flags, Mode::empty())?]);
    while let Some(directory) = waiting.pop_back() {
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if Handle::of(directory.as_fd(), entry.file_name()).as_ref() == Ok(wanted) {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                return Ok(rustix::fs::openat(&directory, name, flags, Mode::empty())?);
            }
            if entry.file_type() == rustix::fs::FileType::Directory
                && let Ok(below) = rustix::fs::openat(&directory, name, flags, Mode::empty())
            {
                waiting.push_back(below);
            }
        }
    }
    Err(Errno::STALE.into())
}

fn open_directory(parent: &OwnedFd, name: &str, create: bool) -> Result<OwnedFd> {
    if create {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}
