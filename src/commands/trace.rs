//! `hsci trace`: reports of the policy in force, as they come.

use std::time::Duration;

use hsci_host::failure::{Exit, Failure};
use hsci_kernel::Error;
use hsci_kernel::guard::{Event, Events, Guard, Kind};
use hsci_language::{DenyErrno, Operation};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::policy::{Loaded, failure};
use crate::cli::Trace;
use crate::{Result, ui};

/// A report for people and scripts.
#[derive(Serialize)]
struct Line {
    /// Seconds since the machine was started.
    seconds: f64,
    /// `audited`, `denied`, `sealed` or `unfit`.
    kind: &'static str,
    operation: Option<&'static str>,
    /// The last name of the path.
    name: String,
    inode: u64,
    process: u32,
    command: String,
    user: u32,
    error: Option<&'static str>,
    /// Place and text of the rule.
    rule: Option<String>,
}

impl Line {
    fn new(event: &Event, loaded: &Loaded) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let operation = event.operation.and_then(|number| {
            Operation::ALL.get(usize::from(number)).map(|operation| operation.name())
        });
        let error = u16::try_from(event.errno).ok().and_then(DenyErrno::from_number);
        Self {
            seconds: Duration::from_nanos(event.time).as_secs_f64(),
            kind: match event.kind {
                Kind::Audited => "audited",
                Kind::Denied => "denied",
                Kind::Sealed => "sealed",
                Kind::Unfit => "unfit",
            },
            operation,
            name: text(&event.name),
            inode: event.inode,
            process: event.process,
            command: text(&event.command),
            user: event.user,
            error: error.map(DenyErrno::name),
            rule: event.rule.map(|rule| loaded.rule(rule)),
        }
    }

    fn text(&self) -> String {
        format!(
            "{:.6} {} {} \"{}\" inode {} by {}[{}] user {}{}{}\n",
            self.seconds,
            self.kind,
            self.operation.unwrap_or("-"),
            self.name.escape_default(),
            self.inode,
            self.command.escape_default(),
            self.process,
            self.user,
            self.error.map(|error| format!(" {error}")).unwrap_or_default(),
            self.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default(),
        )
    }
}

/// Prints reports until there were enough, or none for long enough.
pub(super) fn run(args: &Trace) -> Result<()> {
    let guard = Guard::open().map_err(|error| failure(&error))?;
    let guard = guard.ok_or_else(|| failure(&Error::NotLoaded))?;
    let mut events = guard.events().map_err(|error| failure(&error))?;
    let loaded = Loaded::read()?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(event) = events.take() else {
            if wait(&events, args.timeout)? {
                continue;
            }
            return Ok(());
        };
        let line = Line::new(&event, &loaded);
        if args.json {
            let text = serde_json::to_string(&line).expect("our own types are valid JSON");
            ui::print(&format!("{text}\n"))?;
        } else {
            ui::print(&line.text())?;
        }
        left -= 1;
    }
    Ok(())
}

/// Waits for a report. False if none came in time.
fn wait(events: &Events, seconds: Option<u64>) -> Result<bool> {
    let timeout = seconds
        .map(|seconds| Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 });
    match poll(&mut [PollFd::new(events, PollFlags::IN)], timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(Failure::new(Exit::Internal, format!("waiting for reports: {error}"))),
    }
}
