//! How an inode is reached: by a descriptor at hand, its handle, or its name.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::{Errno, Error, Ino, Result};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};

use super::descriptors::Access;
use super::inodes::Inode;
use super::proc_path::proc_path;
use super::{LowerTree, attributes, device_of};
use crate::sys::handle::{Handle, handle_of};

/// Held while a mode is changed: what is given back after [`LowerTree::with_owners_rights`] is what the file had.
pub(super) static MODES: Mutex<()> = Mutex::new(());

impl LowerTree {
    /// A descriptor of an inode that is good for `O_PATH` at least.
    pub(super) fn path(&self, ino: Ino) -> Result<Arc<OwnedFd>> {
        self.path_of(&*self.inodes.get(ino)?)
    }

    pub(super) fn path_of(&self, inode: &Inode) -> Result<Arc<OwnedFd>> {
        self.reach(inode).map(|reached| reached.descriptor)
    }

    /// The best descriptor of an inode that there is, at least an `O_PATH` one.
    pub(super) fn reach(&self, inode: &Inode) -> Result<Reached> {
        let by_path = |descriptor| Reached { descriptor, is_open: false };
        if let Some((access, descriptor)) = inode.pinned() {
            return Ok(Reached { descriptor, is_open: access > Access::Path });
        }
        if !self.inodes.has(inode) {
            return Ok(by_path(Arc::new(self.open_again(inode)?)));
        }
        if let Some((access, descriptor)) = self.descriptors.find(inode.ino) {
            return Ok(Reached { descriptor, is_open: access > Access::Path });
        }
        let opened = Arc::new(self.open_again(inode)?);
        self.remember(inode, Access::Path, &opened);
        Ok(by_path(opened))
    }

    /// Puts a descriptor into the cache, which goes by numbers: only what is in the table may be
    /// there. Looking after putting leaves no gap: a forget in between is seen, and a later one
    /// removes the descriptor itself.
    pub(super) fn remember(&self, inode: &Inode, access: Access, opened: &Arc<OwnedFd>) {
        self.descriptors.put(inode.ino, access, opened);
        if !self.inodes.has(inode) {
            self.descriptors.remove(inode.ino);
        }
    }

    fn open_again(&self, inode: &Inode) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if inode.ino == Ino::ROOT {
            return Ok(self.root.try_clone()?);
        }
        if let Some(handle) = self.usable_handle(inode) {
            return Ok(handle.open(self.root(), flags)?);
        }
        self.open_by_name(inode, &*self.open_parent(inode)?)
    }

    /// The directory of an inode that is opened by name. Those on the way to it that are not open are opened from above,
    /// one after the other: there may be more of them than a stack holds.
    fn open_parent(&self, inode: &Inode) -> Result<Arc<OwnedFd>> {
        let mut way = Vec::new();
        let mut ino = inode.parent().ok_or(Errno::STALE)?;
        let mut open = loop {
            let directory = self.inodes.get(ino)?;
            let is_at_hand = directory.pinned().is_some()
                || self.descriptors.find(ino).is_some()
                || self.usable_handle(&directory).is_some();
            if ino == Ino::ROOT || is_at_hand {
                break self.path_of(&directory)?;
            }
            // What is moved below may leave names that lead in a circle.
            if way.len() > self.inodes.count() {
                return Err(Errno::STALE.into());
            }
            ino = directory.parent().ok_or(Errno::STALE)?;
            way.push(directory);
        };
        while let Some(directory) = way.pop() {
            open = Arc::new(self.open_by_name(&directory, &open)?);
            self.remember(&directory, Access::Path, &open);
        }
        Ok(open)
    }

    /// Opens an inode by its name, which another one may have by now.
    fn open_by_name(&self, inode: &Inode, parent: &OwnedFd) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (_, name) = inode.name().ok_or(Errno::STALE)?;
        let opened = rustix::fs::openat(parent, name.c_str()?, flags, Mode::empty())?;
        let stat = statx(&opened, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        let same = stat.stx_ino == inode.number
            && device_of(&stat) == inode.device
            && handle_of(&opened).ok() == inode.handle;
        if same { Ok(opened) } else { Err(Errno::STALE.into()) }
    }

    /// A descriptor on an inode's content. Where writing is refused although the inode may be
    /// read (a read-only file system, a program that runs, a lease of its owner), reading still works.
    pub(super) fn content(&self, inode: &Inode, access: Access) -> Result<Arc<OwnedFd>> {
        let known = self.inodes.has(inode);
        if known && let Some(open) = self.descriptors.get(inode.ino, access) {
            return Ok(open);
        }
        if !known && let Some(kept) = inode.kept() {
            return Ok(kept);
        }
        if let Some((_, pinned)) = inode.pinned().filter(|(granted, _)| *granted >= access) {
            return Ok(pinned);
        }
        let (opened, access) = match self.reopen_to_write(inode) {
            Err(Error::Lower(
                Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY | Errno::AGAIN,
            )) if access == Access::Read => {
                (self.reopen_quietly(inode, OFlags::RDONLY), Access::Read)
            }
            other => (other, Access::Write),
        };
        let (opened, access) = match opened {
            Err(Error::Lower(Errno::ACCESS)) => (self.reopen_as_owner(inode)?, Access::Write),
            other => (other?, access),
        };
        let opened = Arc::new(opened);
        if known {
            self.remember(inode, access, &opened);
        } else if access == Access::Write {
            inode.keep(&opened);
        }
        Ok(opened)
    }

    fn reopen_to_write(&self, inode: &Inode) -> Result<OwnedFd> {
        if self.is_read_only {
            return Err(Errno::ROFS.into());
        }
        self.reopen_quietly(inode, OFlags::RDWR)
    }

    /// Opens an inode so that reading leaves its time of access alone, as far as this process may.
    pub(super) fn reopen_quietly(&self, inode: &Inode, flags: OFlags) -> Result<OwnedFd> {
        if self.is_read_only {
            return self.reopen(inode, flags);
        }
        match self.reopen(inode, flags | OFlags::NOATIME) {
            Err(Error::Lower(Errno::PERM)) => self.reopen(inode, flags),
            opened => opened,
        }
    }

    /// Opens an inode for more than `O_PATH`.
    pub(super) fn reopen(&self, inode: &Inode, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::LARGEFILE;
        match self.usable_handle(inode) {
            Some(handle) if inode.pinned().is_none() => Ok(handle.open(self.root(), flags)?),
            _ => Ok(rustix::fs::open(&*proc_path(&*self.path_of(inode)?), flags, Mode::empty())?),
        }
    }

    /// Opens a file whose mode denies its owner what the owner may do to a file that is already
    /// open: the callers' permissions were checked when they opened it.
    fn reopen_as_owner(&self, inode: &Inode) -> Result<OwnedFd> {
        self.with_owners_rights(inode, || self.reopen(inode, OFlags::RDWR))
    }

    /// Does to a file what its mode denies its owner. Only hosts without `CAP_DAC_OVERRIDE`, which serve their own
    /// user alone, get here. A host that is killed meanwhile leaves the owner's rights added.
    pub(super) fn with_owners_rights<T>(
        &self,
        inode: &Inode,
        attempt: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.path_of(inode)?;
        let _changing = MODES.lock();
        let mode = Mode::from_raw_mode(u32::from(attributes::stat_of(&path)?.stx_mode) & 0o7777);
        rustix::fs::chmod(&*proc_path(&path), mode | Mode::RUSR | Mode::WUSR)?;
        let done = attempt();
        rustix::fs::chmod(&*proc_path(&path), mode)?;
        done
    }

    /// The handle of an inode, if it can be opened by it. Handles hold for one file system: that of
    /// the root, not of others mounted below.
    pub(super) fn usable_handle<'a>(&self, inode: &'a Inode) -> Option<&'a Handle> {
        inode.handle.as_ref().filter(|_| self.by_handle && self.inodes.is_at_home(inode))
    }
}

/// A descriptor of an inode, and whether it is more than `O_PATH`: then system calls take it as it is,
/// which is faster than the way through `/proc`.
pub(super) struct Reached {
    pub(super) descriptor: Arc<OwnedFd>,
    pub(super) is_open: bool,
}

impl Reached {
    pub(super) fn set_mode(&self, mode: u32) -> Result<(), rustix::io::Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self.is_open {
            true => rustix::fs::fchmod(&*self.descriptor, mode),
            false => rustix::fs::chmod(&*proc_path(&self.descriptor), mode),
        }
    }
}
