//! Who uses a lower directory: one host, or any number of readers of a store that nobody serves.
//!
//! The locks are on files of the host's own: nobody else can open them, so nobody else can hold them. One lies
//! where control sockets lie and is named by device and inode of the lower directory, so it holds
//! whatever is renamed there. A store has another one, in its private directory, for hosts in containers and on
//! other machines. A lock goes with the last process that has it, supervisor or worker.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_extension::protection;
use hsci_protocol::failure::{Exit, Failure};
use rustix::fs::{AtFlags, FlockOperation, OFlags, flock, fstat, statat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::mounts;
use crate::place::{Owners, Private, Refused, open_private};
use crate::run_dir::{self, Directory};

/// How names of locks end in the directory of control sockets.
pub(crate) const ENDING: &str = ".lock";
/// The lock of a store.
const IN_STORE: &str = "lock";
/// A longer text is not that of a holder.
const MAX_LEN: u64 = 1024;
/// After umount(8) a host finishes its work, and then lets go.
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

const EXCLUSIVE: FlockOperation = FlockOperation::NonBlockingLockExclusive;
const SHARED: FlockOperation = FlockOperation::NonBlockingLockShared;

/// What a host writes into a lock that it has.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// In which that is its number, unless a version wrote this that did not say.
    #[serde(default)]
    pid_namespace: Option<PathBuf>,
    machine: String,
    /// In seconds since 1970.
    since: u64,
    /// Drawn by lot: no two hosts write the same, and none the same twice.
    #[serde(default)]
    term: u64,
}

/// The lock of a host on a lower directory.
#[derive(Debug)]
pub(crate) struct Lock {
    place: Directory,
    name: String,
    file: OwnedFd,
}

impl Lock {
    /// Takes the lock on the directory that is found at `path`.
    pub(crate) fn take(lower: impl AsFd, path: &Path) -> Result<Self, Failure> {
        let place = run_dir::own().map_err(|why| Failure::new(Exit::Impossible, why))?;
        let name = name_of(lower).map_err(|errno| unusable(&errno.into()).of(path))?;
        let named = Named { directory: place.as_fd(), name: &name, owners: Owners::Own };
        let file = named.take(OFlags::RDONLY | OFlags::CREATE, path, &|_| Ok(()));
        let file = file.map_err(|failure| failure.of(path))?;
        let file = file.expect("it is made where it is missing");
        Ok(Self { place, name, file })
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Lock {
    /// Who has opened the file meanwhile will find that it has lost its name, and open another one.
    fn drop(&mut self) {
        let _ = unlinkat(&self.place, &self.name, AtFlags::empty());
    }
}

/// A host that had the lock of a store, and has not given it back in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// By whom, and when.
    pub(crate) text: String,
    /// It was on another machine.
    pub(crate) is_elsewhere: bool,
}

/// Takes the lock of a store; nothing where there is none and none is to be made. `admit` is asked about the host
/// that had it last, before anything in it changes.
pub(crate) fn take_store(
    private: &Private,
    read_only: bool,
    path: &Path,
    admit: &dyn Fn(&Last) -> Result<(), Failure>,
) -> Result<Option<OwnedFd>, Failure> {
    let named = Named { directory: private.as_fd(), name: IN_STORE, owners: Owners::Own };
    // Some network file systems lock only what is open for writing.
    named.take(if read_only { OFlags::RDONLY } else { OFlags::RDWR | OFlags::CREATE }, path, admit)
}

/// Both locks, for one who changes a store that nobody serves.
pub(crate) fn take_both(lower: &OwnedFd, path: &Path) -> Result<(Lock, Option<OwnedFd>), Failure> {
    let lock = Lock::take(lower, path)?;
    let owners = Owners::of(lower.as_fd()).unwrap_or(Owners::Own);
    let store = match Private::open(lower.as_fd(), owners) {
        Ok(private) => take_store(&private, false, path, &|_| Ok(()))?,
        Err(Refused::Errno(Errno::NOENT)) => None,
        Err(refused) => return Err(unusable(&refused).of(path)),
    };
    Ok((lock, store))
}

/// Keeps hosts off a store for as long as the result is kept. Where there is no lock that this user can
/// open, no host has one.
pub(crate) fn share(lower: BorrowedFd<'_>, path: &Path) -> Result<Vec<OwnedFd>, Failure> {
    let (place, name) = (run_dir::own().ok(), name_of(lower).ok());
    let owners = Owners::of(lower).unwrap_or(Owners::Own);
    let private = Private::open(lower, owners).ok();
    let named = place.as_ref().zip(name.as_ref()).map(|(place, name)| {
        (Named { directory: place.as_fd(), name, owners: Owners::Own }, OFlags::CREATE)
    });
    let in_store = private.as_ref().map(|private| {
        (Named { directory: private.as_fd(), name: IN_STORE, owners }, OFlags::empty())
    });
    let mut locks = Vec::new();
    for (named, flags) in named.into_iter().chain(in_store) {
        match named.attempt(OFlags::RDONLY | flags, SHARED) {
            Ok(Attempt::Taken(file)) => locks.push(file),
            Ok(Attempt::Held(file)) => return Err(in_use(&file).of(path)),
            Err(_) => {}
        }
    }
    Ok(locks)
}

/// Takes a lock's file away that nobody has, as after the end of a mount's processes by SIGKILL.
pub(crate) fn remove_unused(place: &Directory, name: &str) {
    let named = Named { directory: place.as_fd(), name, owners: Owners::Own };
    if let Ok(Attempt::Taken(_held)) = named.attempt(OFlags::RDONLY, EXCLUSIVE) {
        let _ = unlinkat(place, name, AtFlags::empty());
    }
}

/// A lock's file by its name.
struct Named<'a> {
    directory: BorrowedFd<'a>,
    name: &'a str,
    owners: Owners,
}

enum Attempt {
    Taken(OwnedFd),
    Held(OwnedFd),
}

impl Named<'_> {
    /// For a host; waits while one that was unmounted finishes its work. Nothing if the file is missing.
    fn take(
        &self,
        flags: OFlags,
        path: &Path,
        admit: &dyn Fn(&Last) -> Result<(), Failure>,
    ) -> Result<Option<OwnedFd>, Failure> {
        let mut tries = 0;
        loop {
            match self.attempt(flags, EXCLUSIVE) {
                Ok(Attempt::Taken(file)) => {
                    if let Some(last) = holder(&file).map(Last::from) {
                        admit(&last)?;
                    }
                    sign(&file);
                    return Ok(Some(file));
                }
                Ok(Attempt::Held(file)) => {
                    let is_mounted = mounts::all()?.iter().any(|mounted| mounted.lower == path);
                    if is_mounted || tries == TRIES {
                        return Err(in_use(&file));
                    }
                }
                Err(Refused::Errno(Errno::NOENT)) => return Ok(None),
                Err(refused) => return Err(unusable(&refused)),
            }
            tries += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn attempt(&self, flags: OFlags, operation: FlockOperation) -> Result<Attempt, Refused> {
        loop {
            let file = open_private(self.directory, self.name, flags, self.owners)?;
            if flock(&file, operation).is_err() && protection::stands("lock") {
                return Ok(Attempt::Held(file));
            }
            // Its holder may have taken its name away between the two calls.
            if self.is_name_of(&file) {
                return Ok(Attempt::Taken(file));
            }
        }
    }

    fn is_name_of(&self, file: &OwnedFd) -> bool {
        let there = statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        there.is_ok_and(|there| fstat(file).is_ok_and(|own| identity(own) == identity(there)))
    }
}

fn name_of(lower: impl AsFd) -> Result<String, Errno> {
    let stat = fstat(lower)?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    Ok(format!("{major}-{minor}-{}{ENDING}", stat.st_ino))
}

/// Says in a lock who has it. Without that, messages say less.
fn sign(file: &OwnedFd) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (pid, pid_namespace) = (std::process::id(), pid_namespace());
    let term = RandomState::new().build_hasher().finish();
    let holder = Holder { pid, pid_namespace, machine: machine(), since, term };
    write(file, &serde_json::to_vec(&holder).expect("numbers and a name are valid JSON"));
}

/// What a lock says of who has it.
pub(crate) fn signature(file: &OwnedFd) -> std::io::Result<Vec<u8>> {
    // Opened anew, for a file system that others reach may have what it has read before.
    let opened = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut text = Vec::new();
    opened.take(MAX_LEN).read_to_end(&mut text)?;
    Ok(text)
}

/// Asks the file system, which may have lost a lock or given it away, whether this host has it as it had when it
/// signed so. An error if another one has it or has had it: by whom. Nothing if there is no answer.
pub(crate) fn confirm(file: &OwnedFd, signed: &[u8]) -> Option<Result<(), String>> {
    match flock(file, EXCLUSIVE) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Some(Err(in_use_by(file))),
        Err(_) => return None,
    }
    let found = signature(file).ok()?;
    Some(if found == signed { Ok(()) } else { Err(in_use_by(file)) })
}

/// The host ends in order: nobody is named in its lock any more.
pub(crate) fn release(file: &OwnedFd) {
    // Who has it open for writing may have no `/proc` any more.
    if rustix::fs::ftruncate(file, 0).is_err() {
        write(file, b"");
    }
}

fn write(file: &OwnedFd, text: &[u8]) {
    // What locks a file need not be open for writing.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let written = File::options().write(true).truncate(true).open(path);
    if let Err(error) = written.and_then(|mut file| file.write_all(text)) {
        log::debug!("a lock does not say who has it: {error}");
    }
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn pid_namespace() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/ns/pid").ok()
}

/// Who serves a lower directory already, and since when.
fn in_use(file: &OwnedFd) -> Failure {
    let text = format!("served already{}; unmount that first, or end the process", in_use_by(file));
    Failure::new(Exit::InUse, text)
}

fn in_use_by(file: &OwnedFd) -> String {
    holder(file).map_or_else(String::new, |holder| format!(" {}", Last::from(holder).text))
}

impl From<Holder> for Last {
    fn from(holder: Holder) -> Self {
        let since = UNIX_EPOCH + Duration::from_secs(holder.since);
        let age = SystemTime::now().duration_since(since).unwrap_or_default().as_secs();
        let age = match age {
            ..300 => format!("{age} s"),
            300..10_800 => format!("{} min", age / 60),
            10_800..259_200 => format!("{} h", age / 3600),
            _ => format!("{} days", age / 86_400),
        };
        let is_elsewhere = holder.machine != machine();
        let elsewhere = if is_elsewhere {
            format!(" of the machine {}", holder.machine)
        } else if holder.pid_namespace.is_some() && holder.pid_namespace != pid_namespace() {
            " of a container".to_owned()
        } else {
            String::new()
        };
        let text = format!("by process {}{elsewhere}, which began {age} ago", holder.pid);
        Self { text, is_elsewhere }
    }
}

fn holder(file: &OwnedFd) -> Option<Holder> {
    let mut text = Vec::new();
    let mut reader = File::from(file.try_clone().ok()?);
    reader.rewind().ok()?;
    reader.take(MAX_LEN).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn unusable(refused: &Refused) -> Failure {
    let exit = match refused {
        Refused::Errno(Errno::ACCESS | Errno::PERM | Errno::ROFS) => Exit::Impossible,
        Refused::Errno(_) => Exit::Internal,
        Refused::Foreign(_) => Exit::Store,
    };
    Failure::new(exit, format!("its lock: {refused}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(dir: &tempfile::TempDir) -> Private {
        Private::create(lower(dir).as_fd()).expect("made")
    }

    fn lower(dir: &tempfile::TempDir) -> OwnedFd {
        File::open(dir.path()).expect("open").into()
    }

    #[test]
    fn a_lock_on_the_directory_itself_keeps_nobody_off() {
        let dir = tempfile::tempdir().expect("directory");
        let other = lower(&dir);
        flock(&other, EXCLUSIVE).expect("anybody can have this one");
        let private = private(&dir);
        take_store(&private, false, dir.path(), &|_| Ok(())).expect("taken").expect("made");
        assert!(!share(lower(&dir).as_fd(), dir.path()).expect("shared").is_empty());
    }

    #[test]
    fn one_host_or_many_readers_have_a_store_and_the_host_is_named() {
        let dir = tempfile::tempdir().expect("directory");
        let private = private(&dir);
        let free = |last: &Last| panic!("{last:?} has had it");
        let own = take_store(&private, false, dir.path(), &free).expect("taken");
        let named = Named { directory: private.as_fd(), name: IN_STORE, owners: Owners::Own };
        assert!(matches!(named.attempt(OFlags::RDWR, EXCLUSIVE), Ok(Attempt::Held(_))));
        let refused = share(lower(&dir).as_fd(), dir.path()).expect_err("served");
        assert_eq!(refused.exit, Exit::InUse);
        let pid = std::process::id();
        assert!(refused.text.contains(&format!("process {pid}, which began 0 s")), "{refused}");
        drop(own);
        let one = share(lower(&dir).as_fd(), dir.path()).expect("shared");
        let two = share(lower(&dir).as_fd(), dir.path()).expect("shared");
        assert!(matches!(named.attempt(OFlags::RDWR, EXCLUSIVE), Ok(Attempt::Held(_))));
        drop((one, two));
        // The first has not given it back in order.
        let asked = std::cell::Cell::new(false);
        let admit = |last: &Last| {
            asked.set(!last.is_elsewhere && last.text.contains(&format!("process {pid}")));
            Ok(())
        };
        let own = take_store(&private, true, dir.path(), &admit).expect("taken").expect("there");
        assert!(asked.get(), "who had it is known");
        release(&own);
        drop(own);
        take_store(&private, false, dir.path(), &free).expect("taken").expect("there");
    }

    #[test]
    fn a_lock_whose_name_was_taken_away_is_no_lock() {
        let dir = tempfile::tempdir().expect("directory");
        let place = lower(&dir);
        let named = Named { directory: place.as_fd(), name: "x.lock", owners: Owners::Own };
        let flags = OFlags::RDONLY | OFlags::CREATE;
        let Ok(Attempt::Taken(old)) = named.attempt(flags, EXCLUSIVE) else { panic!("free") };
        unlinkat(&place, "x.lock", AtFlags::empty()).expect("removed");
        assert!(!named.is_name_of(&old));
        let Ok(Attempt::Taken(new)) = named.attempt(flags, EXCLUSIVE) else { panic!("free") };
        assert!(named.is_name_of(&new));
        assert!(matches!(named.attempt(flags, EXCLUSIVE), Ok(Attempt::Held(_))));
    }
}
