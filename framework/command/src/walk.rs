//! Walks trees: without following symbolic links, without entering other mounts, at any depth, and
//! each file once however many names it has.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hsci_host::failure::Failure;
use hsci_host::{mounts, place};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::control;

/// Something met on a walk.
pub struct Found<'a> {
    /// Its path as its user would write it; it may be longer than system calls take.
    pub path: &'a Path,
    /// A path that system calls take, during the visit.
    pub reach: &'a Path,
    /// Its type.
    pub kind: FileType,
}

/// One walk over one or several trees.
pub struct Walk<V, F> {
    /// Called for everything that is met.
    visit: V,
    /// Called for what cannot be looked at.
    failed: F,
    /// Device and inode of files with several names that were met.
    seen: HashSet<(u64, u64)>,
}

impl<V: FnMut(&Found<'_>), F: FnMut(Failure)> Walk<V, F> {
    /// A walk that calls these.
    pub fn new(visit: V, failed: F) -> Self {
        raise_descriptor_limit();
        Self { visit, failed, seen: HashSet::new() }
    }

    /// Walks a tree. Its root may be a symbolic link, which is followed.
    pub fn run(&mut self, root: &Path) {
        let walked = place::look(root).and_then(|place| {
            let below = self.below(&place.reach(), root);
            below.map_err(|errno| control::of_path(root, errno))
        });
        if let Err(failure) = walked {
            (self.failed)(failure);
        }
    }

    fn below(&mut self, reach: &Path, root: &Path) -> Result<()> {
        let top = openat(CWD, reach, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mount = mount_of(&top)?;
        let Some(directory) = self.visit(&top, root)? else { return Ok(()) };
        let mut open = vec![directory];
        // Always the path of the last directory of `open`.
        let mut path = root.to_owned();
        while let Some(directory) = open.last_mut() {
            match directory.read() {
                Some(Ok(entry)) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    if name == "." || name == ".." {
                        continue;
                    }
                    path.push(name);
                    match self.enter(directory.fd()?, name, &path, mount) {
                        Ok(Some(below)) => {
                            open.push(below);
                            continue;
                        }
                        Ok(None) => {}
                        Err(errno) => (self.failed)(control::of_path(&path, errno)),
                    }
                }
                Some(Err(errno)) => {
                    (self.failed)(control::of_path(&path, errno));
                    open.pop();
                }
                None => drop(open.pop()),
            }
            path.pop();
        }
        Ok(())
    }

    /// Visits one name of a directory, and opens it if it is a directory of the same mount.
    fn enter(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        mount: u64,
    ) -> Result<Option<Dir>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty())?;
        // What is mounted here is not asked anything: nobody may answer.
        if mount_of(&file)? != mount {
            return Ok(None);
        }
        self.visit(&file, path)
    }

    fn visit(&mut self, file: &OwnedFd, path: &Path) -> Result<Option<Dir>> {
        let stat = fstat(file)?;
        let reach = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_known = kind != FileType::Directory
            && stat.st_nlink > 1
            && !self.seen.insert((stat.st_dev, stat.st_ino));
        if !is_known {
            (self.visit)(&Found { path, reach: &reach, kind });
        }
        if kind != FileType::Directory {
            return Ok(None);
        }
        Dir::new(openat(file, ".", DIRECTORY, Mode::empty())?).map(Some)
    }
}

/// The number of the mount that a file lies on.
fn mount_of(file: &OwnedFd) -> Result<u64> {
    mounts::mount_id(file).ok_or(Errno::IO)
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A walk keeps one descriptor for each level of names, so that no path gets too long.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Without it only very deep trees fail, and they say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsci_host::failure::Exit;
    use std::fs;

    fn met(root: &Path) -> Vec<PathBuf> {
        let mut met = Vec::new();
        let visit =
            |found: &Found<'_>| met.push(found.path.strip_prefix(root).expect("below").to_owned());
        let failed = |failure: Failure| panic!("{failure}");
        Walk::new(visit, failed).run(root);
        met.sort();
        met
    }

    #[test]
    fn links_are_counted_once_and_symbolic_ones_not_followed() {
        let root = tempfile::tempdir().expect("directory");
        let root = root.path();
        fs::create_dir(root.join("a")).expect("directory");
        fs::write(root.join("a/file"), "").expect("file");
        fs::hard_link(root.join("a/file"), root.join("a/link")).expect("link");
        std::os::unix::fs::symlink("/", root.join("root")).expect("symbolic link");
        let met = met(root);
        assert_eq!(met.len(), 4, "{met:?}");
        assert_eq!(met[..2], [Path::new(""), Path::new("a")]);
        assert_eq!(met[3], Path::new("root"));
    }

    #[test]
    fn depth_has_no_limit_that_paths_have() {
        let root = tempfile::tempdir().expect("directory");
        let name = "d".repeat(200);
        let mut at = openat(CWD, root.path(), DIRECTORY, Mode::empty()).expect("open");
        for _ in 0..30 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("mkdir");
            at = openat(&at, &name, DIRECTORY, Mode::empty()).expect("open");
        }
        let met = met(root.path());
        assert_eq!(met.len(), 31);
        assert_eq!(met[30].as_os_str().len(), 30 * 201 - 1);
    }

    #[test]
    fn what_is_missing_is_reported() {
        let mut failed = Vec::new();
        Walk::new(|_: &Found<'_>| panic!("nothing is there"), |failure| failed.push(failure.exit))
            .run(Path::new("/nonexistent"));
        assert_eq!(failed, [Exit::Missing]);
    }
}
