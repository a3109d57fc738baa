//! Copying files out of a stack of layers.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hsci_extension::{Attr, Call, Error, FileKind, FileSystem, Ino, Whence};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid};

use crate::failure::{Exit, Failure};

const PIECE: usize = 1 << 20;

/// Copies a file or a tree to `dest`, which must not exist: contents with their holes, names, hard
/// links, modes, times and extended attributes; owners where the caller may set them.
pub(super) fn copy(top: &dyn FileSystem, from: Ino, dest: &Path) -> Result<(), Failure> {
    if dest.symlink_metadata().is_ok() {
        let text = format!("{}: exists already; name a new place", dest.display());
        return Err(Failure::new(Exit::Missing, text));
    }
    let mut export = Export { top, links: HashMap::new(), buffer: vec![0; PIECE], failed: 0 };
    export.inode(from, dest);
    match export.failed {
        0 => Ok(()),
        failed => Err(Failure::new(Exit::No, format!("{failed} files could not be copied whole"))),
    }
}

struct Export<'a> {
    top: &'a dyn FileSystem,
    /// Where the first name of an inode with several was written.
    links: HashMap<u64, PathBuf>,
    buffer: Vec<u8>,
    failed: u64,
}

impl Export<'_> {
    /// Copies one inode and what is below it; what fails is named, and the rest goes on.
    fn inode(&mut self, ino: Ino, dest: &Path) {
        if let Err(error) = self.try_inode(ino, dest) {
            super::warn(&format!("{}: {error}", dest.display()));
            self.failed += 1;
        }
    }

    fn try_inode(&mut self, ino: Ino, dest: &Path) -> Result<(), Error> {
        let attr = self.top.getattr(&Call::internal(), ino)?;
        if attr.nlink > 1 && attr.kind != FileKind::Directory {
            if let Some(first) = self.links.get(&attr.ino) {
                return Ok(fs::hard_link(first, dest)?);
            }
            self.links.insert(attr.ino, dest.to_owned());
        }
        let copied = match attr.kind {
            FileKind::Directory => self.directory(ino, dest),
            FileKind::Regular => self.content(ino, &attr, dest),
            FileKind::Symlink => self.symlink(ino, dest),
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
                special(&attr, dest)
            }
        };
        // The times of a directory are set after its entries were made.
        let metadata = self.metadata(ino, &attr, dest);
        copied.and(metadata)
    }

    fn directory(&mut self, ino: Ino, dest: &Path) -> Result<(), Error> {
        DirBuilder::new().mode(0o700).create(dest)?;
        let mut cookie = 0;
        loop {
            let entries = self.top.readdir(&Call::internal(), ino, cookie, PIECE)?;
            let Some(last) = entries.last() else { return Ok(()) };
            cookie = last.next;
            for entry in entries.iter().filter(|entry| entry.name != "." && entry.name != "..") {
                let below = dest.join(&entry.name);
                match self.top.lookup(&Call::internal(), ino, &entry.name) {
                    Ok(found) => {
                        self.inode(found.ino, &below);
                        self.top.forget(found.ino, 1);
                    }
                    Err(error) => {
                        super::warn(&format!("{}: {error}", below.display()));
                        self.failed += 1;
                    }
                }
            }
        }
    }

    /// Copies what can be read; an unreadable range becomes a hole, and the file counts as failed.
    fn content(&mut self, ino: Ino, attr: &Attr, dest: &Path) -> Result<(), Error> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(dest)?;
        file.set_len(attr.size)?;
        let mut outcome = Ok(());
        let mut offset = 0;
        while offset < attr.size {
            let data = match self.top.lseek(&Call::internal(), ino, offset, Whence::Data) {
                Ok(data) => data,
                Err(Error::Lower(hsci_extension::Errno::NXIO)) => break,
                Err(_) => offset,
            };
            let hole = self.top.lseek(&Call::internal(), ino, data, Whence::Hole);
            let end = hole.unwrap_or(attr.size).clamp(data, attr.size);
            if let Err(error) = self.range(ino, &file, data, end) {
                outcome = Err(error);
            }
            offset = end.max(offset + 1);
        }
        outcome
    }

    fn range(&mut self, ino: Ino, file: &File, from: u64, end: u64) -> Result<(), Error> {
        // Damage is confined to a chunk: small steps around it save what can be saved.
        const STEP: usize = 4096;
        let mut outcome = Ok(());
        let mut offset = from;
        let mut step = PIECE;
        while offset < end {
            let want = step.min((end - offset) as usize);
            let buffer = &mut self.buffer[..want];
            match self.top.read(&Call::internal(), ino, offset, buffer) {
                Ok(0) => break,
                Ok(read) => {
                    file.write_all_at(&buffer[..read], offset)?;
                    offset += read as u64;
                }
                Err(_) if step > STEP => step = STEP,
                Err(error) => {
                    outcome = Err(error);
                    offset += want as u64;
                }
            }
        }
        outcome
    }

    fn symlink(&self, ino: Ino, dest: &Path) -> Result<(), Error> {
        let target = self.top.readlink(&Call::internal(), ino)?;
        Ok(std::os::unix::fs::symlink(target, dest)?)
    }

    fn metadata(&self, ino: Ino, attr: &Attr, dest: &Path) -> Result<(), Error> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        // Without privilege the owner stays the caller: what can be copied is copied.
        let (owner, group) = (Uid::from_raw(attr.uid), Gid::from_raw(attr.gid));
        let _ = rustix::fs::chownat(CWD, dest, Some(owner), Some(group), nofollow);
        if attr.kind != FileKind::Symlink {
            rustix::fs::chmodat(CWD, dest, Mode::from_raw_mode(attr.mode), AtFlags::empty())?;
        }
        for name in self.top.listxattr(&Call::internal(), ino).unwrap_or_default() {
            self.xattr(ino, &name, dest);
        }
        let times = Timestamps {
            last_access: timespec(attr.atime),
            last_modification: timespec(attr.mtime),
        };
        Ok(rustix::fs::utimensat(CWD, dest, &times, nofollow)?)
    }

    /// As with owners: what the caller may not set, or the destination cannot hold, is left out.
    fn xattr(&self, ino: Ino, name: &OsStr, dest: &Path) {
        if let Ok(value) = self.top.getxattr(&Call::internal(), ino, name) {
            let _ = rustix::fs::lsetxattr(dest, name, &value, rustix::fs::XattrFlags::empty());
        }
    }
}

fn special(attr: &Attr, dest: &Path) -> Result<(), Error> {
    let kind = match attr.kind {
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    Ok(rustix::fs::mknodat(CWD, dest, kind, Mode::from_raw_mode(attr.mode), attr.rdev)?)
}

fn timespec(time: SystemTime) -> Timespec {
    crate::lower::timespec_of(time)
}
