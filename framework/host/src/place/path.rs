//! Walking a path by the owners of its parts.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, openat, readlinkat, statx,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use hsci_extension::protection;

use super::server;
use crate::failure::{Exit, Failure};
use crate::mounts;

/// As many symbolic links as the kernel follows.
pub(super) const MAX_LINKS: usize = 40;

/// A file or directory that was opened once. It is what it is, wherever its names lead by now.
#[derive(Debug)]
pub struct Place {
    /// `O_PATH`.
    descriptor: OwnedFd,
    /// Where it was found: absolute and without symbolic links.
    path: PathBuf,
    is_trusted: bool,
}

impl Place {
    /// One that was only looked at: nothing is said of the way to it.
    pub(super) fn seen(descriptor: OwnedFd, path: PathBuf) -> Self {
        Self { descriptor, path, is_trusted: false }
    }

    /// A path that leads to this very file, as long as this value is kept.
    #[must_use]
    pub fn reach(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }

    /// True if it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        let kind = |stat: Statx| FileType::from_raw_mode(stat.stx_mode.into());
        self.stat().is_ok_and(|stat| kind(stat) == FileType::Directory)
    }

    /// Where it was when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if nobody but root can make the path mean something else.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// The directory, open for reading.
    pub fn read(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.descriptor, ".", flags, Mode::empty())
    }

    /// What the kernel says of it.
    pub fn stat(&self) -> Result<Statx, Errno> {
        stat(self.descriptor.as_fd())
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens a file or directory, only to say which one it is.
pub fn open(path: &Path) -> Result<Place, Failure> {
    Walk::begin(path)?.run().map(Found::into_place)
}

/// Opens a directory.
pub fn open_dir(path: &Path) -> Result<Place, Failure> {
    let place = Walk::begin(path)?.run()?;
    match place.kind() {
        FileType::Directory => Ok(place.into_place()),
        _ => Err(missing(path, "not a directory")),
    }
}

/// Opens the directory that a path lies in; returns the last name as well. Nothing needs to be there.
pub fn open_parent(path: &Path) -> Result<(Place, OsString), Failure> {
    let Some(Component::Normal(name)) = path.components().next_back() else {
        return Err(missing(path, "names no file"));
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((open_dir(parent.unwrap_or(Path::new(".")))?, name.to_owned()))
}

/// Opens a file for reading that must be such that nobody but root can change it, where root asks:
/// by its name, its content, or the way to it. Others get what they may read.
pub fn open_file(path: &Path) -> Result<std::fs::File, Failure> {
    // The way to where a shell stands is known by its name only, and counts like any other.
    let whole = std::path::absolute(path)
        .map_err(|error| failure(path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let found = Walk::begin(&whole)?.run()?;
    if found.kind() != FileType::RegularFile {
        return Err(missing(path, "not a regular file"));
    }
    let shown = path.display();
    let is_roots = found.is_trusted && is_roots_alone(&found.stat);
    if geteuid().is_root() && !is_roots && protection::stands("policy-files") {
        let text = format!(
            "{shown}: others than root can change it, or the way to it; copy it to a place of root's, such as /etc/hsci"
        );
        return Err(Failure::new(Exit::Impossible, text));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = format!("/proc/self/fd/{}", found.descriptor.as_raw_fd());
    let file = openat(CWD, own, flags, Mode::empty()).map_err(|errno| failure(path, errno))?;
    Ok(file.into())
}

/// True if nobody but root can change what is in a file or directory.
fn is_roots_alone(stat: &Statx) -> bool {
    stat.stx_uid == 0 && stat.stx_mode & 0o022 == 0
}

/// What a walk has come to.
struct Found {
    descriptor: OwnedFd,
    path: PathBuf,
    stat: Statx,
    is_trusted: bool,
    /// The number of its mount, where /proc says it.
    mount: Option<u64>,
}

impl Found {
    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }

    fn into_place(self) -> Place {
        let Self { descriptor, path, is_trusted, .. } = self;
        Place { descriptor, path, is_trusted }
    }
}

/// A walk along a path.
struct Walk<'a> {
    /// As it was given, for messages.
    given: &'a Path,
    at: Found,
    rest: VecDeque<OsString>,
    links: usize,
    /// Whether owners matter: what an ordinary user opens, that user may open anyhow.
    strict: bool,
}

impl<'a> Walk<'a> {
    fn begin(given: &'a Path) -> Result<Self, Failure> {
        let fail = |errno| failure(given, errno);
        let start = if given.is_absolute() { Path::new("/") } else { Path::new(".") };
        let path = match given.is_absolute() {
            true => PathBuf::from("/"),
            false => std::env::current_dir()
                .map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = openat(CWD, start, flags, Mode::empty()).map_err(fail)?;
        // Where a shell stands may be on another user's server as well.
        let mount = server::enter(&descriptor, None, given)?;
        let stat = stat(descriptor.as_fd()).map_err(fail)?;
        // The way to where a shell stands is not known.
        let is_trusted = given.is_absolute() && is_roots_alone(&stat);
        let rest = parts(given.as_os_str());
        let strict = geteuid().is_root();
        let at = Found { descriptor, path, stat, is_trusted, mount };
        Ok(Self { given, at, rest, links: 0, strict })
    }

    fn run(mut self) -> Result<Found, Failure> {
        while let Some(name) = self.rest.pop_front() {
            match name.as_bytes() {
                b"" | b"." => {}
                b".." => self.up()?,
                _ => self.enter(&name)?,
            }
        }
        Ok(self.at)
    }

    /// A way up is as good as the way down was; from a place of somebody else's it leads where that
    /// person has put the place.
    fn up(&mut self) -> Result<(), Failure> {
        if self.strict
            && !self.at.is_trusted
            && self.given.is_absolute()
            && protection::stands("way-up")
        {
            return Err(self.refused("`..` leads out of it"));
        }
        let next = self.open(OsStr::new(".."), OFlags::DIRECTORY)?;
        self.at.path.pop();
        self.arrive(next, self.at.path.clone())
    }

    fn enter(&mut self, name: &OsStr) -> Result<(), Failure> {
        let next = match self.open(name, OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(_) => self.open(name, OFlags::empty())?,
        };
        let fail = |errno| failure(self.given, errno);
        let found = stat(next.as_fd()).map_err(fail)?;
        if FileType::from_raw_mode(found.stx_mode.into()) != FileType::Symlink {
            let path = self.at.path.join(name);
            return self.arrive(next, path);
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(fail(Errno::LOOP));
        }
        // In a directory such as /tmp anybody can make a link of any name.
        let is_roots = self.at.is_trusted && found.stx_uid == 0;
        if self.strict && !is_roots && protection::stands("links") {
            return Err(self.refused(&format!("`{}` is a symbolic link", name.display())));
        }
        let target = readlinkat(&next, "", Vec::new()).map_err(fail)?;
        let target = OsString::from_vec(target.into_bytes());
        if target.as_bytes().starts_with(b"/") {
            let root = Self::begin(Path::new("/"))?.at;
            self.at = root;
        }
        let mut rest = parts(&target);
        rest.append(&mut self.rest);
        self.rest = rest;
        Ok(())
    }

    fn open(&self, name: &OsStr, more: OFlags) -> Result<OwnedFd, Failure> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        let opened = openat(&self.at.descriptor, name, flags, Mode::empty())
            .map_err(|errno| failure(self.given, errno))?;
        // Before anything is asked of it.
        server::enter(&opened, self.at.mount, self.given)?;
        Ok(opened)
    }

    fn arrive(&mut self, descriptor: OwnedFd, path: PathBuf) -> Result<(), Failure> {
        let stat = stat(descriptor.as_fd()).map_err(|errno| failure(self.given, errno))?;
        let mount = mounts::mount_id(&descriptor);
        // What is in a sticky directory is moved by its owner alone: the next part decides.
        let sticky = stat.stx_uid == 0 && stat.stx_mode & 0o1000 != 0;
        let is_roots = stat.stx_uid == 0 && (stat.stx_mode & 0o022 == 0 || sticky);
        let is_trusted = self.at.is_trusted && is_roots;
        self.at = Found { descriptor, path, stat, is_trusted, mount };
        Ok(())
    }

    fn refused(&self, what: &str) -> Failure {
        let (given, at) = (self.given.display(), self.at.path.display());
        let whose = self.at.stat.stx_uid;
        let text = format!(
            "{given}: {what}, in {at}, which others than root can change (it belongs to user {whose}); name the place itself"
        );
        Failure::new(Exit::Impossible, text)
    }
}

pub(super) fn parts(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    parts.map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

fn stat(descriptor: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

pub(super) fn missing(path: &Path, what: &str) -> Failure {
    Failure::new(Exit::Missing, format!("{}: {what}", path.display()))
}

/// The failure of a system call on a path.
pub(crate) fn failure(path: &Path, errno: Errno) -> Failure {
    let (exit, text) = match errno {
        Errno::NOENT => (Exit::Missing, "no such file or directory".to_owned()),
        Errno::NOTDIR => (Exit::Missing, "not a directory".to_owned()),
        Errno::ACCESS => {
            (Exit::Impossible, "permission denied; ask its owner, or be root".to_owned())
        }
        Errno::PERM => (
            Exit::InUse,
            "sealed for the mount that is served from it; unmount that first".to_owned(),
        ),
        Errno::NOTCONN => (Exit::InUse, "a dead mount; unmount it first".to_owned()),
        _ => (Exit::Internal, std::io::Error::from(errno).to_string()),
    };
    Failure::new(exit, format!("{}: {text}", path.display()))
}
