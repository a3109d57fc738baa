//! What can be said of the directories before anything is tried.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::{is_read_only, kernel, table};
use crate::failure::{Exit, Failure};
use hsci_protocol::mount::MountRequest;

/// The request with its paths resolved, if it can be carried out as far as they go.
pub(super) fn check(request: &MountRequest) -> Result<MountRequest, Failure> {
    clear_if_dead(&request.dir)?;
    let lower = resolve(&request.lower)?;
    let dir = resolve(&request.dir)?;
    let shown = request.dir.display();
    if dir != lower && dir.starts_with(&lower) {
        let text = format!(
            "{shown}: lies inside its own lower directory; mount over {} itself, or elsewhere",
            lower.display()
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    if table::find(&dir)?.is_some() {
        let text = format!("{shown}: mounted already; `hsci unmount {shown}` first");
        return Err(Failure::new(Exit::InUse, text));
    }
    if !is_read_only(request) {
        accessat(CWD, &lower, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(
            |_| {
                let text = format!(
                    "{}: not writable; mount it with -o ro, or as its owner",
                    lower.display()
                );
                Failure::new(Exit::Missing, text)
            },
        )?;
    }
    Ok(MountRequest { lower, dir, ..request.clone() })
}

/// True if nobody serves what is mounted at a directory.
pub(super) fn is_dead(dir: &Path) -> bool {
    // Attributes may come from the kernel's cache; this does not.
    matches!(rustix::fs::statfs(dir), Err(Errno::NOTCONN))
}

/// Takes a mount away that nobody serves any more, as after `kill -9` of all its processes. What
/// still uses it keeps getting ENOTCONN.
fn clear_if_dead(dir: &Path) -> Result<(), Failure> {
    while is_dead(dir) && table::find(dir)?.is_some() {
        log::warn!("{}: a mount that nobody serves is cleared away", dir.display());
        kernel::unmount(dir, true)?;
    }
    Ok(())
}

fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    let error =
        |error: std::io::Error| failure(path, Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let resolved = path.canonicalize().map_err(error)?;
    if resolved.metadata().map_err(error)?.is_dir() {
        return Ok(resolved);
    }
    Err(failure(path, Errno::NOTDIR))
}

/// The failure of a system call on a directory that was named.
pub(super) fn failure(path: &Path, errno: Errno) -> Failure {
    let (exit, text) = match errno {
        Errno::NOENT => (Exit::Missing, "no such directory".to_owned()),
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
