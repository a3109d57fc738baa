//! The content of regular files.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hsci_extension::{
    Credentials, Error, FileId, FileSystem, Ino, Lifetime, LowerFile, Result, Times, Whence,
    XattrFlags, protection,
};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, StatxAttributes};
use rustix::io::{Errno, pread, pwrite};

use super::LowerTree;
use super::attributes::stat_of;
use super::descriptors::Access;
use super::inodes::Inode;
use super::opens::{OPENS, Opens};
use super::privileges::CAPABILITY;
use super::xattrs;
use crate::sys;

/// Whether users may give a name to any file, also to one that they cannot write.
static ANYBODY_LINKS: OnceLock<bool> = OnceLock::new();

/// Looks at that. To be called while `/proc` can be read.
pub(crate) fn anybody_links() -> bool {
    *ANYBODY_LINKS.get_or_init(|| {
        let protected = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
        protected.map_or(true, |value| value.trim() == "0")
    })
}

/// How often is looked whether somebody has a file open, and the time between.
const TURNS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(4);

impl LowerTree {
    pub(super) fn content_of(&self, ino: Ino, access: Access) -> Result<Arc<OwnedFd>> {
        self.count_question();
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

    /// Writes, also to what can only be appended to.
    pub(super) fn write_as(
        &self,
        inode: &Inode,
        by: Credentials,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        let file = match self.content(inode, Access::Write) {
            Err(Error::Lower(hsci_extension::Errno::PERM)) => self.appending(inode, offset)?,
            opened => opened?,
        };
        self.credentials.act_as(by);
        self.patiently(|| write_at(&file, offset, data))
    }

    /// A descriptor that writes at the end, if that is where a write goes and all that the file permits.
    fn appending(&self, inode: &Inode, offset: u64) -> Result<Arc<OwnedFd>> {
        let stat = stat_of(&*self.path_of(inode)?)?;
        if !stat.stx_attributes.contains(StatxAttributes::APPEND) || stat.stx_size != offset {
            return Err(Errno::PERM.into());
        }
        Ok(Arc::new(self.reopen(inode, OFlags::WRONLY | OFlags::APPEND)?))
    }

    /// True for what is immutable or can only be appended to, and for what may have a name that is none of the store's.
    fn is_fixed(&self, inode: &Inode) -> Result<bool> {
        let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        let stat = stat_of(&*self.path_of(inode)?)?;
        let is_others = stat.stx_nlink > 1 && anybody_links() && protection::stands("hard-links");
        Ok(is_others || stat.stx_attributes.intersects(fixed))
    }

    /// A descriptor that reads and writes a file, for the kernel to serve it by.
    pub(crate) fn backing(&self, ino: Ino) -> Result<Arc<OwnedFd>> {
        self.content(&*self.inodes.get(ino)?, Access::Write)
    }

    /// Nobody gets a lease for writing on a file that anybody else has open.
    fn is_open_elsewhere(&self, inode: &Inode) -> Result<bool> {
        let is_past_host = |notes: &Vec<u8>| Opens::read(notes).is_past_host();
        if inode.notes().is_some_and(|notes| notes.get(&OPENS).is_some_and(is_past_host)) {
            return Ok(true);
        }
        if !self.leases_tell() {
            return Ok(false);
        }
        let content = self.content(inode, Access::Write)?;
        let owner = stat_of(&content)?.stx_uid;
        self.credentials.act_as(Credentials::new(owner, 0));
        // A request of this host may be at work with a descriptor that has been replaced.
        let is_alone = |turn| {
            std::thread::sleep(PAUSE * u32::from(turn > 0));
            sys::lease::is_alone(&content) != Some(false)
        };
        let alone = (0..TURNS).any(is_alone);
        self.credentials.act_as(Credentials::HOST);
        Ok(!alone)
    }

    /// False where a file that nobody else can have open gets no lease either, as on file systems of networks.
    fn leases_tell(&self) -> bool {
        *self.leases_tell.get_or_init(|| {
            let made = self.nameless();
            made.is_some_and(|file| sys::lease::is_alone(file) == Some(true))
        })
    }

    /// A new file without a name, where the lower file system makes any.
    fn nameless(&self) -> Option<OwnedFd> {
        self.credentials.act_as(Credentials::HOST);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, ".", flags, Mode::RUSR).ok()
    }

    /// The longest file of the lower file system, found with one that has no name; where none can be made, what the
    /// kernel allows.
    fn max_len(&self) -> u64 {
        *self.max_len.get_or_init(|| {
            let (mut fits, mut too_long) = (0, i64::MAX as u64 + 1);
            if let Some(file) = self.nameless() {
                while too_long - fits > 1 {
                    let tried = fits + (too_long - fits) / 2;
                    match rustix::fs::ftruncate(&file, tried) {
                        Err(Errno::FBIG | Errno::INVAL) => too_long = tried,
                        _ => fits = tried,
                    }
                }
            }
            if fits == 0 { i64::MAX as u64 } else { fits }
        })
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

/// What is read of an attribute at first: extensions keep short ones with many files.
const SHORT_ATTRIBUTE: usize = 64;

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
        self.tree.count_question();
        self.tree.content(&self.inode, access)
    }
}

impl LowerFile for TreeFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        read_at(&*self.open(Access::Read)?, offset, buffer)
    }

    fn write_at(&self, by: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        self.tree.write_as(&self.inode, by, offset, data)
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
        if let Some(prefetched) = self.tree.prefetched_attribute(self.inode.ino, name) {
            return Ok(prefetched);
        }
        let mut short = [0; SHORT_ATTRIBUTE];
        match self.tree.attribute_by_name(&self.inode, name, &mut short) {
            Some(Ok(len)) => return Ok(Some(short[..len].to_vec())),
            Some(Err(Errno::NODATA)) => return Ok(None),
            _ => {}
        }
        match self.tree.with_attributes(&self.inode, |file| xattrs::get(file, OsStr::new(name))) {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoAttribute | Error::Lower(hsci_extension::Errno::OPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<()> {
        let _changing = self.tree.prefetched.change();
        if name == CAPABILITY {
            self.inode.note_capability();
        }
        self.tree.with_attributes(&self.inode, |file| {
            xattrs::set(file, OsStr::new(name), value, XattrFlags::empty())
        })
    }

    fn remove_attribute(&self, name: &str) -> Result<()> {
        let _changing = self.tree.prefetched.change();
        match self.tree.with_attributes(&self.inode, |file| xattrs::remove(file, OsStr::new(name)))
        {
            Err(Error::Lower(hsci_extension::Errno::OPNOTSUPP)) => Err(Error::Unsupported),
            // Nobody finds it either.
            Err(Error::Lower(_)) if self.tree.is_nameless(&self.inode) => Err(Error::NoAttribute),
            other => other,
        }
    }

    fn keep_privileges(&self, again: bool) -> Result<()> {
        self.tree.keep_privileges(&self.inode, again)
    }

    fn restore_privileges(&self) {
        self.tree.restore_privileges(&self.inode);
    }

    fn drop_privileges(&self) -> Result<()> {
        self.tree.drop_privileges_of(&self.inode)
    }

    fn is_fixed(&self) -> Result<bool> {
        self.tree.is_fixed(&self.inode)
    }

    fn is_open_elsewhere(&self) -> Result<bool> {
        self.tree.is_open_elsewhere(&self.inode)
    }

    fn max_len(&self) -> u64 {
        self.tree.max_len()
    }

    fn note(&self, about: u64, note: &[u8]) {
        if self.known {
            self.tree.note(&self.inode, about, note);
        }
    }

    fn notes(&self, about: u64) -> Vec<u8> {
        self.inode.notes().and_then(|notes| notes.get(&about).cloned()).unwrap_or_default()
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
