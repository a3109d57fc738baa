//! Requests that are sent again after a worker's death, and may have been carried out by it: they are
//! answered as done, once.
//!
//! The kernel holds the directory while such a request is under way, and nobody else changes the
//! lower directory. So what a repeated request finds done was done by its first try.

use std::ffi::OsStr;

use fuser::Request;
use hsci_extension::{Call, Entry, Errno, Error, FileSystem as _, Ino, RenameFlags, Result};

use super::adapter::Adapter;
use super::convert::call;
use crate::takeover;

/// True if an earlier worker may have carried the request out.
fn is_resent(request: &Request) -> bool {
    takeover::is_resent(request.unique().0)
}

/// What removing a name comes to.
pub(super) fn unless_gone(request: &Request, removed: Result<()>) -> Result<()> {
    match removed {
        Err(Error::Lower(Errno::NOENT)) if is_resent(request) => Ok(()),
        removed => removed,
    }
}

/// What setting an attribute that must not be there comes to.
pub(super) fn unless_set(request: &Request, set: Result<()>) -> Result<()> {
    match set {
        Err(Error::Lower(Errno::EXIST)) if is_resent(request) => Ok(()),
        set => set,
    }
}

/// What removing an attribute comes to.
pub(super) fn unless_unset(request: &Request, removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if is_resent(request) && error.errno() == Errno::NODATA => Ok(()),
        removed => removed,
    }
}

impl Adapter {
    /// What making a name comes to.
    pub(super) fn unless_made(
        &self,
        request: &Request,
        made: Result<Entry>,
        parent: Ino,
        name: &OsStr,
    ) -> Result<Entry> {
        match made {
            Err(Error::Lower(Errno::EXIST)) if is_resent(request) => {
                self.top.lookup(&call(request), parent, name)
            }
            made => made,
        }
    }

    /// Renames, or sees that it is done.
    pub(super) fn rename_once(
        &self,
        request: &Request,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        let unique = takeover::number(request.unique().0);
        if flags.contains(RenameFlags::EXCHANGE) {
            // Only where the first name leads tells whether names are swapped already.
            let first = self.inode_at(from)?;
            match self.tree.swapped(unique).filter(|_| is_resent(request)) {
                Some(before) if before != first => return Ok(()),
                _ => self.tree.swapping(unique, first),
            }
        }
        match self.top.rename(&call(request), from, to, flags) {
            Err(Error::Lower(Errno::NOENT)) if is_resent(request) => {
                // Whoever asks for the way up is to find the new name.
                self.inode_at(to).map(drop)
            }
            renamed => renamed,
        }
    }

    fn inode_at(&self, (parent, name): (Ino, &OsStr)) -> Result<Ino> {
        let ino = self.top.lookup(&Call::internal(), parent, name)?.ino;
        self.top.forget(ino, 1);
        Ok(ino)
    }
}
