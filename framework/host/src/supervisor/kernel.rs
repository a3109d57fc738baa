//! Mounting and unmounting: directly as root, through fusermount3 otherwise.

mod attach;
mod detach;

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hsci_protocol::mount::MountRequest;
use rustix::mount::MountFlags;
use rustix::process::geteuid;

use crate::failure::{Exit, Failure};
use crate::mounts::{self, Mounted};
use crate::passing::receive_descriptor;
use crate::place::Place;

pub(super) use self::detach::{remount, require_uncovered};

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
/// Two of the largest requests that FUSE makes.
const READAHEAD_KIB: u32 = 2048;

/// Makes the mount on a directory that was opened; returns the descriptor on which it is served.
pub(super) fn mount(request: &MountRequest, dir: &Place) -> Result<OwnedFd, Failure> {
    crate::place::pause("before-mount");
    if geteuid().is_root() { attach::mount(request, dir) } else { mount_by_helper(request) }
}

/// Lets the kernel read further ahead than its default of 128 KiB, so that a sequential reader keeps
/// several threads of the worker busy. Only root may; without it reads are correct, and slower.
pub(super) fn enlarge_readahead(dir: &Path) {
    let set = || -> std::io::Result<()> {
        let device = mounts::find_by_name(dir).ok_or(ErrorKind::NotFound)?;
        let (major, minor) = (device.major, device.minor);
        let file = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        std::fs::write(file, READAHEAD_KIB.to_string())
    };
    if let Err(error) = set() {
        log::debug!("{}: readahead stays as it is: {error}", dir.display());
    }
}

/// Ends the mount of this program at a directory, and no other; with `force` although somebody uses
/// it.
pub(super) fn unmount(dir: &Path, force: bool) -> Result<(), Failure> {
    let Some(mounted) = mounts::all()?.into_iter().rev().find(|mounted| mounted.dir == dir) else {
        return Err(not_unmounted(dir, "nothing of hsci is mounted there"));
    };
    detach::require_uncovered(&mounted)?;
    if geteuid().is_root() {
        detach::unmount(&mounted, force)?;
    } else {
        unmount_by_helper(dir, force)?;
    }
    // The kernel gives numbers again at once, so the place counts as well.
    let is_same = |other: &Mounted| (other.id, &other.dir) == (mounted.id, &mounted.dir);
    match mounts::all()?.iter().any(is_same) {
        true => Err(not_unmounted(dir, "something was mounted on top of it meanwhile")),
        false => Ok(()),
    }
}

/// Names of flags as fusermount3 takes them.
const FLAG_NAMES: [(MountFlags, &str); 7] = [
    (MountFlags::RDONLY, "ro"),
    (MountFlags::NOEXEC, "noexec"),
    (MountFlags::NOSUID, "nosuid"),
    (MountFlags::NODEV, "nodev"),
    (MountFlags::SYNCHRONOUS, "sync"),
    (MountFlags::DIRSYNC, "dirsync"),
    (MountFlags::NOATIME, "noatime"),
];

fn mount_by_helper(request: &MountRequest) -> Result<OwnedFd, Failure> {
    let (own, theirs) = UnixStream::pair().map_err(|error| super::internal(HELPER, &error))?;
    // A copy that programs started from here inherit: nothing else is started meanwhile.
    let theirs =
        rustix::io::dup(&theirs).map_err(|errno| super::internal(HELPER, &errno.into()))?;
    let mut options = b"default_permissions,subtype=hsci".to_vec();
    let flags = MountFlags::from_bits_retain(request.flags);
    for (_, name) in FLAG_NAMES.iter().filter(|(flag, _)| flags.contains(*flag)) {
        options.extend([b",", name.as_bytes()].concat());
    }
    options.extend(b",fsname=");
    for byte in request.lower.as_os_str().as_bytes() {
        if matches!(byte, b',' | b'\\') {
            options.push(b'\\');
        }
        options.push(*byte);
    }
    let mut command = Command::new(HELPER);
    command.env("_FUSE_COMMFD", theirs.as_raw_fd().to_string());
    command.arg("-o").arg(std::ffi::OsStr::from_bytes(&options)).arg("--").arg(&request.dir);
    let output = run(&mut command)?;
    if !output.status.success() {
        return Err(not_mounted(&request.dir, &reason(&output)));
    }
    let received = receive_descriptor(&own).map_err(|error| super::internal(HELPER, &error))?;
    Ok(received.1)
}

fn unmount_by_helper(dir: &Path, force: bool) -> Result<(), Failure> {
    let mut command = Command::new(HELPER);
    command.arg("-u").args(force.then_some("-z")).arg("--").arg(dir);
    let output = run(&mut command)?;
    match reason(&output) {
        _ if output.status.success() => Ok(()),
        reason if reason.contains("busy") => Err(busy(dir)),
        reason => Err(not_unmounted(dir, &reason)),
    }
}

fn run(command: &mut Command) -> Result<Output, Failure> {
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|error| {
        let text = match error.kind() {
            ErrorKind::NotFound => {
                format!("{HELPER}: not found; install the package `fuse3`, or be root")
            }
            _ => format!("{HELPER}: {error}; `hsci doctor` tells what to do"),
        };
        Failure::new(Exit::Impossible, text)
    })
}

/// The last line that a program complained with, without its name.
fn reason(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().last().unwrap_or("it does not say why");
    line.trim_start_matches(HELPER).trim_start_matches(": ").to_owned()
}

fn not_mounted(dir: &Path, reason: &str) -> Failure {
    let dir = dir.display();
    let text = format!("{dir}: cannot be mounted: {reason}; `hsci doctor` tells what is missing");
    Failure::new(Exit::Impossible, text)
}

fn not_unmounted(dir: &Path, reason: &str) -> Failure {
    let text = format!("{}: cannot be unmounted: {reason}", dir.display());
    Failure::new(Exit::Impossible, text)
}

fn busy(dir: &Path) -> Failure {
    let holders = match super::holders::describe(dir) {
        none if none.is_empty() => format!("(`fuser -vm {}` tells by whom)", dir.display()),
        holders => format!("by {holders}"),
    };
    let text = format!("{}: in use {holders}; end that, or use --force", dir.display());
    Failure::new(Exit::InUse, text)
}
