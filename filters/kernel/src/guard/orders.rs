//! Orders to the guard, as in `bpf/orders.h`: an ioctl on the directory that it is about.
//!
//! The programs themselves find out which inode and which device that is, and who calls; numbers that
//! stat(2) tells are not the kernel's own in every file system.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use hsci_abi::guard::{CLAIM, FENCE, UNFENCE};

use crate::Error;
use crate::sys::{Order, give};

/// Why a directory is not fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfenced {
    /// There is no guard.
    #[error("no policy is loaded whose guard would fence it")]
    NotLoaded,
    /// The guard is told by `--permissive` to refuse nothing.
    #[error("the policy in force only reports")]
    Permissive,
    /// The caller is not who may give orders.
    #[error("only root may have the guard fence it, by the `hsci` that loaded the policy")]
    Refused,
    /// Numbers of processes would not mean the same to the guard.
    #[error("processes in a namespace of their own have no number that the guard knows")]
    OtherNamespace,
    /// There are too many fences.
    #[error("the guard has no room for more fences")]
    NoRoom,
}

/// Lets only the calling process and one other use a directory and all below, and keeps everybody from
/// tracing or killing them, until [`unfence`]. Descriptors of files that others have open already go on.
///
/// The fence belongs to the directory as long as somebody has it open. To fence it once more, for
/// another process, takes nothing from the first.
pub fn fence(directory: BorrowedFd<'_>, other: u32) -> Result<(), Unfenced> {
    match give(directory, Order { number: FENCE, argument: other }) {
        Errno::ALREADY => Ok(()),
        Errno::INPROGRESS => Err(Unfenced::Permissive),
        Errno::PERM => Err(Unfenced::Refused),
        Errno::SRCH => Err(Unfenced::OtherNamespace),
        Errno::NOSPC => Err(Unfenced::NoRoom),
        _ => Err(Unfenced::NotLoaded),
    }
}

/// Lets everybody use a directory again that the caller fenced; without a guard, changes nothing.
pub fn unfence(directory: BorrowedFd<'_>) {
    give(directory, Order { number: UNFENCE, argument: 0 });
}

/// Makes the calling program the only one that may change the guard, whose pins are in `dir`.
pub(super) fn claim(dir: &Path) -> Result<(), Error> {
    let fail = |errno: Errno| Error::File { path: dir.display().to_string(), source: errno.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(dir, flags, Mode::empty()).map_err(fail)?;
    match give(opened.as_fd(), Order { number: CLAIM, argument: 0 }) {
        Errno::ALREADY | Errno::INPROGRESS => Ok(()),
        errno => Err(fail(errno)),
    }
}
