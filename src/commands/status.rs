//! `hsci status`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_host::control as channel;
use hsci_host::failure::{Exit, Failure, printable};
use hsci_host::mounts;
use hsci_protocol::policy::PolicyStatus;
use hsci_protocol::status::{SandboxStatus, Status, SupervisorStatus, WorkerStatus};
use indicatif::HumanDuration;

use super::policy;
use crate::cli::Status as Arguments;
use crate::{Result, control, ui};

/// Shows one mount, or all of them.
pub(crate) fn run(args: &Arguments) -> Result<()> {
    if let Some(dir) = &args.dir {
        let status = one(dir)?;
        if args.json {
            ui::print_json(&status)?;
        } else {
            ui::print(&describe(&status))?;
        }
        return refuse_silent(&status);
    }
    let mut all = channel::statuses(&mounts::all()?);
    all.iter_mut().for_each(add_calls);
    if args.json {
        return ui::print_json(&all);
    }
    if all.is_empty() {
        return ui::print("no mounts of hsci\n");
    }
    ui::print(&all.iter().map(describe).collect::<Vec<_>>().join("\n"))
}

/// The mount that a path lies in.
fn one(path: &Path) -> Result<Status> {
    let mounted = control::require_mount(path)?;
    let mut status = channel::statuses(&[mounted]).pop().expect("one for each");
    if let (Some(why), None) = (&status.silent, &status.supervisor) {
        let text = format!("{}: {why}", status.dir.display());
        return Err(Failure::new(Exit::Internal, text));
    }
    add_calls(&mut status);
    Ok(status)
}

fn add_calls(status: &mut Status) {
    if status.worker.is_some() {
        status.calls = policy::calls(&status.dir);
    }
}

/// What is known of a mount was shown, and it does not answer all the same.
fn refuse_silent(status: &Status) -> Result<()> {
    match &status.silent {
        Some(why) if status.supervisor.as_ref().is_some_and(|one| one.supervised) => {
            Err(Failure::new(Exit::Internal, format!("{}: {why}", status.dir.display())))
        }
        _ => Ok(()),
    }
}

/// Lines of names and values.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            // A name in it is not to begin a line of its own.
            let _ = writeln!(self.0, "  {name:<11} {}", printable(value));
        }
    }
}

fn describe(status: &Status) -> String {
    let mut lines = Lines(format!("{}\n", ui::bold(&printable(&status.dir.display().to_string()))));
    lines.add("lower", &status.lower.display().to_string());
    lines.add("silent", status.silent.as_deref().unwrap_or_default());
    if let Some(supervisor) = &status.supervisor {
        add_supervisor(&mut lines, supervisor);
    }
    if let Some(worker) = &status.worker {
        add_worker(&mut lines, worker, status.calls);
    }
    let log = status.supervisor.as_ref().and_then(|supervisor| supervisor.log.as_ref());
    lines.add("log", &log.map(|log| log.display().to_string()).unwrap_or_default());
    lines.0
}

fn add_supervisor(lines: &mut Lines, supervisor: &SupervisorStatus) {
    if !supervisor.supervised {
        return lines.add("supervisor", "gone: a worker that dies is not replaced");
    }
    lines.add("extensions", &supervisor.extensions.join(", "));
    if supervisor.read_only {
        lines.add("read-only", "yes");
    }
    let since = UNIX_EPOCH + Duration::from_secs(supervisor.since);
    let age = SystemTime::now().duration_since(since).unwrap_or_default();
    lines.add("mounted", &format!("{} ago", HumanDuration(age)));
    let before = supervisor.last_served.as_ref();
    lines.add(
        "before",
        &before.map(|last| format!("served {last}, and not unmounted there")).unwrap_or_default(),
    );
    if supervisor.workers > 1 {
        lines.add("workers", &format!("{} replaced so far", supervisor.workers - 1));
    }
    let fenced = if supervisor.fenced { "yes" } else { "no" };
    lines.add("fenced", &with_reason(fenced, &supervisor.fenced_reason));
}

fn add_worker(lines: &mut Lines, worker: &WorkerStatus, calls: Option<u64>) {
    lines.add("profile", &with_reason(&worker.profile, &worker.profile_reason));
    lines.add("sandbox", &sandbox(&worker.sandbox));
    lines.add("policy", &worker.policy.as_ref().map(judgement).unwrap_or_default());
    let calls = calls.map(|calls| format!("{calls} calls, ")).unwrap_or_default();
    let sum: u64 = worker.requests.values().sum();
    lines.add("requests", &format!("{calls}{sum} dispatched"));
    let (inodes, open) = (worker.inodes, worker.descriptors);
    lines.add("inodes", &format!("{inodes} known, {open} descriptors open"));
    for notice in &worker.notices {
        lines.add("notice", notice);
    }
    for refused in &worker.quarantined {
        let what = format!("{} of /{}", refused.operation, refused.path.display());
        let why = "several workers died of it; `hsci upgrade` tries again";
        lines.add("refused", &format!("{what}: {why}"));
    }
}

/// What may be used beside the store.
fn sandbox(sandbox: &SandboxStatus) -> String {
    let mut text = "the store".to_owned();
    if !sandbox.needs.is_empty() {
        let _ = write!(text, ", and as the extension asks: {}", sandbox.needs.join(", "));
    }
    if !sandbox.kept.is_empty() {
        let _ = write!(text, "; not given up: {}", sandbox.kept.join(", "));
    }
    text
}

/// What the policy in force does on a mount; nothing if none of its rules applies there.
fn judgement(policy: &PolicyStatus) -> String {
    if !policy.concerned {
        return String::new();
    }
    let by = match (policy.guarded, policy.permissive) {
        (true, _) => "the guard judges all calls",
        (false, true) => "reports only",
        (false, false) => "judged by the host: what the kernel hands over",
    };
    let mut text = format!("{}: {by}", policy.file.display());
    if policy.opens_unseen {
        text += "; opens are not seen, mount it again";
    }
    if let Some(reason) = &policy.callers_reason {
        let _ = write!(text, "; callers are looked up in /proc ({reason})");
    }
    let _ = write!(text, "; {} judged, {} denied", policy.judged, policy.denied);
    text
}

fn with_reason(value: &str, reason: &str) -> String {
    if reason.is_empty() { value.to_owned() } else { format!("{value} ({reason})") }
}
