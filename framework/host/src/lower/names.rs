//! Names: looking up, making, removing and moving them.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use hsci_extension::{Call, Entry, Errno, Error, Ino, RenameFlags, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, statx};

use super::attributes::{attr_of, stat_of};
use super::descriptors::Access;
use super::inodes::Inode;
use super::proc_path::proc_path;
use super::{LowerTree, device_of, is_reserved};
use crate::name::Name;
use crate::place::case;
use crate::sys::handle::{Handle, handle_of};

impl LowerTree {
    pub(super) fn find(&self, parent: Ino, name: &OsStr) -> Result<Entry> {
        if is_reserved(parent, name) {
            return Err(Errno::NOENT.into());
        }
        self.count_question();
        let directory = self.path(parent)?;
        let is_folded = |stat: &Statx| -> Result<bool> {
            let is_possible = self.folds && is_directory(stat);
            Ok(is_possible && case::is_folded(directory.as_fd(), Name::new(name).c_str()?))
        };
        self.enter_at(&directory, (parent, name), is_folded)
    }

    /// A name that was just made: a directory is as its parent, which does not ignore case.
    fn made(&self, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.enter_at(&*self.path(parent)?, (parent, name), |_| Ok(false))
    }

    fn enter_at(
        &self,
        directory: &OwnedFd,
        (parent, name): (Ino, &OsStr),
        is_folded: impl FnOnce(&Statx) -> Result<bool>,
    ) -> Result<Entry> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = statx(directory, name, flags, StatxFlags::BASIC_STATS)?;
        if is_folded(&stat)? {
            return Err(Errno::OPNOTSUPP.into());
        }
        let prefetched = self.prefetched_handle(&stat);
        let find = || Ok(Handle::of(directory.as_fd(), Name::new(name).c_str()?).ok());
        let handle = || prefetched.map_or_else(find, |handle| Ok(Some(handle)));
        self.enter((parent, name), &stat, handle).map(|(entry, _)| entry)
    }

    /// A name leads to an inode with these attributes.
    fn enter(
        &self,
        (parent, name): (Ino, &OsStr),
        stat: &Statx,
        handle: impl FnOnce() -> Result<Option<Handle>>,
    ) -> Result<(Entry, Arc<Inode>)> {
        let ino = self.inodes.number(device_of(stat), stat.stx_ino);
        let make = || Ok(Inode::new(ino, device_of(stat), stat.stx_ino, handle()?));
        let inode = self.inodes.found(ino, make)?;
        self.met(&inode, parent, name);
        let mut entry = Entry::new(ino, attr_of(ino, stat));
        entry.generation = inode.generation();
        Ok((entry, inode))
    }

    pub(super) fn make_node(
        &self,
        call: &Call,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        device: u64,
    ) -> Result<Entry> {
        let directory = self.parent_for_new(call, parent, name)?;
        let kind = FileType::from_raw_mode(mode);
        let mode = Mode::from_raw_mode(mode & 0o7777);
        if kind != FileType::RegularFile {
            rustix::fs::mknodat(&*directory, name, kind, mode, device)?;
            return self.made(parent, name);
        }
        // A file is made to be written, whatever its mode will allow later.
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOATIME;
        let opened = rustix::fs::openat(&*directory, name, flags, mode)?;
        let stat = stat_of(&opened)?;
        let (entry, inode) = self.enter((parent, name), &stat, || Ok(handle_of(&opened).ok()))?;
        inode.note_made();
        self.remember(&inode, Access::Write, &Arc::new(opened));
        Ok(entry)
    }

    pub(super) fn make_directory(
        &self,
        call: &Call,
        parent: Ino,
        name: &OsStr,
        mode: u32,
    ) -> Result<Entry> {
        let directory = self.parent_for_new(call, parent, name)?;
        rustix::fs::mkdirat(&*directory, name, Mode::from_raw_mode(mode & 0o7777))?;
        self.made(parent, name)
    }

    pub(super) fn make_symlink(
        &self,
        call: &Call,
        parent: Ino,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry> {
        let directory = self.parent_for_new(call, parent, name)?;
        rustix::fs::symlinkat(target, &*directory, name)?;
        self.made(parent, name)
    }

    pub(super) fn make_link(&self, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        refuse_reserved(parent, name)?;
        let from = self.path(ino)?;
        let directory = self.path(parent)?;
        match rustix::fs::linkat(&*from, "", &*directory, name, AtFlags::EMPTY_PATH) {
            // Without CAP_DAC_READ_SEARCH the way leads through /proc.
            Err(rustix::io::Errno::NOENT) => rustix::fs::linkat(
                rustix::fs::CWD,
                &*proc_path(&from),
                &*directory,
                name,
                AtFlags::SYMLINK_FOLLOW,
            )?,
            other => other?,
        }
        self.made(parent, name)
    }

    pub(super) fn remove(&self, parent: Ino, name: &OsStr, flags: AtFlags) -> Result<()> {
        if is_reserved(parent, name) {
            return Err(Errno::NOENT.into());
        }
        let directory = self.path(parent)?;
        let _moving = self.moves.begin();
        let victim = self.keep_alive(&directory, name)?;
        let removed = rustix::fs::unlinkat(&*directory, name, flags);
        match (removed, victim) {
            (Ok(()), Some(victim)) => self.drop_name(&victim.inode, parent, name),
            (Err(_), Some(victim)) => self.stays(&victim),
            (_, None) => {}
        }
        Ok(removed?)
    }

    pub(super) fn move_name(
        &self,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        if is_reserved(from.0, from.1) {
            return Err(Errno::NOENT.into());
        }
        refuse_reserved(to.0, to.1)?;
        // The kernel sends WHITEOUT only from overlayfs, which would need device nodes of ours.
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL.into());
        }
        let (old, new) = (self.path(from.0)?, self.path(to.0)?);
        let _moving = self.moves.begin();
        let moved = self.known_at(&old, from.1);
        let victim = if flags.contains(RenameFlags::EXCHANGE) {
            self.known_at(&new, to.1).map(Victim::swapped)
        } else {
            self.keep_alive(&new, to.1)?
        };
        let system = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        if let Err(errno) = rustix::fs::renameat_with(&*old, from.1, &*new, to.1, system) {
            if let Some(victim) = victim {
                self.stays(&victim);
            }
            return Err(errno.into());
        }
        match victim {
            Some(other) if flags.contains(RenameFlags::EXCHANGE) => {
                self.met(&other.inode, from.0, from.1);
            }
            // Two names of one inode: rename does nothing then, and both stay.
            Some(victim) if moved.as_ref().is_some_and(|moved| moved.ino == victim.inode.ino) => {
                self.stays(&victim);
            }
            Some(victim) => self.drop_name(&victim.inode, to.0, to.1),
            None => {}
        }
        if let Some(moved) = moved {
            self.met(&moved, to.0, to.1);
        }
        Ok(())
    }

    pub(super) fn read_symlink(&self, ino: Ino) -> Result<OsString> {
        let target = rustix::fs::readlinkat(&*self.path(ino)?, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// The directory in which a caller is about to make a name.
    fn parent_for_new(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Arc<OwnedFd>> {
        refuse_reserved(parent, name)?;
        let directory = self.path(parent)?;
        self.credentials.create_as(call);
        Ok(directory)
    }

    /// An inode was met by a name, which is now the way to it.
    fn met(&self, inode: &Inode, parent: Ino, name: &OsStr) {
        if !inode.has_name(parent, name) {
            self.close(&self.inodes.set_name(inode, parent, name));
            self.log_name(inode);
        }
        // What lost its last name cannot be met any more: this one has lost another name.
        if inode.unpin() {
            self.release_kept(inode.ino);
        }
    }

    fn drop_name(&self, inode: &Inode, parent: Ino, name: &OsStr) {
        self.close(&self.inodes.drop_name(inode, parent, name));
        self.log_name(inode);
    }

    /// The name of a victim did not go after all.
    fn stays(&self, victim: &Victim) {
        if victim.pinned && victim.inode.unpin() {
            self.release_kept(victim.inode.ino);
        }
    }

    /// The inode behind a name, if it is known above.
    fn known_at(&self, directory: &OwnedFd, name: &OsStr) -> Option<Arc<Inode>> {
        // Where this fails, the operation itself says what is wrong.
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        self.known(&statx(directory, name, flags, StatxFlags::INO).ok()?)
    }

    fn known(&self, stat: &Statx) -> Option<Arc<Inode>> {
        self.inodes.find(self.inodes.number(device_of(stat), stat.stx_ino))
    }

    /// The inode behind a name that is about to go, if it is known above; if this is the last
    /// name, a descriptor keeps it alive until it is forgotten.
    fn keep_alive(&self, directory: &OwnedFd, name: &OsStr) -> Result<Option<Victim>> {
        let wanted = StatxFlags::INO | StatxFlags::NLINK | StatxFlags::TYPE | StatxFlags::UID;
        let Ok(stat) = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted) else {
            return Ok(None);
        };
        let Some(inode) = self.known(&stat) else { return Ok(None) };
        let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
        // Without handles only a name leads back to the inode, and it may be this one.
        let last =
            is_directory(&stat) || stat.stx_nlink <= 1 || self.usable_handle(&inode).is_none();
        let pinned = last && {
            let share = match inode.pinned() {
                Some(_) => None,
                // Its owner has too many of them. Others have those that are left.
                None => Some(self.shares.take(stat.stx_uid).ok_or(Errno::MFILE)?),
            };
            let descriptor = match self.is_served && kind == FileType::RegularFile {
                true => self.content(&inode, Access::Write).or_else(|_| self.path_of(&inode))?,
                false => self.path_of(&inode)?,
            };
            self.keep_beyond_worker(&inode, &descriptor);
            self.note_release();
            inode.pin(descriptor, share)
        };
        Ok(Some(Victim { inode, pinned }))
    }
}

/// An inode whose name an operation is about to take.
struct Victim {
    inode: Arc<Inode>,
    /// Pinned for this operation, not by an earlier one.
    pinned: bool,
}

impl Victim {
    /// It gets another name at once.
    fn swapped(inode: Arc<Inode>) -> Self {
        Self { inode, pinned: false }
    }
}

fn refuse_reserved(parent: Ino, name: &OsStr) -> Result<()> {
    if is_reserved(parent, name) {
        return Err(Error::Reserved(name.to_string_lossy().into_owned()));
    }
    Ok(())
}

fn is_directory(stat: &Statx) -> bool {
    FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::Directory
}
