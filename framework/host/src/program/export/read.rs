//! The side that reads, and has no rights but that.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hsci_extension::{Attr, Call, Errno, Error, FileKind, FileSystem, Ino, Whence, check};

use super::order::{Finish, Kind, Order, Reply};
use super::{MAX_DEPTH, WHOLE};
use crate::failure::{Exit, Failure};
use crate::passing::{receive, send};

const PIECE: usize = 1 << 20;

/// Has an inode and what is below it copied by who writes at the other end of the socket; is told how many bytes more
/// of the files' lengths are done.
pub(crate) fn read(
    top: &dyn FileSystem,
    from: Ino,
    (keeper, progress): (OwnedFd, &mut dyn FnMut(u64)),
) -> Result<(), Failure> {
    let buffer = vec![0; PIECE];
    let mut export = Export { top, keeper, progress, buffer, depth: 0 };
    let read = export.inode(from, OsStr::new("")).and_then(|()| export.send(&Order::End, &[]));
    read.map_err(|gone| {
        Failure::new(Exit::Internal, format!("what writes the copies is gone: {}", gone.0))
    })
}

/// The lengths of all files that [`read`] reads.
pub(crate) fn bytes_below(top: &dyn FileSystem, from: Ino) -> u64 {
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

/// What all names of an inode with several have in common.
fn link_of(attr: &Attr) -> Option<u64> {
    (attr.nlink > 1 && attr.kind != FileKind::Directory).then_some(attr.ino)
}

/// Nobody is there to write.
struct Gone(rustix::io::Errno);

type Outcome<T = ()> = Result<T, Gone>;

struct Export<'a> {
    top: &'a dyn FileSystem,
    keeper: OwnedFd,
    progress: &'a mut dyn FnMut(u64),
    buffer: Vec<u8>,
    depth: usize,
}

impl Export<'_> {
    fn send(&self, order: &Order, bytes: &[u8]) -> Outcome {
        send(&self.keeper, order, bytes, &[]).map_err(Gone)
    }

    fn warn(&self, name: &OsStr, failed: bool, text: &str) -> Outcome {
        self.send(&Order::Warn { name: PathBuf::from(name), failed }, text.as_bytes())
    }

    /// Copies one inode and what is below it; what fails is named, and the rest goes on.
    fn inode(&mut self, ino: Ino, name: &OsStr) -> Outcome {
        let attr = self.top.getattr(&Call::internal(), ino);
        let target = match &attr {
            Ok(attr) if attr.kind == FileKind::Symlink => self.top.readlink(&Call::internal(), ino),
            _ => Ok(Default::default()),
        };
        let (attr, target) = match attr.and_then(|attr| Ok((attr, target?))) {
            Ok(found) => found,
            Err(error) => return self.warn(name, true, &error.to_string()),
        };
        if attr.kind == FileKind::Directory && self.depth == MAX_DEPTH {
            return self.warn(name, true, &format!("more than {MAX_DEPTH} directories deep"));
        }
        if let Some(content) = self.whole(ino, &attr) {
            self.send(&Order::Whole { name: name.into(), link: link_of(&attr) }, &content)?;
            (self.progress)(attr.size);
            return self.complete(ino, &attr, Ok(()));
        }
        let Some(file) = self.make(name, &attr, &target)? else { return Ok(()) };
        let copied = match (attr.kind, file) {
            (FileKind::Directory, _) => {
                self.depth += 1;
                let copied = self.entries(ino)?;
                self.depth -= 1;
                copied
            }
            (FileKind::Regular, Some(file)) => self.content(ino, &attr, &File::from(file)),
            _ => Ok(()),
        };
        self.complete(ino, &attr, copied)
    }

    /// The content of a short file without holes, if all of it can be read.
    fn whole(&self, ino: Ino, attr: &Attr) -> Option<Vec<u8>> {
        let len = usize::try_from(attr.size).ok().filter(|len| *len <= WHOLE)?;
        if attr.kind != FileKind::Regular {
            return None;
        }
        let hole = || self.top.lseek(&Call::internal(), ino, 0, Whence::Hole);
        if len > 0 && !matches!(hole(), Ok(end) if end == attr.size) {
            return None;
        }
        let mut content = vec![0; len];
        let read = self.top.read(&Call::internal(), ino, 0, &mut content);
        matches!(read, Ok(read) if read == len).then_some(content)
    }

    fn complete(&self, ino: Ino, attr: &Attr, copied: Result<(), Error>) -> Outcome {
        for name in self.top.listxattr(&Call::internal(), ino).unwrap_or_default() {
            if let Ok(value) = self.top.getxattr(&Call::internal(), ino, &name) {
                self.send(&Order::Xattr { name: name.into() }, &value)?;
            }
        }
        let trouble = copied.err().map(|error| error.to_string()).unwrap_or_default();
        self.send(&Order::Finish(Finish::of(attr)), trouble.as_bytes())
    }

    /// Has a name made; nothing if there is no more to do about it.
    fn make(&self, name: &OsStr, attr: &Attr, target: &OsStr) -> Outcome<Option<Option<OwnedFd>>> {
        let (kind, link) = (Kind::of(attr), link_of(attr));
        self.send(&Order::Make { name: name.into(), kind, link }, target.as_bytes())?;
        let mut buffer = [0; 64];
        let (len, files) = receive(&self.keeper, &mut buffer).map_err(Gone)?;
        match serde_json::from_slice(&buffer[..len]) {
            Ok(Reply::Made) => Ok(Some(files.into_iter().next())),
            Ok(Reply::Complete | Reply::Failed) => Ok(None),
            Err(_) => Err(Gone(rustix::io::Errno::PIPE)),
        }
    }

    fn entries(&mut self, ino: Ino) -> Outcome<Result<(), Error>> {
        let mut cookie = 0;
        loop {
            let entries = match self.top.readdir(&Call::internal(), ino, cookie, PIECE) {
                Ok(entries) => entries,
                Err(error) => return Ok(Err(error)),
            };
            let Some(last) = entries.last() else { return Ok(Ok(())) };
            cookie = last.next;
            for entry in entries.iter().filter(|entry| entry.name != "." && entry.name != "..") {
                match self.top.lookup(&Call::internal(), ino, &entry.name) {
                    Ok(found) => {
                        self.inode(found.ino, &entry.name)?;
                        self.top.forget(found.ino, 1);
                    }
                    Err(Error::Lower(Errno::XDEV)) => {
                        self.warn(&entry.name, false, "is mounted there, and left out")?;
                    }
                    Err(error) => self.warn(&entry.name, true, &error.to_string())?,
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
                Err(Error::Lower(Errno::NXIO)) => break,
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
}
