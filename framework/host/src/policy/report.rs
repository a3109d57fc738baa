//! What became of calls, for whoever looks: the latest reports.

use std::collections::VecDeque;

use hsci_extension::Call;
use hsci_language::{DenyErrno, Operation};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Reports that are kept; older ones are lost.
const MOST: usize = 4096;
/// Bytes of an answer: a value of an extended attribute has at most 64 KiB.
const ANSWER: usize = 60 << 10;

/// Why something is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A rule says so.
    Audited,
    /// A rule denied it.
    Denied,
    /// Something that rules look at could not be found out.
    Unfit,
}

impl Kind {
    /// The kind in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audited => "audited",
            Self::Denied => "denied",
            Self::Unfit => "unfit",
        }
    }
}

/// What a host answers when it is asked for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
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
    pub kind: Kind,
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
    /// As which user.
    pub user: u32,
    /// Index of the rule.
    pub rule: Option<u32>,
    /// The error that the call got, or would have got.
    pub error: Option<String>,
}

impl Report {
    pub(super) fn new(
        kind: Kind,
        call: &Call,
        operation: Operation,
        (path, inode): (&[u8], u64),
        rule: Option<u32>,
        errno: Option<DenyErrno>,
    ) -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let command = std::fs::read_to_string(format!("/proc/{}/comm", call.pid));
        Self {
            number: 0,
            time: now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64,
            kind,
            operation: operation.name().to_owned(),
            path: String::from_utf8_lossy(path).into_owned(),
            inode,
            process: call.pid,
            command: command.unwrap_or_default().trim_end().to_owned(),
            user: call.uid,
            rule,
            error: errno.map(|errno| errno.name().to_owned()),
        }
    }
}

/// The latest reports.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    reports: VecDeque<Report>,
    next: u64,
}

impl Reports {
    pub(super) fn add(&self, report: Report) {
        let mut kept = self.0.lock();
        let number = kept.next;
        kept.next += 1;
        if kept.reports.len() == MOST {
            kept.reports.pop_front();
        }
        kept.reports.push_back(Report { number, ..report });
    }

    /// Those from a number on, or as many as fit, as the JSON of a [`Remembered`].
    pub(super) fn to_json(&self, from: u64) -> String {
        let kept = self.0.lock();
        let mut left = ANSWER;
        let fits = |report: &&Report| {
            let len = serde_json::to_string(report).map_or(ANSWER, |text| text.len() + 1);
            left = left.saturating_sub(len);
            left > 0
        };
        let wanted = kept.reports.iter().filter(|report| report.number >= from);
        let reports = wanted.take_while(fits).cloned().collect();
        let remembered = Remembered { worker: std::process::id(), reports };
        serde_json::to_string(&remembered).expect("numbers and texts are JSON")
    }
}
