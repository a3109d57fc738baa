//! Making a mount: from the command to its supervisor, from there to its workers.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::path;

/// What to mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// The directory that stores the files.
    #[serde(with = "path")]
    pub lower: PathBuf,
    /// Where to show them.
    #[serde(with = "path")]
    pub dir: PathBuf,
    /// Extensions, the topmost first.
    pub extensions: Vec<String>,
    /// Flags of mount(2), `MS_*`.
    pub flags: u32,
    /// Flags of mount(2) that were turned off by name, so that no default sets them.
    #[serde(default)]
    pub allowed: u32,
    /// Options for the host and the extensions: names and values.
    pub options: Vec<MountOption>,
    /// Serve from the calling process, and log to its standard error.
    pub foreground: bool,
    /// Log every request.
    #[serde(default)]
    pub debug: bool,
}

/// The name and the value of an option. The value may be a secret, so it is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOption(pub String, pub String);

impl fmt::Debug for MountOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=...", self.0)
    }
}

/// What a supervisor is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What to mount.
    pub request: MountRequest,
    /// The program of the topmost extension.
    #[serde(with = "path")]
    pub program: PathBuf,
}

/// What a supervisor asks a worker to serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// Version of the supervisor's messages.
    pub version: u32,
    /// What to mount.
    pub request: MountRequest,
    /// The supervisor's process id.
    pub supervisor_pid: u32,
    /// When it was mounted, in seconds since 1970.
    pub since: u64,
    /// Where the worker's standard error goes.
    #[serde(with = "path::optional")]
    pub log: Option<PathBuf>,
    /// How many workers have served the mount before.
    pub workers: u64,
    /// How the last of them died.
    pub death: Death,
    /// How many descriptors of unlinked files follow, each with the number of its inode. Before
    /// them come the file in memory, the socket of the descriptor store, and the line for policies.
    pub unlinked: u64,
    /// The policy at the time of the mount needs opens to be seen: the kernel cannot be asked later.
    pub opens: bool,
    /// The start of the machine, and the mount on which the lower directory lies: as long as they are the
    /// same, nothing is lost that was written below.
    pub lifetime: (u64, u64),
    /// The mount has ended, and the worker before could not bring into the store all that it had
    /// acknowledged: do that, and end.
    pub finish: bool,
}

/// How a worker has died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// By its own doing.
    #[default]
    Own,
    /// It has ended itself because a request was not answered within the deadline.
    Hung,
    /// It was killed, or the machine ran out of memory: hardly the fault of a request, and a slow
    /// one may be under way many times.
    Killed,
    /// It was ended for a program that was installed since.
    Upgrade,
}

/// Exit code of a worker that ends itself because a request was not answered within the deadline.
pub const HUNG: i32 = 70;

/// Whether the guard keeps everybody but the host from the store, or why not.
pub type Fenced = Result<(), String>;
