//! `hsci upgrade`.

use std::process::{Command, Stdio};

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor;

use crate::cli::Upgrade;
use crate::{Result, control, extension_program, ui};

/// Has the extension's program that is installed now serve a mount.
pub(crate) fn run(args: &Upgrade) -> Result<()> {
    let dir = &args.dir;
    control::require_mount(dir)?;
    let question = "status";
    let answer = control::ask(dir, question).map_err(|errno| control::of_path(dir, errno))?;
    let status: serde_json::Value = control::parse(dir, question, &answer)?;
    refuse_broken(status["extensions"][0].as_str().unwrap_or_default())?;
    let status = supervisor::upgrade(dir)?;
    // The kernel names a program so that has been replaced since it was started.
    if status["program"].as_str().is_none_or(|program| program.ends_with(" (deleted)")) {
        let log = status["log"].as_str().unwrap_or("its standard error");
        let text = format!(
            "{}: the new program could not take over, the old one goes on; {log} says why",
            dir.display()
        );
        return Err(Failure::new(Exit::Internal, text));
    }
    let version = status["version"].as_str().unwrap_or("?");
    ui::print(&format!("{}: worker {}, version {version}\n", dir.display(), status["workers"]))
}

/// The worker that serves is not stopped for a program that cannot even tell its name.
fn refuse_broken(extension: &str) -> Result<()> {
    let program = extension_program::find(extension)?;
    let described = Command::new(&program).arg("describe").stdin(Stdio::null()).output();
    let problem = match described {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => output.status.to_string(),
        Err(error) => error.to_string(),
    };
    let text = format!("{}: {problem}; the program that serves goes on", program.display());
    Err(Failure::new(Exit::Missing, text))
}
