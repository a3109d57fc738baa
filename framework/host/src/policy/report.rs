//! What became of calls, for whoever looks: the latest reports.

use std::collections::VecDeque;

use hsci_extension::Call;
use hsci_language::{DenyErrno, Operation};
use hsci_protocol::policy::{self as protocol, Report, ReportKind};
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::sandbox::broker;
use crate::sandbox::callers::Wanted;

/// Reports that are kept; older ones are lost.
const MOST: usize = 4096;
/// Bytes of an answer: a value of an extended attribute has at most 64 KiB.
const ANSWER: usize = 60 << 10;

/// A report of now.
pub(super) fn new(
    kind: ReportKind,
    call: &Call,
    operation: Operation,
    (path, inode): (&[u8], u64),
    rule: Option<u32>,
    errno: Option<DenyErrno>,
) -> Report {
    let now = clock_gettime(ClockId::Boottime);
    let wanted = Wanted { command: true, ..Wanted::default() };
    let caller = broker::caller(call.pid, Wanted { executable: true, ..wanted });
    let caller = caller.or_else(|| broker::caller(call.pid, wanted)).unwrap_or_default();
    let executable = String::from_utf8(caller.executable).ok().filter(|path| !path.is_empty());
    Report {
        number: 0,
        time: now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64,
        kind,
        operation: operation.name().to_owned(),
        path: String::from_utf8_lossy(path).into_owned(),
        inode,
        process: call.pid,
        command: String::from_utf8_lossy(&caller.command).into_owned(),
        executable,
        user: call.uid,
        rule,
        error: errno.map(|errno| errno.name().to_owned()),
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

    /// Those from a number on, or as many as fit.
    pub(super) fn from(&self, number: u64) -> protocol::Reports {
        let kept = self.0.lock();
        let mut left = ANSWER;
        let fits = |report: &&Report| {
            let len = serde_json::to_string(report).map_or(ANSWER, |text| text.len() + 1);
            left = left.saturating_sub(len);
            left > 0
        };
        let wanted = kept.reports.iter().filter(|report| report.number >= number);
        let reports = wanted.take_while(fits).cloned().collect();
        protocol::Reports { worker: std::process::id(), reports }
    }
}
