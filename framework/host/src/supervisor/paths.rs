//! What can be said of the directories before anything is tried.

use std::os::fd::OwnedFd;
use std::path::Path;

use hsci_extension::protection;
use hsci_protocol::mount::MountRequest;
use rustix::fs::{Access, AtFlags, StatVfsMountFlags, accessat, fstatfs, fstatvfs};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::geteuid;

use super::{is_read_only, kernel, overlap};
use crate::failure::{Exit, Failure};
use crate::mounts::Mounted;
use crate::place::{self, Place, failure};

/// The directories of a request, opened once, and the request as it can be carried out.
pub(super) struct Places {
    pub(super) lower: OwnedFd,
    pub(super) dir: Place,
    pub(super) request: MountRequest,
}

/// Opens the directories of a request, if it can be carried out as far as they go.
pub(super) fn open(request: &MountRequest) -> Result<Places, Failure> {
    clear_if_dead(&request.dir)?;
    let lower = place::open_dir(&request.lower)?;
    // A mount over the lower directory itself is one over the very directory that was opened.
    let dir = place::open_dir(&request.dir)?;
    let over_itself = identity(&lower)? == identity(&dir)?;
    refuse_nested(request, lower.path(), dir.path(), over_itself)?;
    if place::find_mount(dir.path())?.is_some() {
        let shown = request.dir.display();
        let text = format!("{shown}: mounted already; `hsci unmount {shown}` first");
        return Err(Failure::new(Exit::InUse, text));
    }
    overlap::refuse(&lower)?;
    let flags = inherited_flags(request, &lower)?;
    let request = MountRequest {
        lower: lower.path().to_owned(),
        dir: dir.path().to_owned(),
        flags: flags.bits(),
        ..request.clone()
    };
    if !is_read_only(&request) {
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        accessat(&lower, ".", wanted, AtFlags::EACCESS).map_err(|_| {
            let text = format!(
                "{}: not writable; mount it with -o ro, or as its owner",
                request.lower.display()
            );
            Failure::new(Exit::Missing, text)
        })?;
    }
    let root = lower.read().map_err(|errno| failure(&request.lower, errno))?;
    let dir = if over_itself { lower } else { dir };
    Ok(Places { lower: root, dir, request })
}

/// Device, inode and mount.
fn identity(place: &Place) -> Result<(u32, u32, u64, u64), Failure> {
    let stat = place.stat().map_err(|errno| failure(place.path(), errno))?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mnt_id))
}

fn refuse_nested(
    request: &MountRequest,
    lower: &Path,
    dir: &Path,
    over_itself: bool,
) -> Result<(), Failure> {
    if over_itself || !dir.starts_with(lower) {
        return Ok(());
    }
    let text = format!(
        "{}: lies inside its own lower directory; mount over {} itself, or elsewhere",
        request.dir.display(),
        lower.display()
    );
    Err(Failure::new(Exit::Usage, text))
}

/// What the lower file system does not allow, the mount does not; and what a user has put into a
/// directory of their own gets no more rights by a mount of root's, unless root says so.
fn inherited_flags(request: &MountRequest, lower: &Place) -> Result<MountFlags, Failure> {
    let fail = |errno| failure(lower.path(), errno);
    let below = fstatvfs(lower).map_err(fail)?.f_flag;
    let mut flags = MountFlags::from_bits_retain(request.flags);
    for (there, here) in [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        let holds = below.contains(there) && protection::stands("flags");
        flags.set(here, flags.contains(here) || holds);
    }
    if lower.stat().map_err(fail)?.stx_uid != 0 && protection::stands("no-rights") {
        let allowed = MountFlags::from_bits_retain(request.allowed);
        flags |= (MountFlags::NOSUID | MountFlags::NODEV) - allowed;
    }
    Ok(flags)
}

/// True for mounts of root's and the caller's own.
fn is_ours(mounted: &Mounted) -> bool {
    [0, geteuid().as_raw()].contains(&mounted.user)
}

/// Takes a mount away that nobody serves any more, as after `kill -9` of all its processes. What
/// still uses it keeps getting ENOTCONN.
fn clear_if_dead(dir: &Path) -> Result<(), Failure> {
    // Nothing but a mount of this program is asked.
    while let Some((dead, root)) = place::open_mount(dir)?.filter(|found| is_ours(&found.0)) {
        // Attributes may come from the kernel's cache; this does not.
        if !matches!(fstatfs(&root), Err(Errno::NOTCONN)) {
            break;
        }
        drop(root);
        log::warn!("{}: a mount that nobody serves is cleared away", dir.display());
        kernel::unmount(&dead.dir, true)?;
    }
    Ok(())
}
