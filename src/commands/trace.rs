//! `hsci trace`: reports of the policy in force, as they come.

mod sources;

use std::path::Path;
use std::time::{Duration, Instant};

use hsci_host::failure::{Exit, Failure};
use hsci_kernel::Error;
use hsci_kernel::guard::{Event, Kind};
use hsci_language::{DenyErrno, Operation};
use hsci_protocol::policy::Report;
use serde::Serialize;

use self::sources::Sources;
use super::policy::{Label, Loaded, Seen, failure, user_id};
use crate::cli::Trace;
use crate::{Result, control, ui};

/// A report for people and scripts.
#[derive(Serialize)]
struct Line {
    /// Seconds since the machine was started.
    seconds: f64,
    /// `audited`, `denied`, `would deny`, `fenced` or `undecidable`.
    kind: String,
    operation: Option<String>,
    /// The last name of the path, or on a mount all of it.
    name: String,
    inode: u64,
    process: u32,
    command: String,
    /// The program, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    user: u32,
    error: Option<String>,
    /// Place and text of the rule.
    rule: Option<String>,
    /// What the rule says of itself.
    label: Label,
}

impl Line {
    fn of_guard(event: &Event, loaded: &Loaded) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let operation = event.operation.and_then(|number| {
            Operation::ALL.get(usize::from(number)).map(|operation| operation.name().to_owned())
        });
        let error = u16::try_from(event.errno).ok().and_then(DenyErrno::from_number);
        Self {
            seconds: Duration::from_nanos(event.time).as_secs_f64(),
            kind: match event.kind {
                Kind::Audited => "audited".to_owned(),
                Kind::Denied => "denied".to_owned(),
                Kind::WouldDeny => "would deny".to_owned(),
                Kind::Fenced => "fenced".to_owned(),
                Kind::Undecidable => "undecidable".to_owned(),
            },
            operation,
            name: text(&event.name),
            inode: event.inode,
            process: event.process,
            command: text(&event.command),
            executable: None,
            user: event.user,
            error: error.map(|error| error.name().to_owned()),
            rule: event.rule.map(|rule| loaded.rule(rule)),
            label: event.rule.map(|rule| loaded.label(rule)).unwrap_or_default(),
        }
    }

    fn of_mount(dir: &str, report: Report, loaded: &Loaded) -> Self {
        Self {
            seconds: Duration::from_nanos(report.time).as_secs_f64(),
            kind: report.kind.name().to_owned(),
            operation: Some(report.operation),
            name: format!("{dir}{}", report.path),
            inode: report.inode,
            process: report.process,
            command: report.command,
            executable: report.executable,
            user: report.user,
            error: report.error,
            rule: report.rule.map(|rule| loaded.rule(rule)),
            label: report.rule.map(|rule| loaded.label(rule)).unwrap_or_default(),
        }
    }

    /// True if it is one of those that are asked for.
    fn is_wanted(&self, args: &Trace, user: Option<u32>) -> bool {
        let is_rule = |name: &String| self.label.name.as_ref() == Some(name);
        args.rule.as_ref().is_none_or(is_rule)
            && user.is_none_or(|user| self.user == user)
            && (!args.denied || self.kind != "audited")
    }

    fn text(&self) -> String {
        format!(
            "{:.6} {} {} \"{}\" inode {} by {}[{}] user {}{}{}\n",
            self.seconds,
            self.kind,
            self.operation.as_deref().unwrap_or("-"),
            self.name.escape_default(),
            self.inode,
            self.command.escape_default(),
            self.process,
            self.user,
            self.error.as_ref().map(|error| format!(" {error}")).unwrap_or_default(),
            self.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default(),
        )
    }
}

/// What a mount remembers, and how many reports it has forgotten.
pub(super) fn remembered(dir: &Path) -> Result<(Vec<Seen>, u64)> {
    control::require_mount(dir)?;
    let loaded = Loaded::read()?.ok_or_else(|| failure(&Error::NotLoaded))?;
    let mut sources = Sources::open(Some(dir))?;
    let mut seen = Vec::new();
    loop {
        let lines = sources.take(&loaded)?;
        if lines.is_empty() {
            return Ok((seen, sources.lost()));
        }
        seen.extend(lines.into_iter().map(|line| {
            let Line { kind, operation, name, user, executable, .. } = line;
            Seen { kind, operation, name, user, executable }
        }));
    }
}

/// Prints reports until there were enough, or none for long enough.
pub(super) fn run(args: &Trace) -> Result<()> {
    if let Some(dir) = &args.dir {
        control::require_mount(dir)?;
    }
    let loaded = Loaded::read()?.ok_or_else(|| failure(&Error::NotLoaded))?;
    if let Some(name) = &args.rule
        && !loaded.has_rule(name)
    {
        let text = format!("rule `{name}`: the policy in force has none of that name");
        return Err(Failure::new(Exit::Usage, text));
    }
    let user = args.user.as_ref().map(|name| user_id(name)).transpose()?;
    let mut sources = Sources::open(args.dir.as_deref())?;
    let timeout = args.timeout.map(Duration::from_secs);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut last = Instant::now();
    while left > 0 {
        let mut lines = sources.take(&loaded)?;
        lines.retain(|line| line.is_wanted(args, user));
        if lines.is_empty() {
            if timeout.is_some_and(|timeout| last.elapsed() >= timeout) {
                return Ok(());
            }
            sources.wait()?;
            continue;
        }
        last = Instant::now();
        for line in lines.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            let text = match args.json {
                true => serde_json::to_string(line).expect("our own types are valid JSON") + "\n",
                false => line.text(),
            };
            if ui::print_on(&text)?.is_break() {
                return Ok(());
            }
            left -= 1;
        }
    }
    Ok(())
}
