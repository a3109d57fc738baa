//! Unmounting as root: this mount and no other, whatever lies on top of it.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use hsci_extension::protection;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::{busy, not_unmounted};
use crate::failure::{Exit, Failure};
use crate::mounts::{self, Line, Mounted};
use crate::place;

/// Fails if another mount hides this one: unmounting by its path would take that off.
pub(in crate::supervisor) fn require_uncovered(mounted: &Mounted) -> Result<(), Failure> {
    if !protection::stands("uncovered") {
        return Ok(());
    }
    let dir = &mounted.dir;
    let found = match place::open_parent(dir) {
        Ok((parent, name)) => mounts::id_at(parent.as_fd(), &name),
        // The way to it leads through something that nobody serves: it is covered as well.
        Err(failure) if failure.exit == Exit::Impossible => return Err(failure),
        Err(_) => Err(Errno::NOENT),
    };
    // A kernel before 5.8 does not say.
    if found == Ok(mounted.id) || found == Err(Errno::OPNOTSUPP) {
        return Ok(());
    }
    let on_top =
        found.ok().and_then(|id| mounts::lines().ok()?.into_iter().find(|line| line.id == id));
    let shown = dir.display();
    let text = match on_top {
        Some(Line { dir: other, kind, .. }) if other == *dir => {
            format!("{shown}: something else ({kind}) is mounted over it; unmount that first")
        }
        Some(Line { dir: other, kind, .. }) => {
            format!(
                "{shown}: covered by the mount ({kind}) at {}; unmount that first",
                other.display()
            )
        }
        None => format!("{shown}: covered by another mount; unmount that first"),
    };
    Err(Failure::new(Exit::InUse, text))
}

pub(super) fn unmount(mounted: &Mounted, force: bool) -> Result<(), Failure> {
    let dir = &mounted.dir;
    let elsewhere = elsewhere(mounted)?;
    if let (Some(other), false, true) = (elsewhere.first(), force, protection::stands("elsewhere"))
    {
        let (shown, other) = (dir.display(), other.display());
        let text = format!(
            "{shown}: shown at {other} as well (a bind mount); unmount that first, or use --force"
        );
        return Err(Failure::new(Exit::InUse, text));
    }
    // By the name in its directory: a descriptor of the mount itself would keep it busy.
    let (parent, name) = place::open_parent(dir)?;
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd()));
    path.push(name);
    let flags = if force { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(path, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => {}
        Err(Errno::BUSY) => return Err(busy(dir)),
        Err(errno) => return Err(not_unmounted(dir, &std::io::Error::from(errno).to_string())),
    }
    for other in elsewhere {
        log::warn!("{}: still shown at {}", dir.display(), other.display());
    }
    Ok(())
}

/// Has the kernel refuse writes to this mount from now on, or not any more. All else stays as it is.
pub(in crate::supervisor) fn remount(mounted: &Mounted, read_only: bool) -> Result<(), Failure> {
    require_uncovered(mounted)?;
    let dir = &mounted.dir;
    let fail = |errno: Errno| {
        let exit = if errno == Errno::PERM { Exit::Impossible } else { Exit::Internal };
        Failure::new(exit, format!("{}: cannot be mounted otherwise: {errno}", dir.display()))
    };
    // The table says it without asking the worker.
    let line = mounts::lines()?.into_iter().find(|line| line.id == mounted.id);
    let line = line.ok_or_else(|| fail(Errno::NOENT))?;
    let mut flags = MountFlags::empty();
    for (there, here) in [
        ("nosuid", MountFlags::NOSUID),
        ("nodev", MountFlags::NODEV),
        ("noexec", MountFlags::NOEXEC),
        ("noatime", MountFlags::NOATIME),
        ("nodiratime", MountFlags::NODIRATIME),
        ("relatime", MountFlags::RELATIME),
        ("sync", MountFlags::SYNCHRONOUS),
    ] {
        flags.set(here, line.has(there));
    }
    flags.set(MountFlags::RDONLY, read_only);
    let (parent, name) = place::open_parent(dir)?;
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd()));
    path.push(name);
    rustix::mount::mount_remount(path, flags, "").map_err(fail)
}

/// Where else the same file system, or a part of it, is mounted.
fn elsewhere(mounted: &Mounted) -> Result<Vec<PathBuf>, Failure> {
    let others = mounts::lines()?.into_iter();
    let others = others.filter(|line| line.device == mounted.device && line.id != mounted.id);
    Ok(others.map(|line| line.dir).collect())
}
