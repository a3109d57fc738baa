//! `hsci check` and `hsci export`: what needs no mount. The program of the extension that made the
//! store does the work.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_host::supervisor::StoreFile;
use hsci_protocol::check::{CheckEvent, CheckFinding, Checked, Severity};
use rustix::io::Errno;
use serde::Serialize;

use crate::cli::{Check, DEFAULT_EXTENSION, Export};
use crate::{Result, control, extension_program, ui};

/// The extension that made a store; nothing if the directory has no mark of a store.
fn extension_of(lower: &Path) -> Result<Option<String>> {
    let place = place::open_dir(lower)?;
    let root = place.read().map_err(|errno| control::of_path(lower, errno))?;
    if control::is_mount(lower) {
        let text = format!("{}: is mounted; `hsci unmount` it first", lower.display());
        return Err(Failure::new(Exit::InUse, text));
    }
    let store = StoreFile::read(&root).map_err(|failure| failure.of(lower))?;
    Ok(store.map(|store| store.extension))
}

/// The program that works on a store, with the first of its arguments.
fn program(task: &str, lower: &Path, extension: &str) -> Result<Command> {
    let program = extension_program::find_for_store(extension)
        .map_err(|failure| Failure::new(Exit::Store, format!("{}: {failure}", lower.display())))?;
    let mut command = Command::new(program);
    command.arg(task).arg(lower).arg(extension);
    Ok(command)
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
    let extension = extension_of(lower)?.unwrap_or_else(|| DEFAULT_EXTENSION.to_owned());
    let mut command = program("export", lower, &extension)?;
    command.arg(path.unwrap_or(Path::new("."))).arg(dest);
    command.args(args.privileged.then_some("--privileged"));
    let progress = ui::spinner("exporting");
    let status = command.stdin(Stdio::null()).status();
    progress.finish_and_clear();
    judge(&command, status.map_err(|error| not_run(&command, &error))?)
}

/// A copy inside of what is copied would have no end.
fn refuse_inside(lower: &Path, dest: &Path) -> Result<()> {
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
    if !resolve(parent.unwrap_or(Path::new(".")))?.starts_with(resolve(lower)?) {
        return Ok(());
    }
    let text =
        format!("{}: lies inside {}; name a place elsewhere", dest.display(), lower.display());
    Err(Failure::new(Exit::Usage, text))
}

fn resolve(path: &Path) -> Result<PathBuf> {
    let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    path.canonicalize().map_err(|error| control::of_path(path, errno(error)))
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
            text += &format!("{}: {path}: {what}\n", severity.name());
        }
        let (verified, unverified) =
            (ui::size(self.checked.verified_bytes), ui::size(self.checked.unverified_bytes));
        text + &format!(
            "{} files: {verified} verified, {unverified} stored without checksums\n",
            self.checked.files
        )
    }

    fn damages(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Damage).count()
    }
}

/// Verifies a store, and prints what was found.
pub(crate) fn check(args: &Check) -> Result<()> {
    let lower = args.lower.as_path();
    let found = extension_of(lower)?;
    let extension = args.extension.as_ref().or(found.as_ref()).ok_or_else(|| no_store(lower))?;
    let mut command = program("check", lower, extension)?;
    let (report, status) =
        listen(&mut command, lower).map_err(|error| not_run(&command, &error))?;
    if report.complete {
        if args.json {
            ui::print_json(&report)?;
        } else {
            ui::print(&report.text())?;
        }
    }
    match report.damages() {
        0 if report.complete || !status.success() => judge(&command, status),
        0 => Err(not_run(&command, &std::io::Error::other("it ended before the check did"))),
        damages => {
            let lower = lower.display();
            let text = format!(
                "{lower}: damage in {damages} places; `hsci export` saves what can be read, and overwriting mends"
            );
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

/// Runs the check and gathers what it says.
fn listen<'a>(command: &mut Command, lower: &'a Path) -> std::io::Result<(Report<'a>, ExitStatus)> {
    let mut report =
        Report { lower, complete: false, findings: Vec::new(), checked: Checked::default() };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().expect("it was asked for");
    let progress = ui::spinner("checking");
    let mut done = 0;
    for line in BufReader::new(out).lines() {
        match serde_json::from_str(&line?)? {
            CheckEvent::Progress(bytes) => {
                done += bytes;
                progress.set_message(ui::size(done));
            }
            CheckEvent::Finding(finding) => report.findings.push(finding),
            CheckEvent::Checked(checked) => report = Report { complete: true, checked, ..report },
        }
    }
    progress.finish_and_clear();
    Ok((report, child.wait()?))
}
