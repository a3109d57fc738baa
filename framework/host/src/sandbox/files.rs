//! Files: a worker reaches the lower directory and nothing else by any name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hsci_extension::protection;
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError,
};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys::mounts::{own_mount_table, restrict};

/// Where `/proc/self/fd/N` leads from: system calls without a descriptor argument reach an inode so.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Opens a directory once more, on a mount of its own that is in no mount table: what is mounted below
/// the directory is not in it, `..` does not leave it, and its devices and programs cannot be used.
/// Without `CAP_SYS_ADMIN`, on the same mount.
pub(crate) fn apart(directory: impl AsFd) -> Result<OwnedFd> {
    apart_with(directory, MountAttrFlags::empty())
}

/// The same for one who changes nothing: there the mount cannot be written.
pub(crate) fn apart_to_read(directory: impl AsFd) -> Result<OwnedFd> {
    match protection::stands("read-only") {
        true => apart_with(directory, MountAttrFlags::MOUNT_ATTR_RDONLY),
        false => apart(directory),
    }
}

fn apart_with(directory: impl AsFd, more: MountAttrFlags) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mount = match protection::stands("apart") {
        true => mount_of(directory.as_fd(), more),
        false => Err(Errno::PERM),
    };
    match mount {
        // The mount lives for as long as something in it is open.
        Ok(mount) => openat(&mount, ".", flags, Mode::empty()),
        Err(errno) => {
            if geteuid().is_root() {
                log::warn!("the lower directory is not on a mount of its own: {errno}");
            }
            openat(directory, ".", flags, Mode::empty())
        }
    }
}

fn mount_of(directory: BorrowedFd<'_>, more: MountAttrFlags) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(directory, "", flags)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    restrict(&mount, attributes | more)?;
    Ok(mount)
}

/// Moves this process, which must have one thread, into a mount namespace with nothing in it but the
/// list of its own descriptors. Descriptors of directories stay usable, with everything that can be
/// reached from them.
pub(super) fn leave_all_others() -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty())?;
    let table = mount_table()?;
    own_mount_table()?;
    let left = leave();
    if left.is_err() {
        // A copy of the table keeps mounts beyond their ends, that of this worker among them.
        enter_mount_table(&table)?;
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
    }
    left
}

fn mount_table() -> Result<OwnedFd> {
    openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Root and working directory are the table's from then on.
fn enter_mount_table(table: &OwnedFd) -> Result<()> {
    move_into_link_name_space(table.as_fd(), Some(LinkNameSpaceType::Mount))
}

fn leave() -> Result<()> {
    // What follows wants a root that is one of a mount, as that of chroot(2) need not be.
    enter_mount_table(&mount_table()?)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let empty = empty_file_system()?;
    let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&empty, "", CWD, "/", here)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    // The files of other processes would lead out: to their root directory, or into their memory.
    let descriptors = open_tree(CWD, DESCRIPTORS, flags)?;
    let mut place = String::new();
    for name in DESCRIPTORS.split('/').skip(1) {
        place = format!("{place}{}{name}", if place.is_empty() { "" } else { "/" });
        mkdirat(&empty, &place, Mode::from_raw_mode(0o555))?;
    }
    move_mount(&descriptors, "", &empty, &*place, here)?;
    restrict(
        &empty,
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )?;
    // The old root comes to lie on the new one, and is taken off there.
    rustix::process::fchdir(&empty)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// For who has no mount namespace to go to: from now on this thread and those that it starts open and make nothing that does
/// not lie below a directory. What is open already stays so.
pub(super) fn keep_below(directory: &OwnedFd) -> std::result::Result<(), String> {
    // Before the second version, names could not be moved between directories.
    let all = AccessFs::from_all(ABI::V2);
    let below = PathBeneath::new(directory, all);
    let restrict = || -> std::result::Result<_, RulesetError> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        rules.handle_access(all)?.create()?.add_rule(below)?.restrict_self()
    };
    restrict().map(drop).map_err(|error| format!("no Landlock: {error}"))
}

fn empty_file_system() -> Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [("size", "4096"), ("nr_inodes", "8"), ("mode", "0555")] {
        fsconfig_set_string(&context, name, value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}
