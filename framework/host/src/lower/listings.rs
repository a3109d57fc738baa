//! Listings bring the attributes of all files of a directory along.
//!
//! The kernel takes a file's time of access for outdated after each READ, so that whoever looks at the file next
//! makes a request, one for each file of a tree. While it has the listing of a directory, it asks for none that would
//! answer all of them at once. So where many files of a directory were read, its listing is outdated as well.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;

use hsci_extension::{FileKind, Ino};

use rustix::fs::Advice;

use super::LowerTree;
use super::descriptors::Access;

/// Asking for a listing again takes three requests: for the directory, its names, and their end.
const WORTH_A_LISTING: u32 = 4;

/// What is read ahead of a file, in bytes: as much as Linux does by itself.
const START: Option<NonZeroU64> = NonZeroU64::new(128 << 10);

/// Bytes of names that are listed at a time.
const NAMES: usize = 32 << 10;

impl LowerTree {
    /// The kernel has the listing of a directory, and the attributes that came with it.
    pub(crate) fn listed(&self, directory: Ino) {
        if let Some(inode) = self.inodes.find(directory) {
            inode.read_since_listed.store(1, Ordering::Relaxed);
        }
    }

    /// The directory where a file was last met.
    pub(crate) fn directory_of(&self, file: Ino) -> Option<Ino> {
        self.inodes.find(file)?.parent()
    }

    /// The start of a file was read. True if the directory's listing is to be given again before the next who walks
    /// there.
    pub(crate) fn outdates_listing(&self, directory: Ino) -> bool {
        let Some(directory) = self.inodes.find(directory) else { return false };
        let count = |reads: u32| match reads {
            0 => None,
            WORTH_A_LISTING => Some(0),
            reads => Some(reads + 1),
        };
        let reads = &directory.read_since_listed;
        let before = reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        before == Ok(WORTH_A_LISTING)
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
