//! The host's own directory in a store, and the files in it: believed only if they are its own.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use hsci_extension::{Error, RESERVED_NAME, protection};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, mkdirat, openat, openat2,
    statx,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The directory `.hsci` of a lower directory.
#[derive(Debug)]
pub(crate) struct Private {
    directory: OwnedFd,
    owners: Owners,
}

/// The user whose process this was before it gave that up to read a store.
static OWN: OnceLock<u32> = OnceLock::new();

/// From now on what belongs to the user of this process is what belongs to the one that it has now.
pub(crate) fn keep_own_user() {
    let _ = OWN.set(geteuid().as_raw());
}

/// The user to whom the host's own files belong.
pub(crate) fn own_user() -> u32 {
    OWN.get().copied().unwrap_or_else(|| geteuid().as_raw())
}

/// Whose private directories and files are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Those of the user of this process, who alone can have put into them what is there.
    Own,
    /// Those of this user as well, who owns the lower directory: enough to show what a store holds,
    /// for it is that user's word anyhow.
    OrUser(u32),
}

/// Why something is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It cannot be opened.
    Errno(Errno),
    /// It is not the host's own: one line.
    Foreign(String),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Errno(errno) => errno.into(),
            Refused::Foreign(text) => Self::NotPermitted(text),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => write!(formatter, "{}", std::io::Error::from(*errno)),
            Self::Foreign(text) => formatter.write_str(text),
        }
    }
}

impl Private {
    /// The one of a lower directory; ENOENT if there is none.
    pub(crate) fn open(root: BorrowedFd<'_>, owners: Owners) -> Result<Self, Refused> {
        let directory = open_directory(root, RESERVED_NAME, RESERVED_NAME, owners)?;
        Ok(Self { directory, owners })
    }

    /// The host's own; it is made if there is none.
    pub(crate) fn create(root: BorrowedFd<'_>) -> Result<Self, Refused> {
        if make_directory(root, RESERVED_NAME)? {
            super::pause("private-made");
        }
        Self::open(root, Owners::Own)
    }

    /// A directory in it.
    pub(crate) fn directory(&self, name: &str, create: bool) -> Result<OwnedFd, Refused> {
        if create {
            make_directory(self.as_fd(), name)?;
        }
        open_directory(self.as_fd(), name, &format!("{RESERVED_NAME}/{name}"), self.owners)
    }

    /// A file in it, opened so that nothing there can block.
    pub(crate) fn file(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Refused> {
        open_private(self.as_fd(), name, flags, self.owners)
    }
}

impl Owners {
    /// Those whose word is enough to show a store.
    pub(crate) fn of(root: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self::OrUser(stat_of(root)?.stx_uid))
    }
}

impl AsFd for Private {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Opens a file of the host's own in a directory of its own.
pub(crate) fn open_private(
    directory: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
    owners: Owners,
) -> Result<OwnedFd, Refused> {
    let mut flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    flags.set(OFlags::NONBLOCK, protection::stands("regular-files"));
    // A FIFO that nobody writes to, or a socket, fails where a file would not.
    let unusual = |errno| match errno {
        Errno::NXIO | Errno::LOOP => foreign(name, "is no regular file"),
        errno => Refused::Errno(errno),
    };
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    let file = openat(directory, name, flags, mode).map_err(unusual)?;
    require_private(file.as_fd(), name, owners)?;
    Ok(file)
}

/// Fails unless a file is one of the host's own: regular, with one name, and nobody else may write it.
fn require_private(file: BorrowedFd<'_>, name: &str, owners: Owners) -> Result<(), Refused> {
    let stat = stat_of(file)?;
    let is_regular = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    if !is_regular && protection::stands("regular-files") {
        return Err(foreign(name, "is no regular file"));
    }
    require_own(&stat, name, owners)?;
    if stat.stx_nlink > 1 && protection::stands("one-name") {
        return Err(foreign(name, "has other names, perhaps outside of the store"));
    }
    Ok(())
}

fn require_own(stat: &Statx, name: &str, owners: Owners) -> Result<(), Refused> {
    let own = own_user();
    let is_theirs = stat.stx_uid == own || owners == Owners::OrUser(stat.stx_uid);
    if !is_theirs && protection::stands("owners") {
        let whose = stat.stx_uid;
        return Err(foreign(name, &format!("belongs to user {whose}, not to user {own}")));
    }
    if stat.stx_mode & 0o022 != 0 && protection::stands("modes") {
        return Err(foreign(name, "can be written by others"));
    }
    Ok(())
}

fn foreign(name: &str, what: &str) -> Refused {
    Refused::Foreign(format!(
        "{name} {what}, so what it says is not believed; mount as its owner, or move it away"
    ))
}

/// True if it was not there.
fn make_directory(parent: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn open_directory(
    parent: BorrowedFd<'_>,
    name: &str,
    shown: &str,
    owners: Owners,
) -> Result<OwnedFd, Refused> {
    let directory = match open_below(parent, name, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(foreign(shown, "is no directory")),
        Err(Errno::XDEV) => return Err(foreign(shown, "is another file system")),
        opened => opened?,
    };
    require_own(&stat_of(directory.as_fd())?, shown, owners)?;
    Ok(directory)
}

/// Opens one name in a directory: no symbolic link, and on the same mount, which is EXDEV otherwise.
pub(crate) fn open_below(
    parent: BorrowedFd<'_>,
    name: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    if !protection::stands("store-links") {
        return openat(parent, name, flags | OFlags::CLOEXEC, Mode::empty());
    }
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(parent, name, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a list of system calls without this one.
        Err(Errno::NOSYS | Errno::PERM) => {
            let opened = openat(parent, name, flags, Mode::empty())?;
            match device(&stat_of(opened.as_fd())?) == device(&stat_of(parent)?) {
                true => Ok(opened),
                false => Err(Errno::XDEV),
            }
        }
        opened => opened,
    }
}

fn device(stat: &Statx) -> (u32, u32) {
    (stat.stx_dev_major, stat.stx_dev_minor)
}

fn stat_of(file: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::CWD;

    use super::*;

    fn root(dir: &tempfile::TempDir) -> OwnedFd {
        openat(CWD, dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("open")
    }

    fn why(refused: &Refused) -> String {
        refused.to_string()
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_believed() {
        let dir = tempfile::tempdir().expect("directory");
        let root = root(&dir);
        assert_eq!(
            Private::open(root.as_fd(), Owners::Own).expect_err("missing"),
            Refused::Errno(Errno::NOENT)
        );
        drop(Private::create(root.as_fd()).expect("made"));
        let reserved = dir.path().join(RESERVED_NAME);
        fs::set_permissions(&reserved, fs::Permissions::from_mode(0o770)).expect("chmod");
        assert!(
            why(&Private::open(root.as_fd(), Owners::Own).expect_err("refused"))
                .contains("by others")
        );
        fs::remove_dir(&reserved).expect("remove");
        std::os::unix::fs::symlink("/", &reserved).expect("link");
        assert!(why(&Private::create(root.as_fd()).expect_err("refused")).contains("no directory"));
    }

    #[test]
    fn only_regular_files_with_one_name_are_believed_and_none_blocks() {
        let dir = tempfile::tempdir().expect("directory");
        let private = Private::create(root(&dir).as_fd()).expect("made");
        let at = |name: &str| dir.path().join(RESERVED_NAME).join(name);
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("fifo");
        std::os::unix::fs::symlink("/etc/passwd", at("link")).expect("link");
        fs::write(at("two"), "").expect("write");
        fs::hard_link(at("two"), at("names")).expect("link");
        fs::create_dir(at("directory")).expect("directory");
        fs::write(at("open"), "").expect("write");
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o666)).expect("chmod");
        for name in ["fifo", "link", "two", "directory", "open"] {
            for flags in [OFlags::RDONLY, OFlags::RDWR] {
                assert!(private.file(name, flags).is_err(), "{name}");
            }
        }
        fs::write(at("own"), "").expect("write");
        fs::set_permissions(at("own"), fs::Permissions::from_mode(0o600)).expect("chmod");
        private.file("own", OFlags::RDWR).expect("its own");
    }
}
