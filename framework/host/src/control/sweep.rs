//! What supervisors leave that were killed: sockets on which nobody listens, locks that nobody has.

use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::geteuid;

use crate::lock;
use crate::run_dir::{self, Directory};

/// The kernel makes the name of a socket before it listens. One that is younger is left alone.
const YOUNG: Duration = Duration::from_secs(2);
/// How names of sockets end.
pub(super) const ENDING: &str = ".sock";

/// Takes away what no process of this user's mounts uses any more. What cannot be taken away stays.
pub(crate) fn sweep() {
    for directory in run_dir::of_user(geteuid().as_raw()) {
        sweep_in(&directory, YOUNG);
    }
}

fn sweep_in(directory: &Directory, young: Duration) {
    let Ok(entries) = Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.ends_with(lock::ENDING) {
            lock::remove_unused(directory, name);
        } else if name.ends_with(ENDING)
            && entry.file_type() == FileType::Socket
            && is_older(directory, name, young)
            && is_dead(directory, name)
        {
            // No two sockets get the same name, so this is the one that was looked at.
            let _ = unlinkat(directory, name, AtFlags::empty());
        }
    }
}

fn is_older(directory: &Directory, name: &str, than: Duration) -> bool {
    let made = std::fs::symlink_metadata(directory.path(name)).and_then(|meta| meta.modified());
    made.is_ok_and(|made| SystemTime::now().duration_since(made).is_ok_and(|age| age >= than))
}

/// True if no process has the socket. It is asked for as one of another kind, so that who listens is not
/// troubled: the kernel says then that the kind is wrong.
fn is_dead(directory: &Directory, name: &str) -> bool {
    let flags = SocketFlags::CLOEXEC;
    let Ok(socket) = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None) else {
        return false;
    };
    SocketAddrUnix::new(directory.path(name))
        .is_ok_and(|address| connect(&socket, &address) == Err(Errno::CONNREFUSED))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, exists};
    use std::os::unix::net::UnixListener;

    use rustix::fs::{FlockOperation, flock};

    use super::*;

    #[test]
    fn sockets_and_locks_go_that_nobody_has_and_others_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let is_there = |name: &str| exists(at(name)).expect("a look");
        let listener = UnixListener::bind(at("alive.sock")).expect("bound");
        drop(UnixListener::bind(at("dead.sock")).expect("bound"));
        for name in ["file.sock", "free.lock", "held.lock", "a.log"] {
            File::create(at(name)).expect("made");
        }
        let held = File::open(at("held.lock")).expect("open");
        flock(&held, FlockOperation::LockExclusive).expect("a lock");
        let place = Directory::open(dir.path(), geteuid().as_raw()).expect("a place");
        sweep_in(&place, Duration::from_secs(60));
        assert!(is_there("dead.sock"), "it may be about to listen");
        assert!(!is_there("free.lock") && is_there("held.lock"));
        sweep_in(&place, Duration::ZERO);
        assert!(!is_there("dead.sock"));
        for name in ["alive.sock", "file.sock", "held.lock", "a.log"] {
            assert!(is_there(name), "{name}");
        }
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "who listens was not troubled");
    }
}
