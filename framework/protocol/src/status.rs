//! What a mount says of itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::path;
use crate::policy::PolicyStatus;
use crate::settle::Settles;

/// The status of a mount, as `hsci status --json` prints it. A mount that cannot be asked has a place
/// and a reason in [`silent`](Self::silent); what else is known is there as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is.
    #[serde(with = "path")]
    pub dir: PathBuf,
    /// The directory that stores the files.
    #[serde(with = "path")]
    pub lower: PathBuf,
    /// Why it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// What its supervisor knows.
    #[serde(flatten)]
    pub supervisor: Option<SupervisorStatus>,
    /// What its worker knows.
    #[serde(flatten)]
    pub worker: Option<WorkerStatus>,
    /// Calls by all programs, also those that the kernel served alone, where a guard counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
}

/// What the supervisor of a mount knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// The extensions, the topmost first.
    pub extensions: Vec<String>,
    /// Nothing can be written.
    pub read_only: bool,
    /// A supervisor replaces a worker that dies.
    pub supervised: bool,
    /// Its process id.
    pub supervisor_pid: u32,
    /// How many workers have served the mount, the present one included.
    pub workers: u64,
    /// When it was mounted, in seconds since 1970.
    pub since: u64,
    /// By whom, on another machine, the store was served before, if it was not unmounted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_served: Option<String>,
    /// Where its supervisor and its workers log to.
    #[serde(with = "path::optional")]
    pub log: Option<PathBuf>,
    /// The guard keeps everybody but the host from the store.
    pub fenced: bool,
    /// Why, or why not.
    pub fenced_reason: String,
    /// The number of the policy that its worker has, or begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_number: Option<u64>,
}

/// An operation that is answered with an error, because several workers died of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The kernel's name of the operation.
    pub operation: String,
    /// Of what, below the mount; of a name in a directory, just the directory until somebody asks for
    /// the name again.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// The inode: of the directory where it is about a name.
    pub inode: u64,
}

/// What a worker may do beyond what every worker may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// What its extensions ask for.
    pub needs: Vec<String>,
    /// What it could not give up on this machine, and why.
    pub kept: Vec<String>,
}

/// Bounds of [`Latency::within`], in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 10] =
    [10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// How long the worker took for the requests of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// For all of them.
    pub nanoseconds: u64,
    /// How many were carried out within each of [`LATENCY_BOUNDS_US`] and in no smaller one; the last
    /// place has the others.
    pub within: Vec<u64>,
}

/// What the worker of a mount knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Version of the extension's program.
    pub version: String,
    /// Its process id.
    pub worker_pid: u32,
    /// Its program.
    #[serde(with = "path::optional")]
    pub program: Option<PathBuf>,
    /// What it may do.
    #[serde(default)]
    pub sandbox: SandboxStatus,
    /// `no-open` or `dispatch-opens`.
    pub profile: String,
    /// Why.
    pub profile_reason: String,
    /// Inodes that the kernel knows.
    pub inodes: u64,
    /// Descriptors of files in use.
    pub descriptors: u64,
    /// What is not tried any more, because several workers died of it; until an upgrade.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
    /// What those who mounted the store have to know, as its extensions say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// What settling has come to, where an extension settles files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles: Option<Settles>,
    /// How many requests of each kind have arrived.
    pub requests: BTreeMap<String, u64>,
    /// How long requests of each kind took.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latencies: BTreeMap<String, Latency>,
    /// The policy in force, if there is one.
    pub policy: Option<PolicyStatus>,
}
