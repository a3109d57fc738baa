//! Listing directories, with the lower file system's own cookies.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

use hsci_extension::{DirEntry, Ino, Result};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use super::attributes::kind_of;
use super::{LowerTree, content, is_reserved};

/// What an entry takes beside its name, in the kernel's own answer.
const FIXED: usize = 24;
const BUFFER: usize = 32 << 10;

impl LowerTree {
    pub(super) fn list(&self, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&*self.path(ino)?, ".", flags, Mode::empty())?;
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
                entries.push(DirEntry {
                    name: name.to_owned(),
                    ino: entry.ino(),
                    kind: kind_of(entry.file_type()),
                    next: entry.next_entry_cookie(),
                });
            }
        }
        Ok(entries)
    }

    pub(super) fn sync_names(&self, ino: Ino, data_only: bool) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&*self.path(ino)?, ".", flags, Mode::empty())?;
        content::sync(&directory, data_only)
    }
}
