//! `hsci check` and `hsci export`: what needs no mount. A program of the extensions that made the
//! store does the work.

use std::io::BufReader;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use hsci_host::failure::{Exit, Failure, printable};
use hsci_host::place;
use hsci_host::supervisor::StoreFile;
use hsci_protocol::check::{CheckEvent, CheckFinding, Checked, Offline, Severity};
use hsci_protocol::line::{receive_buffered, send};
use serde::Serialize;

use crate::cli::{Check, DEFAULT_EXTENSION, Export, Made};
use crate::mount_options::MountOptions;
use crate::{Result, control, extension_program, option_values, ui};

/// The extensions that made a store, the topmost first; none if the directory has no mark of a store.
fn stack_of(lower: &Path) -> Result<Vec<String>> {
    let place = place::open_dir(lower)?;
    let root = place.read().map_err(|errno| control::of_path(lower, errno))?;
    if control::is_mount(lower) {
        let text = format!("{}: is mounted; `hsci unmount` it first", lower.display());
        return Err(Failure::new(Exit::InUse, text));
    }
    let store = StoreFile::read(&root).map_err(|failure| failure.of(lower))?;
    let keepers = store.map(|store| store.keepers()).unwrap_or_default();
    Ok(keepers.into_iter().map(|keeper| keeper.extension).collect())
}

/// A program that works on a store, and what it is to be given on standard input.
struct Task {
    command: Command,
    store: Offline,
}

impl Task {
    /// `otherwise` is for a directory that does not say what made it.
    fn new(
        name: &str,
        lower: &Path,
        made: &Made,
        otherwise: impl FnOnce() -> Result<String>,
    ) -> Result<Self> {
        let options = MountOptions::parse(&made.options)?;
        let given = [made.extensions.as_slice(), &options.extensions].concat();
        let (extensions, found) = match (given.is_empty(), stack_of(lower)?) {
            (false, _) => (given.clone(), extension_program::find_stack(&given)),
            (true, stack) if stack.is_empty() => {
                let stack = vec![otherwise()?];
                (stack.clone(), extension_program::find_stack(&stack))
            }
            (true, stack) => (stack.clone(), extension_program::find_for_store(&stack)),
        };
        let (program, described) = found.map_err(|failure| {
            Failure::new(Exit::Store, format!("{}: {failure}", lower.display()))
        })?;
        if described.is_empty() {
            let text =
                format!("{}: does not say what it holds; install it again", program.display());
            return Err(Failure::new(Exit::Internal, text));
        }
        let options = option_values::resolve(options.own, &described)?;
        let (lower, progress) = (control::absolute(lower)?, ui::is_watched());
        let mut command = Command::new(program);
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self { command, store: Offline { lower, extensions, options, progress } })
    }

    /// Runs it, and gives what it reports; `what` it does is shown where somebody watches.
    fn run(
        &mut self,
        what: &'static str,
        mut listen: impl FnMut(CheckEvent),
    ) -> Result<ExitStatus> {
        let mut run = || {
            let mut child = self.command.spawn()?;
            let (to, from) = (child.stdin.take(), child.stdout.take());
            // One that has failed already says why.
            let _ = send(to.expect("it was asked for"), &self.store);
            let bar = ui::bar(what);
            let mut events = BufReader::new(from.expect("it was asked for"));
            while let Some(event) = receive_buffered(&mut events)? {
                match event {
                    CheckEvent::Total(bytes) => bar.set_total(bytes),
                    CheckEvent::Progress(bytes) => bar.inc(bytes),
                    event => listen(event),
                }
            }
            bar.finish_and_clear();
            child.wait()
        };
        run().map_err(|error: std::io::Error| not_run(&self.command, &error))
    }
}

fn not_run(command: &Command, error: &std::io::Error) -> Failure {
    let program = Path::new(command.get_program()).display();
    Failure::new(Exit::Internal, format!("{program}: {error}"))
}

/// A program that failed has said why on standard error: its exit code is ours.
fn judge(command: &Command, status: ExitStatus) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::new(Exit::from_code(u8::try_from(code).unwrap_or(u8::MAX)), "")),
        None => Err(not_run(command, &std::io::Error::other(format!("ended by {status}")))),
    }
}

/// Copies a store, or a part of it, to plain files.
pub(crate) fn export(args: &Export) -> Result<()> {
    let (lower, path, dest) = args.parts();
    refuse_inside(lower, dest)?;
    // Files say themselves how they are stored: a store that has lost its mark can still be read.
    let mut task = Task::new("export", lower, &args.made, || Ok(DEFAULT_EXTENSION.to_owned()))?;
    task.command.arg(path.unwrap_or(Path::new("."))).arg(dest);
    task.command.args(args.privileged.then_some("--privileged"));
    let status = task.run("exporting", |_| {})?;
    judge(&task.command, status)
}

/// A copy inside of what is copied would have no end.
fn refuse_inside(lower: &Path, dest: &Path) -> Result<()> {
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = place::look(parent.unwrap_or(Path::new(".")))?;
    if !parent.path().starts_with(place::look(lower)?.path()) {
        return Ok(());
    }
    let text =
        format!("{}: lies inside {}; name a place elsewhere", dest.display(), lower.display());
    Err(Failure::new(Exit::Usage, text))
}

/// The result of a check, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "ui::lossy")]
    lower: &'a Path,
    /// False if the check ended early.
    complete: bool,
    findings: Vec<CheckFinding>,
    #[serde(flatten)]
    checked: Checked,
}

impl Report<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        for CheckFinding { severity, path, text: what } in &self.findings {
            let (path, what) = (printable(path), printable(what));
            text += &format!("{}: {path}: {what}\n", severity.name());
        }
        let (verified, unverified) =
            (ui::size(self.checked.verified_bytes), ui::size(self.checked.unverified_bytes));
        text += &format!(
            "{}: {verified} verified, {unverified} stored without checksums\n",
            ui::counted(self.checked.files, "file")
        );
        match self.count(Severity::Lost) {
            0 => text,
            lost => text + &ui::counted(lost as u64, "place") + " lost; the rest is whole\n",
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Verifies a store, and prints what was found.
pub(crate) fn check(args: &Check) -> Result<()> {
    let lower = args.lower.as_path();
    let mut task = Task::new("check", lower, &args.made, || Err(no_store(lower)))?;
    task.command.args(args.repair.then_some("--repair"));
    let shown = control::absolute(lower)?;
    let mut report = Report {
        lower: &shown,
        complete: false,
        findings: Vec::new(),
        checked: Checked::default(),
    };
    let status =
        task.run(if args.repair { "repairing" } else { "checking" }, |event| match event {
            CheckEvent::Finding(finding) => report.findings.push(finding),
            CheckEvent::Checked(checked) => (report.complete, report.checked) = (true, checked),
            CheckEvent::Total(_) | CheckEvent::Progress(_) => {}
        })?;
    if report.complete {
        if args.json {
            ui::print_json(&report)?;
        } else {
            ui::print(&report.text())?;
        }
    }
    match report.count(Severity::Damage) {
        0 if report.complete || !status.success() => judge(&task.command, status),
        0 => Err(not_run(&task.command, &std::io::Error::other("it ended before the check did"))),
        damages => {
            let lower = lower.display();
            let what_next = match args.repair {
                true => {
                    " could not be repaired; overwrite these files, or restore them from a backup"
                }
                false => {
                    "; `hsci export` saves what can be read, --repair drops what the extension knows \
                     to be damaged"
                }
            };
            let damages = ui::counted(damages as u64, "place");
            let text = format!("{lower}: damage in {damages}{what_next}");
            Err(Failure::new(Exit::No, text))
        }
    }
}

fn no_store(lower: &Path) -> Failure {
    let text = format!(
        "{}: no store, for it has no `.hsci`; name the directory that stores the files, or with \
         --extension what made a store that has lost it",
        lower.display()
    );
    Failure::new(Exit::Missing, text)
}
