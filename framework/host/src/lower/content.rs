//! The content of regular files.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::{
    Credentials, Error, FileId, FileSystem, Ino, Lifetime, LowerFile, Result, Times, Whence,
    XattrFlags,
};
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::{Errno, pread, pwrite};

use super::LowerTree;
use super::attributes::stat_of;
use super::descriptors::Access;
use super::inodes::Inode;
use super::xattrs;

impl LowerTree {
    pub(super) fn content_of(&self, ino: Ino, access: Access) -> Result<Arc<OwnedFd>> {
        match self.descriptors.get(ino, access) {
            Some(open) => Ok(open),
            None => self.content(&*self.inodes.get(ino)?, access),
        }
    }

    pub(super) fn sync(&self, ino: Ino, data_only: bool) -> Result<()> {
        sync(&*self.content_of(ino, Access::Read)?, data_only)
    }

    pub(super) fn copy(&self, from: (Ino, u64), to: (Ino, u64), len: u64) -> Result<u64> {
        let source = self.content_of(from.0, Access::Read)?;
        let target = self.content_of(to.0, Access::Write)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let (mut at, mut into) = (from.1, to.1);
        let copied =
            rustix::fs::copy_file_range(&*source, Some(&mut at), &*target, Some(&mut into), len)?;
        Ok(copied as u64)
    }

    pub(super) fn open_file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        self.inodes.retain(ino)?;
        let inode = self.inodes.get(ino)?;
        Ok(Arc::new(TreeFile { tree: self.me(), inode, known: true }))
    }

    /// A file that is not known above, for the store.
    pub(super) fn open_unknown(&self, inode: Inode) -> Arc<dyn LowerFile> {
        Arc::new(TreeFile { tree: self.me(), inode: Arc::new(inode), known: false })
    }
}

/// One lower file in an extension's hands.
struct TreeFile {
    tree: Arc<LowerTree>,
    inode: Arc<Inode>,
    /// Counts as a lookup, so that the inode stays in the table and is kept alive with it.
    known: bool,
}

impl Drop for TreeFile {
    fn drop(&mut self) {
        if self.known {
            self.tree.forget(self.inode.ino, 1);
        }
    }
}

impl TreeFile {
    fn open(&self, access: Access) -> Result<Arc<OwnedFd>> {
        self.tree.content(&self.inode, access)
    }
}

impl LowerFile for TreeFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        read_at(&*self.open(Access::Read)?, offset, buffer)
    }

    fn write_at(&self, by: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        let file = self.open(Access::Write)?;
        self.tree.credentials.act_as(by);
        self.tree.patiently(|| write_at(&file, offset, data))
    }

    fn len(&self) -> Result<u64> {
        Ok(stat_of(&*self.tree.path_of(&self.inode)?)?.stx_size)
    }

    fn blocks(&self) -> Result<u64> {
        Ok(stat_of(&*self.tree.path_of(&self.inode)?)?.stx_blocks)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        Ok(rustix::fs::ftruncate(&*self.open(Access::Write)?, len)?)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        sync(&*self.open(Access::Read)?, data_only)
    }

    fn reserve(&self, by: Credentials, offset: u64, len: u64) -> Result<()> {
        let content = self.open(Access::Write)?;
        self.tree.credentials.act_as(by);
        let mode = FallocateFlags::KEEP_SIZE;
        self.tree.patiently(|| Ok(rustix::fs::fallocate(&*content, mode, offset, len)?))
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&*self.open(Access::Write)?, mode, offset, len)?)
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        seek(&*self.open(Access::Read)?, offset, whence)
    }

    fn times(&self) -> Result<Times> {
        self.tree.times_of(&self.inode)
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        self.tree.set_times_of(&self.inode, times)
    }

    fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match xattrs::get(&self.tree.reach(&self.inode)?, OsStr::new(name)) {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoAttribute | Error::Lower(hsci_extension::Errno::OPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<()> {
        xattrs::set(&self.tree.reach(&self.inode)?, OsStr::new(name), value, XattrFlags::empty())
    }

    fn remove_attribute(&self, name: &str) -> Result<()> {
        match xattrs::remove(&self.tree.reach(&self.inode)?, OsStr::new(name)) {
            Err(Error::Lower(hsci_extension::Errno::OPNOTSUPP)) => Err(Error::Unsupported),
            other => other,
        }
    }

    fn note(&self, about: u64, note: &[u8]) {
        if self.known {
            self.tree.note(&self.inode, about, note);
        }
    }

    fn notes(&self, about: u64) -> Vec<u8> {
        self.inode.notes.lock().get(&about).cloned().unwrap_or_default()
    }

    fn lifetime(&self) -> Lifetime {
        self.tree.lifetime
    }

    fn drop_notes(&self, about: u64) {
        if self.known {
            self.tree.drop_notes(&self.inode, about);
        }
    }

    fn id(&self) -> Result<FileId> {
        // A handle says nothing of its file system: on another one it would name something else.
        let handle =
            self.inode.handle.as_ref().filter(|_| self.tree.inodes.is_at_home(&self.inode));
        let handle = handle.ok_or(Errno::OPNOTSUPP)?;
        Ok(FileId(handle.bytes().to_vec()))
    }
}

/// The smallest unit in which devices fail: a read that an error cuts short ends at a multiple.
const SECTOR: u64 = 512;

pub(super) fn read_at(file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        match pread(file, &mut buffer[done..], at) {
            Ok(0) => break,
            Ok(read) => {
                done += read;
                // Elsewhere than at a multiple only the end of the file stops a read: no need to
                // ask again, as most reads of small files would.
                if !(at + read as u64).is_multiple_of(SECTOR) {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            // Also behind bytes that were read: fewer than asked for would mean the end.
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done)
}

/// Large files go to the disk while they are being written, this many bytes at a time.
const WINDOW: u64 = 8 << 20;

pub(super) fn write_at(file: &OwnedFd, offset: u64, data: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < data.len() {
        match pwrite(file, &data[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::IO.into()),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let end = (offset + data.len() as u64) / WINDOW * WINDOW;
    if end > offset {
        crate::sys::writeback::start(file, end - WINDOW, WINDOW);
    }
    Ok(())
}

pub(super) fn seek(file: &OwnedFd, offset: u64, whence: Whence) -> Result<u64> {
    let from = match whence {
        Whence::Data => SeekFrom::Data(offset),
        Whence::Hole => SeekFrom::Hole(offset),
    };
    Ok(rustix::fs::seek(file, from)?)
}

pub(super) fn sync(file: &OwnedFd, data_only: bool) -> Result<()> {
    let done = if data_only { rustix::fs::fdatasync(file) } else { rustix::fs::fsync(file) };
    Ok(done?)
}
