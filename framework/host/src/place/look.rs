//! Looking where a path leads, by whatever links: for root as the kernel does it, but never into a file system that
//! another user serves.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::path::{MAX_LINKS, Place, failure, missing, parts};
use super::server;
use crate::failure::Failure;
use crate::mounts::{self, Mounted};

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// The magic of `/proc`, whose links lead where their texts do not.
const PROC: i64 = 0x9fa0;
/// The magic of pipes without a name.
const PIPES: i64 = 0x5049_5045;

/// Finds what a path leads to: what may lie there is anybody's word, but no other user's server is asked for it.
pub fn look(path: &Path) -> Result<Place, Failure> {
    let found = Way::follow(path)?;
    server::enter(&found, None, path)?;
    let name = name_of(&found).unwrap_or_else(|| path.to_owned());
    Ok(Place::seen(found, name))
}

/// Opens a file of anybody's for reading: a regular one, or a pipe of the caller's own. Whoever has made a FIFO
/// decides when it is answered, and a device does more than to be read.
pub fn read(path: &Path) -> Result<File, Failure> {
    let place = look(path)?;
    let stat = rustix::fs::stat(place.reach()).map_err(|errno| failure(path, errno))?;
    let is_readable = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => true,
        FileType::Directory => return Err(missing(path, "is a directory")),
        FileType::Fifo => {
            rustix::fs::statfs(place.reach()).is_ok_and(|system| system.f_type == PIPES)
        }
        _ => false,
    };
    if !is_readable {
        return Err(missing(path, "not a regular file"));
    }
    let file = openat(CWD, place.reach(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    Ok(file.map_err(|errno| failure(path, errno))?.into())
}

/// The mount at a directory, if it is the topmost there and one of ours.
pub fn find_mount(dir: &Path) -> Result<Option<Mounted>, Failure> {
    Ok(open_mount(dir)?.map(|(mounted, _)| mounted))
}

/// The same with its root.
pub(crate) fn open_mount(dir: &Path) -> Result<Option<(Mounted, OwnedFd)>, Failure> {
    let Ok(found) = Way::follow(dir) else { return Ok(None) };
    let path = name_of(&found);
    let mounted = mount_of(&found)?.filter(|mounted| Some(&mounted.dir) == path.as_ref());
    Ok(mounted.map(|mounted| (mounted, found)))
}

/// The mount that a path lies in.
pub fn mount_containing(path: &Path) -> Result<Option<Mounted>, Failure> {
    mount_of(&Way::follow(path)?)
}

fn mount_of(found: &OwnedFd) -> Result<Option<Mounted>, Failure> {
    let Some(id) = mounts::mount_id(found) else { return Ok(None) };
    Ok(mounts::all()?.into_iter().find(|mounted| mounted.id == id))
}

fn name_of(found: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()
}

/// A walk along a path. Its end may be on another user's server, which is not asked: no directory there is entered.
struct Way<'a> {
    given: &'a Path,
    at: OwnedFd,
    /// The last mount that was entered.
    entered: Option<u64>,
    rest: VecDeque<OsString>,
    links: usize,
}

impl<'a> Way<'a> {
    fn follow(given: &'a Path) -> Result<OwnedFd, Failure> {
        let fail = |errno| failure(given, errno);
        if !geteuid().is_root() {
            return openat(CWD, given, PATH, Mode::empty()).map_err(fail);
        }
        let at = start(given).map_err(fail)?;
        let rest = parts(given.as_os_str());
        let mut way = Self { given, at, entered: None, rest, links: 0 };
        while let Some(name) = way.rest.pop_front() {
            if !name.is_empty() {
                way.enter(&name)?;
            }
        }
        Ok(way.at)
    }

    fn enter(&mut self, name: &OsString) -> Result<(), Failure> {
        let fail = |errno| failure(self.given, errno);
        self.entered = server::enter(&self.at, self.entered, self.given)?;
        let next = openat(&self.at, name, PATH | OFlags::NOFOLLOW, Mode::empty()).map_err(fail)?;
        let Some(target) = readlink(&next) else {
            self.at = next;
            return Ok(());
        };
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(fail(Errno::LOOP));
        }
        if fstatfs(&next).map_err(fail)?.f_type == PROC {
            self.at = openat(&self.at, name, PATH, Mode::empty()).map_err(fail)?;
            return Ok(());
        }
        if target.is_absolute() {
            self.at = start(&target).map_err(fail)?;
        }
        let mut whole = parts(target.as_os_str());
        whole.append(&mut self.rest);
        self.rest = whole;
        Ok(())
    }
}

fn start(path: &Path) -> Result<OwnedFd, Errno> {
    let start = if path.is_absolute() { "/" } else { "." };
    openat(CWD, start, PATH, Mode::empty())
}

/// Of anything but a link the kernel says EINVAL or ENOENT.
fn readlink(file: &OwnedFd) -> Option<PathBuf> {
    let target = readlinkat(file, "", Vec::new()).ok()?.into_bytes();
    Some(PathBuf::from(OsString::from_vec(target)))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_where_they_lead_for_the_kernel() {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("real")).expect("directory");
        std::fs::write(at("real/file"), "text").expect("file");
        symlink("real", at("relative")).expect("link");
        symlink(at("relative/file"), at("absolute")).expect("link");
        symlink("loop", at("loop")).expect("link");
        let open = File::open(at("real/file")).expect("open");
        let magic = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        for way in ["real/file", "relative/file", "absolute", "real/../relative//./file"] {
            assert_eq!(
                look(&at(way)).expect(way).path(),
                at("real/file").canonicalize().expect(way)
            );
        }
        let mut text = String::new();
        read(&magic).expect("by its descriptor").read_to_string(&mut text).expect("read");
        assert_eq!(text, "text");
        assert!(look(&at("loop")).is_err());
        assert!(look(&at("real/file/..")).is_err());
        assert!(look(&at("missing")).is_err());
        let (mut from, to) = std::io::pipe().expect("a pipe");
        drop(to);
        let magic = PathBuf::from(format!("/proc/self/fd/{}", from.as_raw_fd()));
        from.read_to_string(&mut text).expect("its end");
        read(&magic).expect("a pipe");
    }
}
