//! Listing directories, with the lower file system's own cookies.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use hsci_extension::{DirEntry, Ino, Result};
use rustix::fs::{OFlags, RawDir, SeekFrom};

use super::attributes::kind_of;
use super::{LowerTree, content, is_reserved};

/// What an entry takes beside its name, in the kernel's own answer.
const FIXED: usize = 24;
const BUFFER: usize = 32 << 10;

impl LowerTree {
    pub(super) fn list(
        &self,
        ino: Ino,
        cookie: u64,
        budget: usize,
        quiet: bool,
    ) -> Result<Vec<DirEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let inode = self.inodes.get(ino)?;
        let directory = match quiet {
            true => self.reopen_quietly(&inode, flags)?,
            false => self.reopen(&inode, flags)?,
        };
        if cookie != 0 {
            rustix::fs::seek(&directory, SeekFrom::Start(cookie))?;
        }
        let mut buffer = vec![MaybeUninit::uninit(); budget.clamp(1024, BUFFER)];
        let mut raw = RawDir::new(&directory, &mut buffer);
        let mut entries = Vec::new();
        let mut used = 0;
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            used += FIXED + name.len();
            if used > budget && !entries.is_empty() {
                break;
            }
            if !is_reserved(ino, name) {
                let kind = kind_of(entry.file_type());
                entries.push(DirEntry::new(name, entry.ino(), kind, entry.next_entry_cookie()));
            }
        }
        Ok(entries)
    }

    pub(super) fn sync_names(&self, ino: Ino, data_only: bool) -> Result<()> {
        content::sync(&self.open_directory(ino)?, data_only)
    }

    /// Not by the name `.`, which a directory that may be read but not searched lacks.
    fn open_directory(&self, ino: Ino) -> Result<OwnedFd> {
        self.reopen(&*self.inodes.get(ino)?, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}
