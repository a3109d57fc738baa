//! `hsci status`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor::table::{self, Mounted};
use indicatif::HumanDuration;
use serde_json::{Value, json};

use super::policy;
use crate::cli::Status;
use crate::{Result, control, ui};

/// The question put to a mount.
const QUESTION: &str = "status";

/// Shows one mount, or all of them.
pub(crate) fn run(args: &Status) -> Result<()> {
    if let Some(dir) = &args.dir {
        control::require_mount(dir)?;
        let status = ask(dir)?;
        return if args.json { ui::print_json(&status) } else { ui::print(&describe(&status)) };
    }
    let all: Vec<Value> = table::all()?.iter().map(ask_or_explain).collect();
    if args.json {
        return ui::print_json(&all);
    }
    if all.is_empty() {
        return ui::print("no mounts of hsci\n");
    }
    ui::print(&all.iter().map(describe).collect::<Vec<_>>().join("\n"))
}

fn ask(dir: &Path) -> Result<Value> {
    let answer = control::ask(dir, QUESTION).map_err(|errno| control::of_path(dir, errno))?;
    let mut status: Value = control::parse(dir, QUESTION, &answer)?;
    if let (Some(calls), Some(status)) = (policy::calls(dir), status.as_object_mut()) {
        status.insert("calls".to_owned(), calls.into());
    }
    Ok(status)
}

/// What a mount says, or why it says nothing: those of other users and dead ones are listed too.
fn ask_or_explain(mounted: &Mounted) -> Value {
    ask(&mounted.dir).unwrap_or_else(|Failure { exit, text }| {
        let reason = if exit == Exit::Impossible { "mounted by another user" } else { &text };
        json!({ "dir": mounted.dir, "lower": mounted.lower, "silent": reason })
    })
}

fn describe(status: &Value) -> String {
    let mut text = format!("{}\n", ui::bold(status["dir"].as_str().unwrap_or("?")));
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<11} {value}");
        }
    };
    let word = |name: &str| status[name].as_str().unwrap_or_default();
    let extensions = status["extensions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let extensions: Vec<_> = extensions.iter().filter_map(Value::as_str).collect();
    line("lower", word("lower"));
    line("silent", word("silent"));
    line("extensions", &extensions.join(", "));
    if status["read_only"] == true {
        line("read-only", "yes");
    }
    if let Some(since) = status["since"].as_u64() {
        let since = UNIX_EPOCH + Duration::from_secs(since);
        let age = SystemTime::now().duration_since(since).unwrap_or_default();
        line("mounted", &format!("{} ago", HumanDuration(age)));
    }
    if let Some(workers @ 2..) = status["workers"].as_u64() {
        line("workers", &format!("{} replaced so far", workers - 1));
    }
    if status["supervised"] == false {
        line("supervisor", "gone: a worker that dies is not replaced");
    }
    line("profile", &with_reason(word("profile"), word("profile_reason")));
    if let Some(fenced) = status["fenced"].as_bool() {
        line("fenced", &with_reason(if fenced { "yes" } else { "no" }, word("fenced_reason")));
    }
    line("policy", &judgement(&status["policy"]));
    let requests = status["requests"].as_object();
    let requests = requests.map(|by_kind| by_kind.values().filter_map(Value::as_u64).sum::<u64>());
    let calls = status["calls"].as_u64().map(|calls| format!("{calls} calls, "));
    let calls = calls.unwrap_or_default();
    line("requests", &requests.map(|sum| format!("{calls}{sum} dispatched")).unwrap_or_default());
    if let (Some(inodes), Some(open)) = (status["inodes"].as_u64(), status["descriptors"].as_u64())
    {
        line("inodes", &format!("{inodes} known, {open} descriptors open"));
    }
    line("log", word("log"));
    text
}

/// What the policy in force does on a mount; nothing if there is none, or if it is about others.
fn judgement(policy: &Value) -> String {
    if policy["concerned"] != true {
        return String::new();
    }
    let by = match (policy["guarded"] == true, policy["permissive"] == true) {
        (true, _) => "the guard judges all calls",
        (false, true) => "reports only",
        (false, false) => "judged by the host: what the kernel hands over",
    };
    let mut text = format!("{}: {by}", policy["file"].as_str().unwrap_or("?"));
    if policy["opens_unseen"] == true {
        text += "; opens are not seen, mount it anew";
    }
    if let Some(reason) = policy["callers_reason"].as_str() {
        let _ = write!(text, "; callers are looked up in /proc ({reason})");
    }
    let count = |name: &str| policy[name].as_u64().unwrap_or_default();
    let _ = write!(text, "; {} judged, {} denied", count("judged"), count("denied"));
    text
}

fn with_reason(value: &str, reason: &str) -> String {
    if reason.is_empty() { value.to_owned() } else { format!("{value} ({reason})") }
}
