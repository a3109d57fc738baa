//! Listings bring the attributes of all files of a directory along.
//!
//! The kernel takes a file's time of access for outdated after each READ, and a directory's after each listing, so that
//! whoever looks at them next makes a request, one for each file of a tree. While it has the listing of the directory
//! above, it asks for none that would answer all of them at once. So where much was read in a directory, its listing is
//! outdated as well.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;

use hsci_extension::{FileKind, Ino};

use rustix::fs::Advice;

use super::LowerTree;
use super::descriptors::Access;

/// Asking for a listing again takes three requests: for the directory, its names, and their end; and looking at so many
/// names takes as long as one more.
const WORTH_A_LISTING: u32 = 4;
const NAMES_OF_A_REQUEST: usize = 16;

/// [`Inode::listed_for`] of a directory whose listing the kernel never had, and of one whose listing is outdated.
pub(super) const UNLISTED: u32 = 0;
const OUTDATED: u32 = 1;

/// What is read ahead of a file, in bytes: as much as Linux does by itself.
const START: Option<NonZeroU64> = NonZeroU64::new(128 << 10);

/// Bytes of names that are listed at a time.
const NAMES: usize = 32 << 10;

impl LowerTree {
    /// The kernel has so many more names of a directory's listing, and the attributes that came with them.
    pub(crate) fn listed(&self, directory: Ino, is_first: bool, names: usize) {
        let Some(inode) = self.inodes.find(directory) else { return };
        if is_first {
            self.prefetched.was_listed(inode.number);
        }
        let names = u32::try_from(names / NAMES_OF_A_REQUEST).unwrap_or(u32::MAX);
        let longer = |before: u32| match (is_first, before) {
            (true, _) => Some((OUTDATED + WORTH_A_LISTING).saturating_add(names)),
            (false, UNLISTED | OUTDATED) => None,
            (false, before) => Some(before.saturating_add(names)),
        };
        let _ = inode.listed_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer);
    }

    /// The directory where a file was last met.
    pub(crate) fn directory_of(&self, file: Ino) -> Option<Ino> {
        self.inodes.find(file)?.parent()
    }

    /// The start of a file in a directory was read, or a directory in it listed. True if the listing is to be given again
    /// before the next who walks there.
    pub(crate) fn outdates_listing(&self, directory: Ino) -> bool {
        let Some(directory) = self.inodes.find(directory) else { return false };
        let less = |left: u32| (left > OUTDATED).then(|| left - 1);
        let before = directory.listed_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before == Ok(OUTDATED + 1)
    }

    /// The regular files of a directory that are known, in the order of its listing, as far as so many names reach.
    pub(crate) fn files_in(&self, directory: Ino, names: usize) -> Vec<Ino> {
        let (mut files, mut cookie, mut left) = (Vec::new(), 0, names);
        while let Ok(entries) = self.list(directory, cookie, NAMES, true)
            && let Some(last) = entries.last()
            && left > 0
        {
            cookie = last.next;
            left = left.saturating_sub(entries.len());
            let regular = entries.iter().filter(|entry| entry.kind == Some(FileKind::Regular));
            // On the root's own file system: a number on another one leads to nothing, or to another file at worst.
            let known =
                regular.map(|entry| Ino(entry.ino)).filter(|ino| self.inodes.find(*ino).is_some());
            files.extend(known);
        }
        files
    }

    /// True if the kernel has had the directory's listing.
    pub(crate) fn was_listed(&self, directory: Ino) -> bool {
        self.inodes.find(directory).is_some_and(|inode| inode.was_listed())
    }

    /// A file will be read soon: opens it, as a read would, and has its start brought into memory. What fails here is
    /// told to whoever reads.
    pub(crate) fn read_ahead(&self, file: Ino) {
        if let Some(inode) = self.inodes.find(file)
            && let Ok(content) = self.content(&inode, Access::Read)
        {
            let _ = rustix::fs::fadvise(&*content, 0, START, Advice::WillNeed);
        }
    }
}
