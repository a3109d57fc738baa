//! Copying files out of a stack of layers.
//!
//! Everything is made and changed by descriptor. The topmost directory is closed to everybody but its
//! maker until all below it is done, so that nobody comes between.

mod made;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hsci_extension::{Attr, Call, Error, FileKind, FileSystem, Ino, Whence, check, protection};

use rustix::fs::{Mode, OFlags};

use crate::failure::{Exit, Failure};
use crate::place;
use crate::sandbox::files::apart;

const PIECE: usize = 1 << 20;
/// Directories that are nested deeper are not copied: each keeps a descriptor.
const MAX_DEPTH: usize = 1000;

/// A name that does not exist, in a directory that was opened: apart, so that `..` does not lead out of it.
pub(super) struct Target<'a> {
    parent: OwnedFd,
    name: OsString,
    shown: &'a Path,
}

impl<'a> Target<'a> {
    pub(super) fn open(dest: &'a Path) -> Result<Self, Failure> {
        let (parent, name) = place::open_parent(dest)?;
        if rustix::fs::statat(&parent, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let text = format!("{}: exists already; name a new place", dest.display());
            return Err(Failure::new(Exit::Missing, text));
        }
        place::pause("before-export");
        let parent = match protection::stands("export-place") {
            true => apart(&parent),
            // By its path, wherever that leads by now.
            false => rustix::fs::open(parent.path(), OFlags::DIRECTORY, Mode::empty()),
        };
        let parent = parent.map_err(|errno| place::failure(dest, errno))?;
        Ok(Self { parent, name, shown: dest })
    }
}

/// Copies a file or a tree to `dest`, which must not exist: contents with their holes, names, hard
/// links, modes, times and extended attributes; owners where the caller may set them. Only with
/// `privileged` what gives rights: devices, set-user-id and set-group-id, `security.*`, `trusted.*`.
pub(super) fn copy(
    top: &dyn FileSystem,
    from: Ino,
    dest: &Target<'_>,
    (privileged, progress): (bool, &mut dyn FnMut(u64)),
) -> Result<(), Failure> {
    let Target { parent, name, shown } = dest;
    let links = Links::default();
    let buffer = vec![0; PIECE];
    let (depth, failed, left_out) = (0, 0, 0);
    let mut export = Export { top, privileged, progress, links, buffer, depth, failed, left_out };
    export.inode(from, &Spot { directory: parent.as_fd(), name, shown });
    if export.left_out > 0 {
        let what = "devices, set-id bits or security attributes";
        super::warn(&format!("{} {what} are left out; see --privileged", export.left_out));
    }
    match export.failed {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::No, "1 file could not be copied whole")),
        failed => Err(Failure::new(Exit::No, format!("{failed} files could not be copied whole"))),
    }
}

/// The lengths of all files that [`copy`] copies.
pub(super) fn bytes_below(top: &dyn FileSystem, from: Ino) -> u64 {
    let mut bytes = 0;
    let visit = &mut |_: &Path, found: Result<(Ino, Attr), Error>| {
        bytes += found.map_or(0, |(_, attr)| attr.size);
    };
    match top.getattr(&Call::internal(), from) {
        Ok(attr) if attr.kind != FileKind::Directory => attr.size,
        _ => {
            check::regular_files_below(top, from, visit);
            bytes
        }
    }
}

/// A name that is to be made, in a directory that is open.
struct Spot<'a> {
    directory: BorrowedFd<'a>,
    name: &'a OsStr,
    /// Its whole path, for messages.
    shown: &'a Path,
}

/// Where the first names of inodes with several were written.
#[derive(Default)]
struct Links {
    /// The topmost directory, which all of them lie in.
    root: Option<OwnedFd>,
    /// The names of the directories on the way to where the copying is.
    way: Vec<OsString>,
    first: HashMap<u64, PathBuf>,
}

struct Export<'a> {
    top: &'a dyn FileSystem,
    privileged: bool,
    /// Is told how many bytes more of the files' lengths are done.
    progress: &'a mut dyn FnMut(u64),
    links: Links,
    buffer: Vec<u8>,
    depth: usize,
    failed: u64,
    left_out: u64,
}

impl Export<'_> {
    /// Copies one inode and what is below it; what fails is named, and the rest goes on.
    fn inode(&mut self, ino: Ino, spot: &Spot<'_>) {
        if let Err(error) = self.try_inode(ino, spot) {
            super::warn(&format!("{}: {error}", spot.shown.display()));
            self.failed += 1;
        }
    }

    fn try_inode(&mut self, ino: Ino, spot: &Spot<'_>) -> Result<(), Error> {
        let attr = self.top.getattr(&Call::internal(), ino)?;
        if attr.nlink > 1 && attr.kind != FileKind::Directory {
            if let (Some(root), Some(first)) = (&self.links.root, self.links.first.get(&attr.ino)) {
                return Ok(made::link(root.as_fd(), first, spot)?);
            }
            let way: PathBuf = self.links.way.iter().collect();
            self.links.first.insert(attr.ino, way.join(spot.name));
        }
        let (made, copied) = match attr.kind {
            FileKind::Directory => self.directory(ino, spot)?,
            FileKind::Regular => {
                let file = File::from(made::file(spot)?);
                let copied = self.content(ino, &attr, &file);
                (OwnedFd::from(file), copied)
            }
            FileKind::Symlink => {
                let target = self.top.readlink(&Call::internal(), ino)?;
                (made::symlink(spot, &target)?, Ok(()))
            }
            FileKind::CharDevice | FileKind::BlockDevice if !self.privileged => {
                self.left_out += 1;
                return Ok(());
            }
            _ => (made::special(spot, &attr)?, Ok(())),
        };
        // The times of a directory are set after its entries were made.
        let metadata = self.metadata(ino, &attr, &made);
        copied.and(metadata)
    }

    fn directory(
        &mut self,
        ino: Ino,
        spot: &Spot<'_>,
    ) -> Result<(OwnedFd, Result<(), Error>), Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooLarge(format!("more than {MAX_DEPTH} directories deep")));
        }
        let directory = made::directory(spot)?;
        if self.links.root.is_none() {
            self.links.root = Some(directory.try_clone()?);
        } else {
            self.links.way.push(spot.name.to_owned());
        }
        self.depth += 1;
        let copied = self.entries(ino, directory.as_fd(), spot.shown);
        self.depth -= 1;
        self.links.way.pop();
        Ok((directory, copied))
    }

    fn entries(&mut self, ino: Ino, directory: BorrowedFd<'_>, shown: &Path) -> Result<(), Error> {
        let mut cookie = 0;
        loop {
            let entries = self.top.readdir(&Call::internal(), ino, cookie, PIECE)?;
            let Some(last) = entries.last() else { return Ok(()) };
            cookie = last.next;
            for entry in entries.iter().filter(|entry| entry.name != "." && entry.name != "..") {
                let shown = shown.join(&entry.name);
                let spot = Spot { directory, name: &entry.name, shown: &shown };
                match self.top.lookup(&Call::internal(), ino, &entry.name) {
                    Ok(found) => {
                        self.inode(found.ino, &spot);
                        self.top.forget(found.ino, 1);
                    }
                    Err(Error::Lower(hsci_extension::Errno::XDEV)) => {
                        super::warn(&format!(
                            "{}: is mounted there, and left out",
                            shown.display()
                        ));
                    }
                    Err(error) => {
                        super::warn(&format!("{}: {error}", shown.display()));
                        self.failed += 1;
                    }
                }
            }
        }
    }

    /// Copies what can be read; an unreadable range becomes a hole, and the file counts as failed.
    fn content(&mut self, ino: Ino, attr: &Attr, file: &File) -> Result<(), Error> {
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
            if let Err(error) = self.range(ino, file, data, end) {
                outcome = Err(error);
            }
            let next = end.max(offset + 1);
            (self.progress)(next.min(attr.size) - offset);
            offset = next;
        }
        (self.progress)(attr.size.saturating_sub(offset));
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

    fn metadata(&mut self, ino: Ino, attr: &Attr, made: &OwnedFd) -> Result<(), Error> {
        // Without privilege the owner stays the caller: what can be copied is copied.
        made::give(made, attr);
        let rights = attr.mode & 0o6000;
        let mode = if self.privileged { attr.mode } else { attr.mode & !rights };
        self.left_out += u64::from(mode != attr.mode);
        for name in self.top.listxattr(&Call::internal(), ino).unwrap_or_default() {
            if !self.privileged && gives_rights(&name) {
                self.left_out += 1;
            } else if let Ok(value) = self.top.getxattr(&Call::internal(), ino, &name) {
                // As with owners: what the destination cannot hold is left out.
                made::set_xattr(made, &name, &value);
            }
        }
        if attr.kind != FileKind::Symlink {
            made::set_mode(made, mode)?;
        }
        Ok(made::set_times(made, attr)?)
    }
}

fn gives_rights(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}
