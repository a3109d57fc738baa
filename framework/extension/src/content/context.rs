//! The surroundings of a file in use.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::open_file::Shared;
use crate::{
    Attr, Call, Errno, Error, FileId, FileSystem, Ino, LowerFile, Result, Stack, Store, XattrFlags,
};

/// What a content extension can reach beside the state of a file: nothing here takes the lock of that state.
pub struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) ino: Ino,
    lower: Arc<dyn LowerFile>,
}

impl Context {
    /// The surroundings of an inode that is known for at least as long.
    pub(super) fn new(shared: &Arc<Shared>, ino: Ino) -> Result<Self> {
        Ok(Self { shared: Arc::clone(shared), ino, lower: shared.lower.file(ino)? })
    }

    fn tree(&self) -> &Stack {
        &*self.shared.lower
    }

    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// The file that stores the bytes.
    #[must_use]
    pub fn lower(&self) -> &Arc<dyn LowerFile> {
        &self.lower
    }

    /// The extension's own corner of the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The lasting name of the lower file.
    pub fn id(&self) -> Result<FileId> {
        self.lower.id()
    }

    /// Attributes as the lower layer has them; size and blocks are the stored ones.
    pub fn lower_attr(&self) -> Result<Attr> {
        self.tree().getattr(&Call::internal(), self.ino)
    }

    /// An extended attribute of this file.
    pub fn xattr(&self, name: &str) -> Result<Option<Vec<u8>>> {
        xattr(self.tree(), self.ino, name)
    }

    /// Sets an extended attribute of this file, as the host.
    pub fn set_xattr(&self, name: &str, value: &[u8]) -> Result<()> {
        let flags = XattrFlags::empty();
        self.tree().setxattr(&Call::internal(), self.ino, OsStr::new(name), value, flags)
    }

    /// An extended attribute of the nearest directory above this file that has it. Of several
    /// hard links, the name by which the file was last met counts.
    pub fn inherited_xattr(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let mut ino = self.ino;
        while ino != Ino::ROOT {
            ino = match self.tree().parent(ino) {
                Ok((parent, _)) => parent,
                Err(Error::Lower(_)) => break,
                Err(error) => return Err(error),
            };
            if let Some(value) = xattr(self.tree(), ino, name)? {
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
        while let Ok((parent, name)) = self.tree().parent(ino) {
            names.push(name);
            ino = parent;
        }
        names.iter().rev().collect()
    }
}

fn xattr(lower: &dyn FileSystem, ino: Ino, name: &str) -> Result<Option<Vec<u8>>> {
    match lower.getxattr(&Call::internal(), ino, OsStr::new(name)) {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoAttribute | Error::Lower(Errno::NODATA | Errno::OPNOTSUPP)) => Ok(None),
        Err(error) => Err(error),
    }
}
