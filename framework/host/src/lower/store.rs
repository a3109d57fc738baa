//! An extension's own corner of the store.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hsci_extension::{Credentials, FileId, Ino, LowerFile, Reopened, Result, Store};
use rustix::fs::{AtFlags, Dir, OFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::inodes::Inode;
use super::{LowerTree, device_of, lifetime, search};
use crate::place::{Owners, Private, Refused, open_private};
use crate::store_file::StoreFile;
use crate::sys::handle::{Handle, handle_of};

/// The directory `.hsci/EXTENSION` of a lower directory.
pub struct LowerStore {
    tree: Arc<LowerTree>,
    directory: OwnedFd,
    owners: Owners,
    epoch: u64,
    extension: String,
    /// The format that the store is known to have at least, of this extension.
    format: AtomicU32,
}

impl LowerStore {
    pub(super) fn open(tree: Arc<LowerTree>, extension: &str, create: bool) -> Result<Self> {
        // What is mounted is trusted by its users; who only looks at a store may trust its owner.
        let is_mounted = tree.takeover.is_some();
        let owners = if create || is_mounted { Owners::Own } else { Owners::of(tree.root())? };
        let private = match create {
            true => Private::create(tree.root())?,
            false => Private::open(tree.root(), owners)?,
        };
        let directory = private.directory(extension, create)?;
        let epoch = epoch(&tree);
        let (extension, format) = (extension.to_owned(), AtomicU32::new(0));
        Ok(Self { tree, directory, owners, epoch, extension, format })
    }

    /// Finds inodes again as [`Store::reopen`] finds files, and counts a lookup of each.
    pub(crate) fn find_again(&self, ids: &[FileId], visit: &mut dyn FnMut(usize, Result<Ino>)) {
        let handles: Vec<Handle> = ids.iter().map(|id| Handle::from_bytes(&id.0)).collect();
        search::find(&self.tree, &handles, &mut |place, found| {
            visit(place, found.and_then(|found| self.enter(found)));
        });
    }

    fn enter(&self, descriptor: OwnedFd) -> Result<Ino> {
        let stat = statx(&descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        let (device, number) = (device_of(&stat), stat.stx_ino);
        let ino = self.tree.inodes.number(device, number);
        self.tree.inodes.found(ino, || {
            let inode = Inode::new(ino, device, number, handle_of(&descriptor).ok());
            inode.pin(Arc::new(descriptor), None);
            Ok(inode)
        })?;
        Ok(ino)
    }

    /// Opens a private file without noting that it is read, where that is for the host to decide.
    fn open_quietly(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Refused> {
        let open = |flags| open_private(self.directory.as_fd(), name, flags, self.owners);
        match open(flags | OFlags::NOATIME) {
            Err(Refused::Errno(Errno::PERM)) => open(flags),
            opened => opened,
        }
    }

    fn as_file(&self, descriptor: OwnedFd) -> Result<Arc<dyn LowerFile>> {
        let stat = statx(&descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        let handle = handle_of(&descriptor).ok();
        let ino = self.tree.inodes.number(device_of(&stat), stat.stx_ino);
        let inode = Inode::new(ino, device_of(&stat), stat.stx_ino, handle);
        inode.pin(Arc::new(descriptor), None);
        if let Some(known) = self.tree.inodes.find(ino).filter(|known| known.handle == inode.handle)
            && let Some(notes) = known.notes()
        {
            (*inode.notes_to_change()).clone_from(&notes);
        }
        Ok(self.tree.open_unknown(inode))
    }
}

impl Store for LowerStore {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>> {
        self.tree.credentials.act_as(Credentials::HOST);
        let create = if create { OFlags::CREATE } else { OFlags::empty() };
        let open = |flags| self.open_quietly(name, flags);
        let opened = match open(OFlags::RDWR | create) {
            // Who only looks at a store may be unable to write it.
            Err(Refused::Errno(Errno::ROFS | Errno::ACCESS)) if create.is_empty() => {
                open(OFlags::RDONLY)
            }
            opened => opened,
        };
        self.as_file(opened?)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn LowerFile>> {
        self.tree.credentials.act_as(Credentials::HOST);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.as_file(self.open_quietly(name, flags)?)
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
        // Ramfs does not count.
        if stat.f_blocks == 0 {
            return Ok(i64::MAX as u64);
        }
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>) {
        let handles: Vec<Handle> = ids.iter().map(|id| Handle::from_bytes(&id.0)).collect();
        search::find(&self.tree, &handles, &mut |place, found| {
            visit(place, found.and_then(|found| self.as_file(found)));
        });
    }

    fn bring_forward(&self, version: u32) -> Result<()> {
        if self.format.load(Ordering::Acquire) < version {
            let _turn = self.tree.store_file.lock();
            self.tree.credentials.act_as(Credentials::HOST);
            StoreFile::bring_forward(self.tree.root(), &self.extension, version)?;
            self.format.fetch_max(version, Ordering::Release);
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A number for the time since the machine has started, and the lower file system was mounted: for
/// so long its cache keeps what was written. Where the kernel does not say, no two are the same.
fn epoch(tree: &LowerTree) -> u64 {
    let mut hasher = DefaultHasher::new();
    let lifetime = lifetime::of(tree.root());
    match lifetime.is_known() {
        true => (lifetime.machine, lifetime.mount).hash(&mut hasher),
        false => std::time::SystemTime::now().hash(&mut hasher),
    }
    hasher.finish()
}
