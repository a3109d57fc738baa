//! `hsci policy list`.

use std::path::Path;

use hsci_host::control as channel;
use hsci_host::mounts::{self, Mounted};
use hsci_host::policy::file::{self, Handed};
use hsci_kernel::Error;
use hsci_kernel::guard::Guard;
use hsci_protocol::control::{Command, Reply};
use hsci_protocol::policy::PolicyStatus;
use serde::Serialize;

use super::failure;
use super::loaded::{Label, Loaded, Rule};
use crate::cli::PolicyList;
use crate::{Result, control, ui};

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "ui::lossy")]
    file: &'a Path,
    permissive: bool,
    table_bytes: usize,
    judged: u64,
    denied: u64,
    fenced: u64,
    undecidable: u64,
    lost_reports: u64,
    programs: Vec<String>,
    targets: Vec<Calls<'a>>,
    rules: Vec<Hits<'a>>,
}

#[derive(Serialize)]
struct Calls<'a> {
    name: &'a str,
    calls: Option<u64>,
}

#[derive(Serialize)]
struct Hits<'a> {
    line: usize,
    text: &'a str,
    label: &'a Label,
    hits: u64,
}

/// Shows the policy that is in force, and what the guard and all mounts have made of it.
pub(super) fn run(args: &PolicyList) -> Result<()> {
    let loaded = Loaded::read()?.ok_or_else(|| failure(&Error::NotLoaded))?;
    let guard = Guard::open().map_err(|error| failure(&error))?;
    let mut report = Report::new(&loaded, guard.as_ref())?;
    let mounts = mounts::all()?;
    for (mounted, status) in mounts.iter().zip(channel::statuses(&mounts)) {
        if let Some(policy) = status.worker.and_then(|worker| worker.policy) {
            report.add(&policy);
        }
        report.add_hits(mounted);
    }
    if args.json { ui::print_json(&report) } else { ui::print(&report.lines()) }
}

/// Calls to the target that a mount is, by all programs, also those that the kernel served alone;
/// nothing where no guard counts them.
pub(crate) fn calls(dir: &Path) -> Option<u64> {
    let (guard, loaded) = (Guard::open().ok()??, Loaded::read().ok()??);
    let in_force = Handed::read(&file::open().ok()??).ok()?;
    let target = in_force.target(dir)?;
    (target < loaded.targets.len()).then(|| guard.calls(target)).flatten()
}

/// How often each rule decided or reported, by the guard and on all mounts.
pub(crate) fn hits<'a>(
    loaded: &'a Loaded,
    guard: Option<&Guard>,
    mounts: &[Mounted],
) -> Result<Vec<(&'a Rule, u64)>> {
    let mut report = Report::new(loaded, guard)?;
    mounts.iter().for_each(|mounted| report.add_hits(mounted));
    let hits = report.rules.iter().map(|rule| rule.hits);
    Ok(loaded.rules.iter().zip(hits).collect())
}

impl<'a> Report<'a> {
    fn new(loaded: &'a Loaded, guard: Option<&Guard>) -> Result<Self> {
        let counts = guard.map(Guard::counts).unwrap_or_default();
        let (hits, programs) = match guard {
            Some(guard) => (guard.hits(loaded.rules.len()), guard.programs()),
            None => (Ok(vec![0; loaded.rules.len()]), Ok(Vec::new())),
        };
        let hits = hits.map_err(|error| failure(&error))?;
        let rules = loaded.rules.iter().zip(hits);
        let targets = loaded
            .targets
            .iter()
            .enumerate()
            .map(|(index, name)| Calls { name, calls: guard.and_then(|guard| guard.calls(index)) });
        Ok(Self {
            file: &loaded.file,
            permissive: guard.is_some_and(Guard::is_permissive),
            table_bytes: guard.map_or(0, Guard::table_len),
            judged: counts.judged,
            denied: counts.denied,
            fenced: counts.fenced,
            undecidable: counts.undecidable,
            lost_reports: counts.lost,
            programs: programs.map_err(|error| failure(&error))?,
            targets: targets.collect(),
            rules: rules
                .map(|(rule, hits)| Hits {
                    line: rule.line,
                    text: &rule.text,
                    label: &rule.label,
                    hits,
                })
                .collect(),
        })
    }

    /// Adds what the host of a mount says.
    fn add(&mut self, host: &PolicyStatus) {
        self.judged += host.judged;
        self.denied += host.denied;
        self.undecidable += host.undecidable;
        self.permissive |= host.permissive;
    }

    /// Adds how often the host of a mount decided by each rule; nothing if it does not say.
    fn add_hits(&mut self, mounted: &Mounted) {
        let mut done = 0;
        while let Some(rest) = self.rules.get_mut(done..) {
            let reply = control::ask_supervisor(mounted, Command::Hits { from: done });
            let Some(Reply::Hits(hits)) = reply.filter(|_| !rest.is_empty()) else { return };
            if hits.is_empty() {
                return;
            }
            rest.iter_mut().zip(&hits).for_each(|(rule, hits)| rule.hits += hits);
            done += hits.len();
        }
    }
}

impl Report<'_> {
    fn lines(&self) -> String {
        let mode = if self.permissive { "reports only" } else { "in force" };
        let mut text = format!(
            "{}: {mode}, {} programs, {} in the kernel\n\
             {} calls judged, {} denied, {} refused to protect stores, {} undecidable, {} reports lost\n",
            self.file.display(),
            self.programs.len(),
            ui::size(self.table_bytes as u64),
            self.judged,
            self.denied,
            self.fenced,
            self.undecidable,
            self.lost_reports
        );
        for target in &self.targets {
            let calls = target.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string());
            text += &format!("target {}: {calls} calls\n", target.name);
        }
        for rule in &self.rules {
            let said = rule.text.split_whitespace().collect::<Vec<_>>().join(" ");
            text += &format!("{:>10}  {}: {said}\n", rule.hits, rule.line);
        }
        text
    }
}
