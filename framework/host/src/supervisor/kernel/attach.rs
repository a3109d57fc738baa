//! Mounting as root: onto the very directory that was opened, whatever its path leads to by now.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use hsci_extension::protection;
use hsci_protocol::mount::MountRequest;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::{DEVICE, not_mounted};
use crate::failure::{Exit, Failure};
use crate::mounts::{self, TYPE};
use crate::place::Place;

/// Flags of the mount, and those of the file system with their names.
const ATTRIBUTES: [(MountFlags, MountAttrFlags); 8] = [
    (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
    (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
    (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
    (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    (MountFlags::RELATIME, MountAttrFlags::MOUNT_ATTR_RELATIME),
];
const FLAGS: [(MountFlags, &str); 3] = [
    (MountFlags::RDONLY, "ro"),
    (MountFlags::SYNCHRONOUS, "sync"),
    (MountFlags::DIRSYNC, "dirsync"),
];

pub(super) fn mount(request: &MountRequest, dir: &Place) -> Result<OwnedFd, Failure> {
    let device = File::options().read(true).write(true).open(DEVICE).map_err(|error| {
        let text = format!("{DEVICE}: {error}; `hsci doctor` tells what to do");
        Failure::new(Exit::Impossible, text)
    })?;
    let device = OwnedFd::from(device);
    let reason = |errno| not_mounted(&request.dir, &std::io::Error::from(errno).to_string());
    match make(request, &device) {
        Ok(mount) => attach(&mount, dir).map_err(reason)?,
        // A kernel before 5.2.
        Err(Errno::NOSYS | Errno::INVAL) => mount_at_once(request, &device, dir).map_err(reason)?,
        Err(errno) => return Err(reason(errno)),
    }
    Ok(device)
}

/// A mount that is nowhere yet.
fn make(request: &MountRequest, device: &OwnedFd) -> Result<OwnedFd, Errno> {
    let (kind, subtype) = TYPE.split_once('.').expect("a type with a subtype");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let number = device.as_raw_fd().to_string();
    fsconfig_set_string(&context, "source", &request.lower)?;
    for (name, value) in [
        ("subtype", subtype),
        ("fd", &number),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
    ] {
        fsconfig_set_string(&context, name, value)?;
    }
    let flags = MountFlags::from_bits_retain(request.flags);
    let chosen = FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    for name in ["default_permissions", "allow_other"].into_iter().chain(chosen) {
        fsconfig_set_flag(&context, name)?;
    }
    fsconfig_create(&context)?;
    let mut attributes = MountAttrFlags::empty();
    // The last of several times of access holds, as with mount(2).
    let times = MountAttrFlags::MOUNT_ATTR__ATIME;
    for (_, attribute) in ATTRIBUTES.iter().filter(|(flag, _)| flags.contains(*flag)) {
        if times.contains(*attribute) {
            attributes.remove(times);
        }
        attributes.insert(*attribute);
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn attach(mount: &OwnedFd, dir: &Place) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    if !protection::stands("attach") {
        // By the path, wherever it leads by now.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        return move_mount(mount, "", rustix::fs::CWD, dir.path(), flags);
    }
    move_mount(mount, "", dir, "", flags)?;
    // The directory is the right one; whoever owns its parents may have moved it meanwhile, and then
    // nobody would find the mount again.
    let is_there = mounts::mount_id(mount).is_some_and(|id| {
        let all = mounts::all().unwrap_or_default();
        all.iter().any(|mounted| mounted.id == id && mounted.dir == dir.path())
    });
    if is_there || !protection::stands("moved") {
        return Ok(());
    }
    let own = format!("/proc/self/fd/{}", mount.as_raw_fd());
    rustix::mount::unmount(own, UnmountFlags::DETACH)?;
    Err(Errno::AGAIN)
}

fn mount_at_once(request: &MountRequest, device: &OwnedFd, dir: &Place) -> Result<(), Errno> {
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    );
    let data = std::ffi::CString::new(data).expect("made of numbers and words");
    let flags = MountFlags::from_bits_retain(request.flags);
    let target = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    rustix::mount::mount(&request.lower, target, TYPE, flags, data.as_c_str())
}
