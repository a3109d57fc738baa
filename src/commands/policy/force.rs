//! `hsci policy load`, `unload` and `list`: the policy that is in force.

use std::fs;
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor;
use hsci_kernel::Error;
use hsci_kernel::guard::{Guard, Options, UNSEEN};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Reviewed;
use crate::cli::{PolicyList, PolicyLoad};
use crate::{Result, control, ui};

/// What was loaded: only for people, the kernel has the tables.
const NOTE: &str = "/run/hsci/policy.json";

/// The policy in force, as it was written.
#[derive(Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Its file.
    pub(crate) file: PathBuf,
    /// Names of its targets.
    targets: Vec<String>,
    /// Its rules.
    rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
struct Rule {
    line: usize,
    text: String,
}

impl Loaded {
    fn new(file: &Path, text: &str, policy: &hsci_language::Policy) -> Self {
        let rule = |rule: &hsci_language::policy::Rule| Rule {
            line: rule.span.line(text),
            text: text.get(rule.span.range()).unwrap_or_default().to_owned(),
        };
        Self {
            file: fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()),
            targets: policy.targets.iter().map(|target| target.name.clone()).collect(),
            rules: policy.rules.iter().map(rule).collect(),
        }
    }

    /// What the last load left.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(NOTE).map_err(|error| of_note(&error))?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(Exit::Internal, format!("{NOTE}: {error}")))
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string(self).expect("our own types are valid JSON");
        let dir = Path::new(NOTE).parent().expect("the note lies in a directory");
        let written = fs::create_dir_all(dir)
            .and_then(|()| fs::write(Path::new(NOTE).with_extension("new"), text))
            .and_then(|()| fs::rename(Path::new(NOTE).with_extension("new"), NOTE));
        written.map_err(|error| of_note(&error))
    }

    /// A rule for people: its place, and what it says.
    pub(crate) fn rule(&self, index: u32) -> String {
        let Some(rule) = self.rules.get(index as usize) else { return format!("rule {index}") };
        let text = rule.text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{}:{}: {text}", self.file.display(), rule.line)
    }
}

fn of_note(error: &std::io::Error) -> Failure {
    control::of_path(Path::new(NOTE), Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// Why the kernel cannot do it, and what works all the same.
pub(crate) fn failure(error: &Error) -> Failure {
    match error {
        Error::NotRoot => Failure::new(
            Exit::Impossible,
            "only root may; `hsci policy check`, `explain` and `test` work without",
        ),
        Error::NotLoaded => {
            Failure::new(Exit::Missing, "no policy is loaded; `hsci policy load FILE` loads one")
        }
        Error::TooLarge => Failure::new(Exit::No, error.to_string()),
        Error::Types(_) | Error::Object(_) | Error::Program { .. } => {
            Failure::new(Exit::Impossible, format!("{error}; `hsci doctor` tells what is missing"))
        }
        _ => Failure::new(Exit::Internal, error.to_string()),
    }
}

/// Puts a policy in force.
pub(super) fn load(args: &PolicyLoad) -> Result<()> {
    let reviewed = Reviewed::new(&args.file)?;
    let Some((policy, tables)) = &reviewed.usable else {
        return Err(reviewed.failure(&args.file));
    };
    let unseen = unseen(&reviewed.text, policy);
    if !unseen.is_empty() && !args.allow_partial {
        let text = format!(
            "{}: line {}: the kernel does not show `{}` by itself; judge `write-data`, or use \
             --allow-partial",
            args.file.display(),
            unseen[0].0,
            unseen[0].1
        );
        return Err(Failure::new(Exit::Impossible, text));
    }
    let options = Options { permissive: args.permissive, allow_partial: args.allow_partial };
    let (guard, missing) = Guard::load(tables, options).map_err(|error| failure(&error))?;
    Loaded::new(&args.file, &reviewed.text, policy).write()?;
    for (line, operation) in &unseen {
        ui::print(&format!("{}:{line}: not judged: {operation}\n", args.file.display()))?;
    }
    for line in missing {
        ui::print(&format!("{line}\n"))?;
    }
    for mount in supervisor::renew_seals(!args.permissive)? {
        let word = |name: &str| mount[name].as_str().unwrap_or("?");
        ui::print(&format!("{}: store not sealed: {}\n", word("dir"), word("sealed_reason")))?;
    }
    let mode = if args.permissive { "reports only" } else { "in force" };
    let size = ui::size(guard.table_len() as u64);
    ui::print(&format!(
        "{}: {mode}: {} rules, {size} in the kernel\n",
        args.file.display(),
        policy.rules.len()
    ))
}

/// Rules about operations that no hook sees: line and operation. Groups are not meant by this, as
/// they hold what implies them.
fn unseen<'a>(text: &str, policy: &hsci_language::Policy) -> Vec<(usize, &'a str)> {
    let all = UNSEEN.iter().filter_map(|name| {
        hsci_language::Operations::parse(name).map(|operations| (*name, operations))
    });
    let mut found = Vec::new();
    for (name, operation) in all {
        let alone = policy.rules.iter().filter(|rule| operation.covers(rule.operations));
        found.extend(alone.map(|rule| (rule.span.line(text), name)));
    }
    found.sort_unstable();
    found
}

/// Ends the policy that is in force.
pub(super) fn unload() -> Result<()> {
    loaded()?.unload().map_err(|error| failure(&error))?;
    // Without the note, nothing is lost but its text.
    let _ = fs::remove_file(NOTE);
    // What a mount says of its store meanwhile is what it was told last.
    supervisor::renew_seals(false).map(drop)
}

fn loaded() -> Result<Guard> {
    let guard = Guard::open().map_err(|error| failure(&error))?;
    guard.ok_or_else(|| failure(&Error::NotLoaded))
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    permissive: bool,
    table_bytes: usize,
    judged: u64,
    denied: u64,
    sealed: u64,
    unfit: u64,
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
    hits: u64,
}

/// Shows the policy that is in force.
pub(super) fn list(args: &PolicyList) -> Result<()> {
    let guard = loaded()?;
    let loaded = Loaded::read()?;
    let hits = guard.hits(loaded.rules.len()).map_err(|error| failure(&error))?;
    let counts = guard.counts();
    let report = Report {
        file: &loaded.file,
        permissive: guard.is_permissive(),
        table_bytes: guard.table_len(),
        judged: counts.judged,
        denied: counts.denied,
        sealed: counts.sealed,
        unfit: counts.unfit,
        lost_reports: counts.lost,
        programs: guard.programs().map_err(|error| failure(&error))?,
        targets: calls(&guard, &loaded.targets),
        rules: loaded
            .rules
            .iter()
            .zip(hits)
            .map(|(rule, hits)| Hits { line: rule.line, text: &rule.text, hits })
            .collect(),
    };
    if args.json { ui::print_json(&report) } else { ui::print(&report.lines()) }
}

fn calls<'a>(guard: &Guard, targets: &'a [String]) -> Vec<Calls<'a>> {
    let targets = targets.iter().enumerate();
    targets.map(|(index, name)| Calls { name, calls: guard.calls(index) }).collect()
}

impl Report<'_> {
    fn lines(&self) -> String {
        let mode = if self.permissive { "reports only" } else { "in force" };
        let mut text = format!(
            "{}: {mode}, {} programs, {} in the kernel\n\
             {} calls judged, {} denied, {} refused to protect stores, {} unfit, {} reports lost\n",
            self.file.display(),
            self.programs.len(),
            ui::size(self.table_bytes as u64),
            self.judged,
            self.denied,
            self.sealed,
            self.unfit,
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
