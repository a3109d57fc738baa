//! Copying files out of a stack of layers: contents with their holes, names, hard links, modes, times and extended
//! attributes; owners where the caller may set them. Only if that is asked for what gives rights: devices, set-user-id and
//! set-group-id, `security.*`, `trusted.*`.
//!
//! One process reads and has no rights, another one writes and reads nothing of the store. Everything is made and changed
//! by descriptor. The topmost directory is closed to everybody but its maker until all below it is done, so that nobody
//! comes between.

mod made;
mod order;
mod read;
mod write;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use hsci_extension::protection;
use rustix::fs::{Mode, OFlags};

use crate::failure::{Exit, Failure};
use crate::place;
use crate::sandbox::files::apart;

pub(super) use self::read::{bytes_below, read};
pub(super) use self::write::write;

/// Directories that are nested deeper are not copied: each keeps a descriptor.
const MAX_DEPTH: usize = 1000;
/// Files up to this length go to the side that writes at once: it does not wait for the other one, nor the other for it.
const WHOLE: usize = 48 << 10;

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
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.parent
    }
}
