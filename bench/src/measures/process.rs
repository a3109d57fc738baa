//! What processes use.

use std::fs;

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::Serialize;

/// Time and context switches.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    pub(crate) switches: u64,
}

impl Used {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_seconds: (self.cpu_seconds - before.cpu_seconds).max(0.0),
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

/// All children that were waited for.
pub(super) fn callers() -> Result<Used> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    Ok(Used { cpu_seconds: time as f64 / 1e6, switches: switches.unsigned_abs() })
}

/// A process with all its threads that still run.
pub(super) fn server(pid: u32) -> Option<Used> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th after.
    let times: Vec<u64> = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    let ticks: u64 = times.iter().sum();
    let cpu_seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.filter_map(Result::ok);
    let switches = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        Some(
            field(&status, "voluntary_ctxt_switches:")?
                + field(&status, "nonvoluntary_ctxt_switches:")?,
        )
    });
    Some(Used { cpu_seconds, switches: switches.sum() })
}

/// The most memory that a process had since its peak was forgotten, in KiB.
pub(super) fn peak_kib(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

/// The memory of a process at this time, in KiB.
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

pub(super) fn forget_peak(pid: Option<u32>) {
    if let Some(pid) = pid {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
