//! What the host of a mount says of the policy in force.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::path;

/// The policy in force on a mount, and what became of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Where its text is.
    #[serde(with = "path")]
    pub file: PathBuf,
    /// Distinguishes it from the one before.
    pub number: u64,
    /// The guard judges all calls.
    pub guarded: bool,
    /// What would be refused is reported, and let pass.
    pub permissive: bool,
    /// Some rule applies to this mount.
    pub concerned: bool,
    /// Where callers are found out: `kernel` or `proc`.
    pub callers: String,
    /// Why not in the kernel.
    pub callers_reason: Option<String>,
    /// Rules about opens apply, and opens are not seen.
    pub opens_unseen: bool,
    /// Callers whom the kernel had found out.
    pub handed_over: u64,
    /// Calls judged.
    pub judged: u64,
    /// Calls denied.
    pub denied: u64,
    /// Calls reported on request of a rule.
    pub audited: u64,
    /// Calls of which something that a rule asks could not be found out.
    pub undecidable: u64,
}

/// How often each rule decided, from an index on: empty after the last rule.
pub type Hits = Vec<u64>;

/// Why something is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// A rule says so.
    Audited,
    /// A rule denied it.
    Denied,
    /// A rule would have denied it, and the policy only reports.
    WouldDeny,
    /// Something that rules look at could not be found out.
    Undecidable,
}

impl ReportKind {
    /// The kind in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audited => "audited",
            Self::Denied => "denied",
            Self::WouldDeny => "would deny",
            Self::Undecidable => "undecidable",
        }
    }
}

/// The answer to a question for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// Process id of the worker, which counts its reports from 0.
    pub worker: u32,
    /// The reports, or as many as fit.
    pub reports: Vec<Report>,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Counts the reports of a worker, from 0.
    pub number: u64,
    /// Nanoseconds since the machine was started.
    pub time: u64,
    /// Why.
    pub kind: ReportKind,
    /// What was to be done.
    pub operation: String,
    /// To which path, from the root of the mount.
    pub path: String,
    /// Inode of the object; 0 if it is about to be made.
    pub inode: u64,
    /// The thread that called.
    pub process: u32,
    /// Under which command name, if it is there still.
    pub command: String,
    /// Through which program, if it is one of the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// As which user.
    pub user: u32,
    /// Index of the rule.
    pub rule: Option<u32>,
    /// The error that the call got, or would have got.
    pub error: Option<String>,
}
