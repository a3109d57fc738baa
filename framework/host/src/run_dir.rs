//! Where sockets and locks lie: in a directory that nobody but its user can write.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use hsci_extension::protection;
use rustix::fs::{Mode, OFlags, fstat};
use rustix::process::geteuid;

use crate::place;

/// Root's directory.
const ROOT: &str = "/run/hsci";

/// A directory that was opened and checked.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// A path to a name in it, whatever becomes of the directory's own name.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.0.as_raw_fd())).join(name)
    }

    /// Opens a directory of a user's, in which nobody else can make names. That of another user is opened as other places
    /// of users are: what is served there may not answer.
    pub(crate) fn open(path: &Path, user: u32) -> Result<Self, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = path.display();
        let directory = match user == geteuid().as_raw() || !protection::stands("users-sockets") {
            true => rustix::fs::open(path, flags, Mode::empty()),
            false => place::open_dir(path).map_err(|failure| failure.text)?.read(),
        };
        let directory =
            directory.map_err(|errno| format!("{place}: {}", std::io::Error::from(errno)))?;
        let stat = fstat(&directory).map_err(|errno| format!("{place}: {errno}"))?;
        if stat.st_uid != user {
            return Err(format!("{place}: belongs to user {}, not to {user}", stat.st_uid));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(format!("{place}: others can write there; chmod go-w it"));
        }
        Ok(Self(directory))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The directory for mounts of the calling user, made where it is missing. The error names each
/// place that cannot be used.
pub(crate) fn own() -> Result<Directory, String> {
    let user = geteuid().as_raw();
    let mut problems = Vec::new();
    for path in places(user) {
        let mode = if user == 0 { 0o755 } else { 0o700 };
        // Whatever is there already is looked at below.
        let _ = DirBuilder::new().recursive(user != 0).mode(mode).create(&path);
        match Directory::open(&path, user) {
            Ok(directory) => return Ok(directory),
            Err(problem) => problems.push(problem),
        }
    }
    Err(format!("no place for a control socket: {}", problems.join("; ")))
}

/// The directories in which sockets of a user's mounts may be.
pub(crate) fn of_user(user: u32) -> impl Iterator<Item = Directory> {
    places(user).into_iter().filter_map(move |path| Directory::open(&path, user).ok())
}

/// Root's place, or those of a user. Only users themselves know their environment.
fn places(user: u32) -> Vec<PathBuf> {
    if user == 0 {
        return vec![ROOT.into()];
    }
    let mut places = Vec::new();
    let mut home = None;
    if user == geteuid().as_raw() {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        places.extend(runtime.filter(|place| place.is_absolute()));
        home = std::env::home_dir();
    }
    places.push(format!("/run/user/{user}").into());
    let home = home.or_else(|| home_of(user)).filter(|home| home.is_absolute());
    places.extend(home.map(|home| home.join(".local/state")));
    let mut places: Vec<_> = places.into_iter().map(|place| place.join("hsci")).collect();
    // Somebody else can take this name, and is then found out.
    places.push(format!("/tmp/hsci-{user}").into());
    places
}

/// The home directory of a user in the local table of users.
fn home_of(user: u32) -> Option<PathBuf> {
    let table = std::fs::read_to_string("/etc/passwd").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(user)).then(|| fields.get(5).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_directory_that_others_can_write_is_no_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let (place, link) = (dir.path().join("hsci"), dir.path().join("link"));
        create_dir(&place).expect("a directory");
        symlink(&place, &link).expect("a link");
        let user = geteuid().as_raw();
        for (mode, is_good) in [(0o755, true), (0o700, true), (0o775, false), (0o777, false)] {
            set_permissions(&place, Permissions::from_mode(mode)).expect("chmod");
            assert_eq!(Directory::open(&place, user).is_ok(), is_good, "{mode:o}");
        }
        set_permissions(&place, Permissions::from_mode(0o700)).expect("chmod");
        assert!(Directory::open(&place, user + 1).is_err(), "another user's");
        assert!(Directory::open(&link, user).is_err(), "a link");
    }
}
