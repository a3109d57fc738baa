//! Listing directories, with the lower file system's own cookies.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use hsci_extension::{DirEntry, Ino, Result};
use parking_lot::Mutex;
use rustix::fs::{OFlags, RawDir, SeekFrom};

use super::attributes::kind_of;
use super::descriptors::Access;
use super::inodes::Inode;
use super::{LowerTree, content, is_reserved};

/// What an entry takes beside its name, in the kernel's own answer.
const FIXED: usize = 24;
const BUFFER: usize = 32 << 10;

/// Locks for the positions of descriptors, and directories whose end is remembered.
const STRIPES: usize = 64;

/// What is known of listings that go on: callers ask once more at the end, and are not told it in any other way.
pub(super) struct Listed {
    /// Held while a descriptor that others have as well is listed by its position.
    positions: [Mutex<()>; STRIPES],
    /// Directories, and the cookies of their last names, as they have just been given away.
    ends: [Mutex<Option<(Ino, u64)>>; STRIPES],
}

impl Default for Listed {
    fn default() -> Self {
        Self {
            positions: std::array::from_fn(|_| Mutex::default()),
            ends: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Listed {
    fn set_end(&self, directory: Ino, cookie: u64) {
        *self.ends[directory.0 as usize % STRIPES].lock() = Some((directory, cookie));
    }

    /// True if that is the end, which is looked for again the next time.
    fn take_end(&self, directory: Ino, cookie: u64) -> bool {
        let mut end = self.ends[directory.0 as usize % STRIPES].lock();
        end.take_if(|end| *end == (directory, cookie)).is_some()
    }
}

impl LowerTree {
    /// The next names of a directory. A listing of the host's own leaves the time of access alone.
    pub(super) fn list(
        &self,
        ino: Ino,
        cookie: u64,
        budget: usize,
        by_host: bool,
    ) -> Result<Vec<DirEntry>> {
        let inode = self.inodes.get(ino)?;
        if cookie != 0 && !by_host && self.listed.take_end(ino, cookie) {
            return Ok(Vec::new());
        }
        let (directory, is_new) = match by_host {
            true => {
                (Arc::new(self.reopen_quietly(&inode, OFlags::RDONLY | OFlags::DIRECTORY)?), false)
            }
            false => self.directory_to_list(&inode)?,
        };
        let _position = self.listed.positions[ino.0 as usize % STRIPES].lock();
        rustix::fs::seek(&directory, SeekFrom::Start(cookie))?;
        let mut buffer = vec![MaybeUninit::uninit(); budget.clamp(1024, BUFFER)];
        let mut raw = RawDir::new(&directory, &mut buffer);
        let mut entries = Vec::new();
        let mut used = 0;
        let is_whole = loop {
            let Some(entry) = raw.next() else { break true };
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            used += FIXED + name.len();
            if used > budget && !entries.is_empty() {
                break false;
            }
            if !is_reserved(ino, name) {
                let kind = kind_of(entry.file_type());
                entries.push(DirEntry::new(name, entry.ino(), kind, entry.next_entry_cookie()));
            }
        };
        // Only once it was listed from its start: ext4 takes a descriptor that was listed from elsewhere first for at its
        // end ever after, and the directory for empty.
        if is_new && cookie == 0 {
            self.remember(&inode, Access::Read, &directory);
        }
        if let Some(last) = entries.last()
            && is_whole
            && !by_host
        {
            self.listed.set_end(ino, last.next);
        }
        Ok(entries)
    }

    /// A descriptor that lists a directory, and in which its names are looked up next if it is remembered, which is
    /// for the caller: true if it is to be.
    fn directory_to_list(&self, inode: &Inode) -> Result<(Arc<OwnedFd>, bool)> {
        let is_known = self.inodes.has(inode) && inode.pinned().is_none();
        if is_known && let Some(open) = self.descriptors.get(inode.ino, Access::Read) {
            return Ok((open, false));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = Arc::new(match self.keeps_access_times {
            true => self.reopen_quietly(inode, flags)?,
            false => self.reopen(inode, flags)?,
        });
        Ok((opened, is_known))
    }

    pub(super) fn sync_names(&self, ino: Ino, data_only: bool) -> Result<()> {
        content::sync(&self.open_directory(ino)?, data_only)
    }

    /// Not by the name `.`, which a directory that may be read but not searched lacks.
    fn open_directory(&self, ino: Ino) -> Result<OwnedFd> {
        self.reopen(&*self.inodes.get(ino)?, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}
