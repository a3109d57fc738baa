//! Listings bring the attributes of all files of a directory along.
//!
//! The kernel takes a file's time of access for outdated after each READ, so that whoever looks at the file next
//! makes a request, one for each file of a tree. While it has the listing of a directory, it asks for none that would
//! answer all of them at once. So where many files of a directory were read, its listing is outdated as well.

use std::sync::atomic::Ordering;

use hsci_extension::Ino;

use super::LowerTree;

/// Asking for a listing again takes three requests: for the directory, its names, and their end.
const WORTH_A_LISTING: u32 = 4;

impl LowerTree {
    /// The kernel has the listing of a directory, and the attributes that came with it.
    pub(crate) fn listed(&self, directory: Ino) {
        if let Some(inode) = self.inodes.find(directory) {
            inode.read_since_listed.store(1, Ordering::Relaxed);
        }
    }

    /// The start of a file was read. Tells the directory whose listing is to be given again before the next who
    /// walks there.
    pub(crate) fn outdates_listing(&self, file: Ino) -> Option<Ino> {
        let parent = self.inodes.find(file)?.parent()?;
        let directory = self.inodes.find(parent)?;
        let count = |reads: u32| match reads {
            0 => None,
            WORTH_A_LISTING => Some(0),
            reads => Some(reads + 1),
        };
        let reads = &directory.read_since_listed;
        let before = reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        (before == Ok(WORTH_A_LISTING)).then_some(parent)
    }
}
