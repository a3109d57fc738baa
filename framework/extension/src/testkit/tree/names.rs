//! Names: looking up, making, removing and moving them.

use std::ffi::OsStr;
use std::time::SystemTime;

use super::Nodes;
use super::node::{Body, Node};
use crate::{Call, Entry, Errno, FileKind, Ino, RenameFlags, Result};

impl Nodes {
    pub(super) fn find(&mut self, parent: Ino, name: &OsStr) -> Result<Ino> {
        let (_, entries) = self.get(parent)?.entries()?;
        Ok(entries.find(name).ok_or(Errno::NOENT)?)
    }

    /// Counts a lookup.
    pub(super) fn look_up(&mut self, parent: Ino, name: &OsStr) -> Result<Entry> {
        let ino = self.find(parent, name)?;
        let node = self.named(ino)?;
        node.lookups += 1;
        node.name = Some((parent, name.to_owned()));
        Ok(Entry::new(ino, node.attr(ino)?))
    }

    pub(super) fn make(
        &mut self,
        parent: Ino,
        name: &OsStr,
        make: impl FnOnce(Ino) -> Node,
    ) -> Result<Entry> {
        self.refuse_existing(parent, name)?;
        let above = self.get(parent)?.clone();
        let ino = self.add(|ino| {
            let mut node = make(ino);
            above.inherit(&mut node);
            node
        });
        if self.named(ino)?.kind == FileKind::Directory {
            self.get(parent)?.nlink += 1;
        }
        self.get(parent)?.entries_mut()?.insert(name, ino);
        self.look_up(parent, name)
    }

    pub(super) fn link(&mut self, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.refuse_existing(parent, name)?;
        let node = self.get(ino)?;
        if node.kind == FileKind::Directory {
            return Err(Errno::PERM.into());
        }
        if node.nlink == 0 {
            return Err(Errno::NOENT.into());
        }
        node.nlink += 1;
        node.ctime = SystemTime::now();
        self.get(parent)?.entries_mut()?.insert(name, ino);
        self.look_up(parent, name)
    }

    fn refuse_existing(&mut self, parent: Ino, name: &OsStr) -> Result<()> {
        match self.find(parent, name) {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(_) => self.get(parent)?.entries().map(drop),
        }
    }

    /// Checks that a name may be removed by `unlink`, or by `rmdir`.
    pub(super) fn check_removal(&mut self, ino: Ino, directory: bool) -> Result<()> {
        let node = self.named(ino)?;
        match (&node.body, directory) {
            (Body::Directory(_, entries), true) if !entries.is_empty() => {
                Err(Errno::NOTEMPTY.into())
            }
            (Body::Directory(..), false) => Err(Errno::ISDIR.into()),
            (Body::Directory(..), true) => Ok(()),
            (_, true) => Err(Errno::NOTDIR.into()),
            (_, false) => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, parent: Ino, name: &OsStr, directory: bool) -> Result<()> {
        let ino = self.find(parent, name)?;
        self.check_removal(ino, directory)?;
        self.get(parent)?.entries_mut()?.remove(name);
        self.drop_name(ino, parent, name)
    }

    /// A name of an inode is gone.
    fn drop_name(&mut self, ino: Ino, parent: Ino, name: &OsStr) -> Result<()> {
        let node = self.named(ino)?;
        let directory = node.kind == FileKind::Directory;
        node.nlink = if directory { 0 } else { node.nlink - 1 };
        node.ctime = SystemTime::now();
        if node.name.as_ref().is_some_and(|known| known.0 == parent && known.1 == name) {
            node.name = None;
        }
        if directory {
            self.named(parent)?.nlink -= 1;
        }
        self.drop_unused(ino);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE;
        if !known.contains(flags) || flags == known {
            return Err(Errno::INVAL.into());
        }
        let moved = self.find(from.0, from.1)?;
        let victim = self.find(to.0, to.1).ok();
        self.get(to.0)?.entries()?;
        if self.is_below(to.0, moved)? {
            return Err(Errno::INVAL.into());
        }
        match victim {
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => Err(Errno::EXIST.into()),
            None if flags.contains(RenameFlags::EXCHANGE) => Err(Errno::NOENT.into()),
            Some(victim) if victim == moved => Ok(()),
            Some(victim) if flags.contains(RenameFlags::EXCHANGE) => {
                if self.is_below(from.0, victim)? {
                    return Err(Errno::INVAL.into());
                }
                self.get(to.0)?.entries_mut()?.replace(to.1, moved);
                self.get(from.0)?.entries_mut()?.replace(from.1, victim);
                self.settle_down(victim, to.0, from)?;
                self.settle_down(moved, from.0, to)
            }
            Some(victim) => {
                let directory = self.named(moved)?.kind == FileKind::Directory;
                self.check_removal(victim, directory)?;
                self.get(from.0)?.entries_mut()?.remove(from.1);
                self.get(to.0)?.entries_mut()?.replace(to.1, moved);
                self.drop_name(victim, to.0, to.1)?;
                self.settle_down(moved, from.0, to)
            }
            None => {
                self.get(from.0)?.entries_mut()?.remove(from.1);
                self.get(to.0)?.entries_mut()?.insert(to.1, moved);
                self.settle_down(moved, from.0, to)
            }
        }
    }

    /// An inode was moved from a directory to a name in another one.
    fn settle_down(&mut self, ino: Ino, from: Ino, to: (Ino, &OsStr)) -> Result<()> {
        let node = self.named(ino)?;
        node.ctime = SystemTime::now();
        node.name = Some((to.0, to.1.to_owned()));
        if let Body::Directory(above, _) = &mut node.body {
            *above = to.0;
            self.named(from)?.nlink -= 1;
            self.named(to.0)?.nlink += 1;
        }
        Ok(())
    }

    /// Whether a directory is another one, or lies below it.
    fn is_below(&mut self, mut directory: Ino, other: Ino) -> Result<bool> {
        while directory != other {
            if directory == Ino::ROOT {
                return Ok(false);
            }
            directory = self.named(directory)?.entries()?.0;
        }
        Ok(true)
    }

    pub(super) fn forget(&mut self, ino: Ino, lookups: u64) -> bool {
        let Some(node) = self.known.get_mut(&ino).filter(|_| ino != Ino::ROOT) else {
            return false;
        };
        assert!(lookups <= node.lookups, "inode {} is forgotten more often than met", ino.0);
        node.lookups -= lookups;
        let forgotten = node.lookups == 0;
        self.drop_unused(ino);
        forgotten
    }
}

/// The type in the mode of a new node.
pub(super) fn special_kind(mode: u32) -> Result<FileKind> {
    Ok(match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => FileKind::Regular,
        rustix::fs::FileType::Fifo => FileKind::Fifo,
        rustix::fs::FileType::Socket => FileKind::Socket,
        rustix::fs::FileType::CharacterDevice => FileKind::CharDevice,
        rustix::fs::FileType::BlockDevice => FileKind::BlockDevice,
        _ => return Err(Errno::INVAL.into()),
    })
}

/// A new node that is neither a directory nor a link.
pub(super) fn node(call: &Call, kind: FileKind, mode: u32, rdev: u64, ino: Ino) -> Node {
    match kind {
        FileKind::Regular => Node::file(call, mode, ino),
        _ => Node { rdev, ..Node::new(call, kind, mode, Body::Special) },
    }
}
