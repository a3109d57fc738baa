//! What an export makes, by descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid, XattrFlags, chmod,
    chownat, fstat, linkat, mkdirat, mknodat, openat, openat2, symlinkat, utimensat,
};
use rustix::io::{Errno, Result};
use rustix::process::geteuid;

use super::order::Kind;
use super::write::Spot;

/// A new directory that nobody else can enter.
pub(super) fn directory(spot: &Spot<'_>) -> Result<OwnedFd> {
    mkdirat(spot.directory, spot.name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(spot.directory, spot.name, flags, Mode::empty())?;
    // The owner of the directory around it may have put another one there meanwhile.
    let stat = fstat(&made)?;
    match stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o077 == 0 {
        true => Ok(made),
        false => Err(Errno::EXIST),
    }
}

/// A new file.
pub(super) fn file(spot: &Spot<'_>) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(spot.directory, spot.name, flags, Mode::RUSR | Mode::WUSR)
}

pub(super) fn symlink(spot: &Spot<'_>, target: &OsStr) -> Result<OwnedFd> {
    symlinkat(target, spot.directory, spot.name)?;
    reopen(spot, FileType::Symlink)
}

pub(super) fn special(spot: &Spot<'_>, kind: Kind) -> Result<OwnedFd> {
    let (kind, device) = match kind {
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::CharDevice(device) => (FileType::CharacterDevice, device),
        Kind::BlockDevice(device) => (FileType::BlockDevice, device),
        Kind::Directory | Kind::File | Kind::Symlink => return Err(Errno::INVAL),
    };
    mknodat(spot.directory, spot.name, kind, Mode::RUSR | Mode::WUSR, device)?;
    reopen(spot, kind)
}

/// What was just made and cannot be opened but by `O_PATH`.
fn reopen(spot: &Spot<'_>, kind: FileType) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = openat(spot.directory, spot.name, flags, Mode::empty())?;
    let stat = fstat(&made)?;
    let is_own = stat.st_uid == geteuid().as_raw() && stat.st_nlink == 1;
    match FileType::from_raw_mode(stat.st_mode) == kind && is_own {
        true => Ok(made),
        false => Err(Errno::EXIST),
    }
}

/// Another name for what was written before.
pub(super) fn link(root: BorrowedFd<'_>, first: &Path, spot: &Spot<'_>) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let from = openat2(root, first, flags, Mode::empty(), resolve)?;
    match linkat(&from, "", spot.directory, spot.name, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH the way leads through /proc.
        Err(Errno::NOENT) => {
            linkat(CWD, own_path(&from), spot.directory, spot.name, AtFlags::SYMLINK_FOLLOW)
        }
        linked => linked,
    }
}

/// Gives it to whom the original belongs, if the caller may.
pub(super) fn give(made: &OwnedFd, owner: u32, group: u32) {
    // The highest number would change nothing.
    if owner == u32::MAX || group == u32::MAX {
        return;
    }
    let (owner, group) = (Uid::from_raw(owner), Gid::from_raw(group));
    let _ = chownat(made, "", Some(owner), Some(group), AtFlags::EMPTY_PATH);
}

/// The link in /proc leads to the inode itself, also from a descriptor that only names it.
pub(super) fn set_mode(made: &OwnedFd, mode: u32) -> Result<()> {
    chmod(own_path(made), Mode::from_raw_mode(mode))
}

pub(super) fn set_xattr(made: &OwnedFd, name: &OsStr, value: &[u8]) {
    let _ = rustix::fs::setxattr(own_path(made), name, value, XattrFlags::empty());
}

pub(super) fn set_times(made: &OwnedFd, times: &Timestamps) -> Result<()> {
    utimensat(made, "", times, AtFlags::EMPTY_PATH)
}

fn own_path(made: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", made.as_raw_fd())
}
