//! What the process that reads a store asks of the one that writes the copies.

use std::path::PathBuf;

use hsci_extension::{Attr, FileKind};
use hsci_protocol::path;
use rustix::fs::{Timespec, Timestamps};
use serde::{Deserialize, Serialize};

use crate::lower::timespec_of;

/// One message; bytes may follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// A name in the directory that is open, or the destination itself: answered by [`Reply`]. The target of a symbolic
    /// link follows. A directory is open from then on.
    Make {
        #[serde(with = "path")]
        name: PathBuf,
        kind: Kind,
        /// A number that all names of one inode have in common.
        link: Option<u64>,
    },
    /// A file as with `Make`, whose whole content follows: not answered. What is said of it next counts if it is made.
    Whole {
        #[serde(with = "path")]
        name: PathBuf,
        link: Option<u64>,
    },
    /// An attribute of what was made last, or of the open directory; its value follows.
    Xattr {
        #[serde(with = "path")]
        name: PathBuf,
    },
    /// What was made last, or the open directory, is complete; why it is not is text that follows.
    Finish(Finish),
    /// Something in the open directory cannot be copied, or is left out: text for people follows.
    Warn {
        #[serde(with = "path")]
        name: PathBuf,
        failed: bool,
    },
    /// All is done.
    End,
}

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink,
    Fifo,
    Socket,
    CharDevice(u64),
    BlockDevice(u64),
}

/// Owner, mode and times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Finish {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// Seconds and nanoseconds.
    accessed: (i64, i64),
    modified: (i64, i64),
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is made; of a file, a descriptor comes with it that can write its content and nothing else.
    Made,
    /// It is complete: another name of what was made before, or left out.
    Complete,
    /// It is not made, and that was reported.
    Failed,
}

impl Kind {
    pub(super) fn of(attr: &Attr) -> Self {
        match attr.kind {
            FileKind::Directory => Self::Directory,
            FileKind::Regular => Self::File,
            FileKind::Symlink => Self::Symlink,
            FileKind::Fifo => Self::Fifo,
            FileKind::Socket => Self::Socket,
            FileKind::CharDevice => Self::CharDevice(attr.rdev),
            FileKind::BlockDevice => Self::BlockDevice(attr.rdev),
        }
    }
}

impl Finish {
    pub(super) fn of(attr: &Attr) -> Self {
        let pair = |time| {
            let Timespec { tv_sec, tv_nsec } = timespec_of(time);
            (tv_sec, tv_nsec)
        };
        let (accessed, modified) = (pair(attr.atime), pair(attr.mtime));
        Self { uid: attr.uid, gid: attr.gid, mode: attr.mode, accessed, modified }
    }

    pub(super) fn times(&self) -> Timestamps {
        let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        Timestamps { last_access: time(self.accessed), last_modification: time(self.modified) }
    }
}
