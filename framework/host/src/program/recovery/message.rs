//! What the process that recovers asks its keeper for.

use std::time::{Duration, SystemTime};

use hsci_extension::{Errno, Error, Lifetime, LowerFile, Times};
use serde::{Deserialize, Serialize};

use crate::lower::timespec_of;

/// Bytes that come with a message at most: of a file, of names, of what is wanted.
pub(super) const PIECE: usize = 64 << 10;
/// The largest message.
pub(super) const MOST: usize = PIECE + (16 << 10);
/// Files that are wanted with one message at most.
pub(super) const MOST_WANTED: usize = 1024;

/// The first message: an extension by its place, and its store.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) place: usize,
    pub(super) read_only: bool,
    pub(super) epoch: u64,
}

/// A question; bytes may follow it. All but `Close`, `Done` and what gives privileges back are answered by a [`Reply`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    Open {
        name: String,
        create: bool,
    },
    Create {
        name: String,
    },
    /// Names from a place on, as many as fit: each ends with 0.
    Names {
        from: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncNames,
    SyncAll,
    FreeSpace,
    /// Lasting names follow, of such lengths.
    Want {
        lens: Vec<u32>,
    },
    /// All that are wanted: each is answered, and the next one comes after [`Ask::Next`].
    Reopen,
    Next,
    File {
        file: u64,
        ask: FileAsk,
    },
    Close {
        file: u64,
    },
    /// Bytes of what [`Ask::Done`] leaves behind.
    Say,
    Done(Result<(), Failed>),
}

/// A question about a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FileAsk {
    Read {
        offset: u64,
        len: usize,
    },
    Write {
        offset: u64,
    },
    Facts,
    SetLen {
        len: u64,
    },
    Sync {
        data_only: bool,
    },
    Punch {
        offset: u64,
        len: u64,
    },
    /// The next data, and where it ends.
    SeekData {
        offset: u64,
    },
    SeekHole {
        offset: u64,
    },
    SetTimes(Stamps),
    Id,
    /// As many as fit, from a place on.
    Notes {
        about: u64,
        from: usize,
    },
    Attribute {
        name: String,
    },
    SetAttribute {
        name: String,
    },
    RemoveAttribute {
        name: String,
    },
    KeepPrivileges {
        again: bool,
    },
    RestorePrivileges,
    DropPrivileges,
    IsFixed,
    IsOpenElsewhere,
    MaxLen,
}

/// An answer; bytes may follow it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Nothing,
    Number(u64),
    Flag(bool),
    /// Of a file; also what a change leaves.
    Facts(Option<Facts>),
    Extent(u64, u64),
    /// One of those that were wanted.
    Found {
        place: usize,
        file: Result<(u64, Option<Facts>), Failed>,
    },
}

pub(super) type Reply = Result<Answer, Failed>;

/// What is asked of nearly each file, several times.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) len: u64,
    pub(super) blocks: u64,
    pub(super) times: Stamps,
    /// Of the machine and the mount.
    pub(super) lifetime: (u64, u64),
}

impl Facts {
    pub(super) fn of(file: &dyn LowerFile) -> hsci_extension::Result<Self> {
        let Lifetime { machine, mount } = file.lifetime();
        Ok(Self {
            len: file.len()?,
            blocks: file.blocks()?,
            times: Stamps::from(&file.times()?),
            lifetime: (machine, mount),
        })
    }
}

/// Seconds and nanoseconds of last access and last change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Stamps([(i64, u32); 2]);

impl From<&Times> for Stamps {
    fn from(times: &Times) -> Self {
        let pair = |time| {
            let time = timespec_of(time);
            (time.tv_sec, time.tv_nsec as u32)
        };
        Self([times.accessed, times.modified].map(pair))
    }
}

impl Stamps {
    pub(super) fn times(self) -> Option<Times> {
        let time = |(seconds, nanos): (i64, u32)| {
            let whole = Duration::from_secs(seconds.unsigned_abs());
            let second = match seconds < 0 {
                true => SystemTime::UNIX_EPOCH.checked_sub(whole),
                false => SystemTime::UNIX_EPOCH.checked_add(whole),
            };
            second?.checked_add(Duration::from_nanos(nanos.into()))
        };
        let [accessed, modified] = self.0;
        Some(Times::new(time(accessed)?, time(modified)?))
    }
}

/// An [`Error`] on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Failed {
    Lower(i32),
    Damaged(String),
    Newer(String),
    Invalid(String),
    NotPermitted(String),
    NoAttribute,
    Unsupported,
    Busy,
    InUse(String),
    TooLarge(String),
    Other(String),
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        match error.clone() {
            Error::Lower(errno) => Self::Lower(errno.raw_os_error()),
            Error::Damaged(text) => Self::Damaged(text),
            Error::Newer(text) => Self::Newer(text),
            Error::Invalid(text) => Self::Invalid(text),
            Error::NotPermitted(text) => Self::NotPermitted(text),
            Error::NoAttribute => Self::NoAttribute,
            Error::Unsupported => Self::Unsupported,
            Error::Busy => Self::Busy,
            Error::InUse(text) => Self::InUse(text),
            Error::TooLarge(text) => Self::TooLarge(text),
            Error::Broken(text) => Self::Other(text),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Lower(errno) => Self::Lower(Errno::from_raw_os_error(errno)),
            Failed::Damaged(text) => Self::Damaged(text),
            Failed::Newer(text) => Self::Newer(text),
            Failed::Invalid(text) => Self::Invalid(text),
            Failed::NotPermitted(text) => Self::NotPermitted(text),
            Failed::NoAttribute => Self::NoAttribute,
            Failed::Unsupported => Self::Unsupported,
            Failed::Busy => Self::Busy,
            Failed::InUse(text) => Self::InUse(text),
            Failed::TooLarge(text) => Self::TooLarge(text),
            Failed::Other(text) => Self::Broken(text),
        }
    }
}
