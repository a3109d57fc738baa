//! What is asked of an inode by its name, in a directory that is open: no descriptor of its own has to be made for it,
//! and given up again.
//!
//! A name may be another inode's by the time that it is used. Attributes say whose they are; what says nothing is
//! asked while no name of the store is taken or moved, which all happens here.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Statx, StatxFlags, statx};

use super::inodes::Inode;
use super::{LowerTree, device_of};
use crate::name::Name;
use crate::sys::xattr;

/// How often names were taken or moved.
#[derive(Default)]
pub(super) struct Moves {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A name is being taken or moved.
pub(super) struct Moving<'a>(&'a Moves);

impl Moves {
    pub(super) fn begin(&self) -> Moving<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Moving(self)
    }

    /// How many there were; `None` while there is one.
    pub(super) fn count(&self) -> Option<u64> {
        // In this order: none that has begun since is taken for one that has ended.
        let ended = self.ended.load(Ordering::SeqCst);
        (self.begun.load(Ordering::SeqCst) == ended).then_some(ended)
    }

    fn has_begun_since(&self, count: u64) -> bool {
        self.begun.load(Ordering::SeqCst) != count
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl LowerTree {
    /// The attributes of an inode that is not open. `None` where its name does not lead to it.
    pub(super) fn stat_by_name(&self, inode: &Inode) -> Option<Statx> {
        if self.is_at_hand(inode) {
            return None;
        }
        let (parent, name) = inode.name()?;
        let directory = self.path(parent).ok()?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = statx(&*directory, name.c_str().ok()?, flags, StatxFlags::BASIC_STATS).ok()?;
        let is_same = stat.stx_ino == inode.number && device_of(&stat) == inode.device;
        is_same.then_some(stat)
    }

    /// A short extended attribute of an inode that is not open, in a directory that is; its length. `None` where that
    /// cannot be done.
    pub(super) fn attribute_by_name(
        &self,
        inode: &Inode,
        attribute: &str,
        value: &mut [u8],
    ) -> Option<rustix::io::Result<usize>> {
        if self.is_at_hand(inode) || !self.inodes.is_at_home(inode) {
            return None;
        }
        let moves = self.moves.count()?;
        let (parent, name) = inode.name()?;
        let (_, directory) = self.descriptors.find(parent)?;
        let read = get_at(&directory, &name, attribute, value)?;
        (!self.moves.has_begun_since(moves)).then_some(read)
    }

    fn is_at_hand(&self, inode: &Inode) -> bool {
        inode.pinned().is_some()
            || !self.inodes.has(inode)
            || self.descriptors.find(inode.ino).is_some()
    }
}

fn get_at(
    directory: &OwnedFd,
    name: &Name,
    attribute: &str,
    value: &mut [u8],
) -> Option<rustix::io::Result<usize>> {
    let attribute = Name::new(attribute);
    let (name, attribute) = (name.c_str().ok()?, attribute.c_str().ok()?);
    Some(xattr::get_at(directory.as_fd(), name, attribute, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trusted_only_while_none_is_moved() {
        let moves = Moves::default();
        let before = moves.count().expect("none");
        assert!(!moves.has_begun_since(before));
        let moving = moves.begin();
        assert_eq!(moves.count(), None);
        assert!(moves.has_begun_since(before));
        let other = moves.begin();
        drop(moving);
        assert_eq!(moves.count(), None);
        drop(other);
        let after = moves.count().expect("none any more");
        assert!(moves.has_begun_since(before) && !moves.has_begun_since(after));
    }
}
