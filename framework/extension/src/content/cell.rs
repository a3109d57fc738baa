//! One file in use, as a content plug-in meets it outside of a call.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Attr, Call, Content, Error, FileSystem, Ino, Result};

/// A file in use: its state behind the inode's lock, and its surroundings.
pub struct Cell<C: Content> {
    ino: Ino,
    lower: Arc<dyn FileSystem>,
    state: RwLock<C::File>,
    waiting: AtomicUsize,
}

impl<C: Content> Cell<C> {
    pub(super) fn new(ino: Ino, lower: Arc<dyn FileSystem>, state: C::File) -> Self {
        Self { ino, lower, state: RwLock::new(state), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// The state, shared with other readers.
    pub fn read(&self) -> RwLockReadGuard<'_, C::File> {
        self.state.read()
    }

    /// The state, for this thread alone.
    pub fn write(&self) -> RwLockWriteGuard<'_, C::File> {
        if let Some(guard) = self.state.try_write() {
            return guard;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.state.write();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// True while somebody waits for [`Cell::write`]: long work should pause.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Attributes as the lower layer has them; size and blocks are the stored ones.
    pub fn lower_attr(&self) -> Result<Attr> {
        self.lower.getattr(&Call::internal(), self.ino)
    }

    /// An extended attribute of this file.
    pub fn xattr(&self, name: &str) -> Result<Option<Vec<u8>>> {
        xattr(&*self.lower, self.ino, name)
    }

    /// Sets an extended attribute of this file, as the host.
    pub fn set_xattr(&self, name: &str, value: &[u8]) -> Result<()> {
        let flags = crate::XattrFlags::empty();
        self.lower.setxattr(&Call::internal(), self.ino, OsStr::new(name), value, flags)
    }

    /// An extended attribute of the nearest directory above this file that has it. Of several
    /// hard links, the name by which the file was last met counts.
    pub fn inherited_xattr(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let mut ino = self.ino;
        while ino != Ino::ROOT {
            ino = match self.lower.parent(ino) {
                Ok((parent, _)) => parent,
                Err(Error::Lower(_)) => break,
                Err(error) => return Err(error),
            };
            if let Some(value) = xattr(&*self.lower, ino, name)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The path below the root by which this file was last met, for messages.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let mut names: Vec<OsString> = Vec::new();
        let mut ino = self.ino;
        while let Ok((parent, name)) = self.lower.parent(ino) {
            names.push(name);
            ino = parent;
        }
        names.iter().rev().collect()
    }
}

fn xattr(lower: &dyn FileSystem, ino: Ino, name: &str) -> Result<Option<Vec<u8>>> {
    use crate::Errno;
    match lower.getxattr(&Call::internal(), ino, OsStr::new(name)) {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoAttribute | Error::Lower(Errno::NODATA | Errno::OPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}
