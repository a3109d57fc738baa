//! Questions and orders to a mounted file system, which travel as extended attributes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hsci_extension::CONTROL_PREFIX;
use hsci_host::control::Channel;
use hsci_host::failure::{Exit, Failure};
use hsci_host::mounts::Mounted;
use hsci_host::place::{self, Place};
use hsci_host::supervisor;
use hsci_protocol::control::{Command, Reply};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::Result;

/// An answer is at most this long: the kernel's limit for a value.
const MAX_LEN: usize = 64 << 10;
/// Most answers are shorter than this.
const USUAL_LEN: usize = 4 << 10;

/// Asks the file system about what was found. Files are reached by descriptor: see [`place::look`].
pub fn ask(reach: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let name = format!("{CONTROL_PREFIX}{name}");
    with_room(|buffer| getxattr(reach, name.as_str(), buffer))
}

/// Gives an order.
pub fn order(reach: &Path, name: &str, value: &str) -> Result<(), Errno> {
    let name = format!("{CONTROL_PREFIX}{name}");
    setxattr(reach, name.as_str(), value.as_bytes(), XattrFlags::empty())
}

/// What a path leads to, in a mount of ours.
pub fn look_in_mount(path: &Path) -> Result<Place> {
    require_mount(path)?;
    place::look(path)
}

/// Runs a call that fills a buffer, with a larger buffer where the usual one is too small.
pub fn with_room(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; USUAL_LEN];
    let len = match read(&mut value) {
        Err(Errno::RANGE) => {
            value.resize(MAX_LEN, 0);
            read(&mut value)?
        }
        outcome => outcome?,
    };
    value.truncate(len);
    Ok(value)
}

/// Reads an answer that is JSON.
pub fn parse<T: DeserializeOwned>(path: &Path, name: &str, answer: &[u8]) -> Result<T> {
    serde_json::from_slice(answer).map_err(|error| {
        let path = path.display();
        Failure::new(
            Exit::Internal,
            format!("{path}: the answer to `{name}` is not understood ({error}); are hsci and its extension of one version?"),
        )
    })
}

/// What a failed question or order about `path` means to its user. `wanted` says what an extension
/// that does not know the question lacks.
pub fn failure(path: &Path, wanted: &str, errno: Errno) -> Failure {
    match errno {
        Errno::NODATA | Errno::OPNOTSUPP if is_mount(path) => Failure::new(
            Exit::Usage,
            format!(
                "{}: its extension does not know {wanted}; `hsci status` names the extension",
                path.display()
            ),
        ),
        Errno::NODATA | Errno::OPNOTSUPP => not_mounted(path),
        _ => of_path(path, errno),
    }
}

/// True if `path` lies in a mount of ours, as the kernel says.
pub fn is_mount(path: &Path) -> bool {
    require_mount(path).is_ok()
}

/// The mount that a path lies in; refuses one that is missing or lies in no mount of ours.
pub fn require_mount(path: &Path) -> Result<Mounted> {
    place::mount_containing(path)?.ok_or_else(|| not_mounted(path))
}

/// Asks the supervisor of a mount; nothing if it does not answer.
pub fn ask_supervisor(mounted: &Mounted, command: Command) -> Option<Reply> {
    Channel::open(mounted).and_then(|channel| channel.ask(command, ANSWER)).ok()
}

/// Time for an answer of a supervisor that asks its worker.
const ANSWER: Duration = Duration::from_secs(4);

/// The failure of a path that lies in no mount of ours.
pub fn not_mounted(path: &Path) -> Failure {
    let path = path.display();
    Failure::new(
        Exit::Missing,
        format!(
            "{path}: not inside a mount of hsci; `hsci status` lists them, `hsci mount` makes one"
        ),
    )
}

/// A path that means the same from anywhere.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", path.display())))
}

/// The failure of a system call on a path.
pub fn of_path(path: &Path, errno: Errno) -> Failure {
    let (exit, text) = match errno {
        Errno::NOENT => (Exit::Missing, "no such file or directory".to_owned()),
        Errno::NOTDIR => (Exit::Missing, "not a directory".to_owned()),
        Errno::ACCESS => {
            (Exit::Impossible, "permission denied; ask its owner, or be root".to_owned())
        }
        Errno::PERM => (Exit::Impossible, "only its owner or root may do that".to_owned()),
        Errno::NOTCONN => (Exit::Internal, gone(path)),
        _ => (Exit::Internal, std::io::Error::from(errno).to_string()),
    };
    Failure::new(exit, format!("{}: {text}", path.display()))
}

/// What there is to say of a mount that nobody serves.
fn gone(dir: &Path) -> String {
    let last = supervisor::last_words(dir).map(|words| format!(", and its log ends: {words}"));
    format!("its host is gone; `hsci mount` it anew{}", last.unwrap_or_default())
}
