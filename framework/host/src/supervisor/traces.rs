//! What a mount that does not come about leaves in its lower directory: nothing.

use std::os::fd::{AsFd, OwnedFd};

use hsci_extension::RESERVED_NAME;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Takes the private directory away that was made after this value, unless it is kept.
pub(super) struct Traces {
    lower: OwnedFd,
    is_new: bool,
}

/// The private directory has directories of extensions, which have files.
const DEPTH: u32 = 8;

impl Traces {
    /// Of a lower directory in which nothing was done yet.
    pub(super) fn of(lower: &OwnedFd) -> std::io::Result<Self> {
        let found = statat(lower, RESERVED_NAME, AtFlags::SYMLINK_NOFOLLOW);
        Ok(Self { lower: lower.try_clone()?, is_new: found.err() == Some(Errno::NOENT) })
    }

    /// The mount has come about.
    pub(super) fn keep(mut self) {
        self.is_new = false;
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if self.is_new
            && let Err(errno) = remove(&self.lower, RESERVED_NAME, DEPTH)
            && errno != Errno::NOENT
        {
            log::warn!("{RESERVED_NAME} of a mount that did not come about stays: {errno}");
        }
    }
}

/// Removes a directory of this user's with what is in it.
fn remove(parent: impl AsFd, name: &str, depth: u32) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(&parent, name, flags, Mode::empty())?;
    if rustix::fs::fstat(&directory)?.st_uid != geteuid().as_raw() {
        return Err(Errno::PERM);
    }
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let below = entry.file_name().to_str().map_err(|_| Errno::ILSEQ)?;
        match entry.file_type() {
            _ if below == "." || below == ".." => {}
            FileType::Directory if depth > 0 => remove(&directory, below, depth - 1)?,
            _ => unlinkat(&directory, below, AtFlags::empty())?,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_in_vain_goes_and_what_was_there_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let lower = OwnedFd::from(std::fs::File::open(dir.path()).expect("open"));
        let place = dir.path().join(RESERVED_NAME);
        for (is_there, keeps) in [(false, false), (false, true), (true, false)] {
            let traces = Traces::of(&lower).expect("a look");
            assert_eq!(place.exists(), is_there);
            std::fs::create_dir_all(place.join("extension/deep")).expect("directories");
            std::fs::write(place.join("extension/file"), "x").expect("a file");
            if keeps {
                traces.keep();
            } else {
                drop(traces);
            }
            assert_eq!(place.exists(), is_there || keeps);
        }
    }
}
