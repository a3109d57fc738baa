//! Whether a directory is a good place for a store.

use std::os::fd::OwnedFd;
use std::path::Path;

use hsci_host::lower::{has_handles, opens_by_handle};
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, XattrFlags, fallocate, fsetxattr, fstatvfs, ftruncate,
    open, openat, unlinkat,
};
use rustix::io::Errno;

use super::Finding;
use crate::{Result, control, ui};

/// Looks at a directory. Everything is tried on a file without a name, which leaves nothing
/// behind.
pub(super) fn look(dir: &Path) -> Result<Vec<Finding>> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        open(dir, flags, Mode::empty()).map_err(|errno| control::of_path(dir, errno))?;
    let mut findings = vec![space(&directory), handles(&directory)];
    match nameless_file(&directory) {
        Ok(file) => {
            findings.push(Finding::ok("directory: writing", "files can be made in it"));
            findings.extend([attributes(&file), holes(&file)]);
        }
        Err(errno) => findings.push(Finding::missing(
            "directory: writing",
            format!("no file can be made in it: {errno}"),
            "it can be mounted read-only at most",
            "name a directory that you may write, on a local file system",
        )),
    }
    Ok(findings)
}

/// A file that leaves nothing behind. Not every file system makes one without a name at once.
fn nameless_file(directory: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    let made = openat(directory, ".", flags | OFlags::TMPFILE, mode);
    if !matches!(made, Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL)) {
        return made;
    }
    let name = format!(".hsci-doctor-{}", std::process::id());
    let file = openat(directory, &name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    unlinkat(directory, &name, AtFlags::empty())?;
    Ok(file)
}

fn space(directory: &OwnedFd) -> Finding {
    const NAME: &str = "directory: free space";
    match fstatvfs(directory) {
        Ok(stat) => Finding::ok(NAME, ui::size(stat.f_bavail * stat.f_frsize)),
        Err(errno) => Finding::unknown(NAME, errno.to_string(), "look with `df`"),
    }
}

fn handles(directory: &OwnedFd) -> Finding {
    const NAME: &str = "directory: file handles";
    if opens_by_handle(directory) {
        return Finding::ok(NAME, "files can be found again by handle");
    }
    if !has_handles(directory) {
        return Finding::missing(
            NAME,
            "the file system makes none, and the kernel has nothing in their place",
            "nothing is compressed there",
            "use another file system, or Linux 6.7 or later",
        );
    }
    Finding::missing(
        NAME,
        "files cannot be opened by handle: the caller is not root, or the file system makes none",
        "files in use are kept open or found by name, so that large trees get slower",
        "mount as root, on a file system such as ext4, xfs or btrfs",
    )
}

fn attributes(file: &OwnedFd) -> Finding {
    const NAME: &str = "directory: extended attributes";
    match fsetxattr(file, "user.hsci.algorithm", b"none", XattrFlags::empty()) {
        Ok(()) => Finding::ok(NAME, "user attributes can be set"),
        Err(errno) => Finding::missing(
            NAME,
            format!("user attributes cannot be set: {errno}"),
            "files and directories cannot have an algorithm of their own",
            "use a file system that has them, mounted with user_xattr",
        ),
    }
}

fn holes(file: &OwnedFd) -> Finding {
    const NAME: &str = "directory: holes";
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let outcome = ftruncate(file, 8192).and_then(|()| fallocate(file, punch, 0, 4096));
    match outcome {
        Ok(()) => Finding::ok(NAME, "can be punched"),
        Err(errno) => Finding::missing(
            NAME,
            format!("cannot be punched: {errno}"),
            "space within a file is given back only when the file is settled",
            "use a file system such as ext4, xfs, btrfs or tmpfs",
        ),
    }
}
