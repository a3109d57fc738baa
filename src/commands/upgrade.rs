//! `hsci upgrade`.

use std::process::{Command, Stdio};

use hsci_host::control as channel;
use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor;

use crate::cli::Upgrade;
use crate::{Result, control, extension_program, ui};

/// Has the extension's program that is installed now serve a mount.
pub(crate) fn run(args: &Upgrade) -> Result<()> {
    let dir = &args.dir;
    let mounted = control::require_mount(dir)?;
    let status = channel::statuses(&[mounted]).pop().expect("one for each");
    let extensions = status.supervisor.map(|supervisor| supervisor.extensions).unwrap_or_default();
    if !extensions.is_empty() {
        refuse_broken(&extensions)?;
    }
    let status = supervisor::upgrade(dir)?;
    let supervisor = status.supervisor.unwrap_or_default();
    let worker = status.worker.unwrap_or_default();
    // The kernel names a program so that has been replaced since it was started.
    let program = worker.program.as_ref().and_then(|program| program.to_str());
    if program.is_none_or(|program| program.ends_with(" (deleted)")) {
        let log =
            supervisor.log.map_or("its standard error".to_owned(), |log| log.display().to_string());
        let text = format!(
            "{}: the new program could not take over, the old one goes on; {log} says why",
            dir.display()
        );
        return Err(Failure::new(Exit::Internal, text));
    }
    let (workers, version) = (supervisor.workers, worker.version);
    ui::print(&format!("{}: worker {workers}, version {version}\n", dir.display()))
}

/// The worker that serves is not stopped for a program that cannot even tell its name.
fn refuse_broken(extensions: &[String]) -> Result<()> {
    let (program, _) = extension_program::find_stack(extensions)?;
    let described = Command::new(&program).arg("describe").stdin(Stdio::null()).output();
    let problem = match described {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => output.status.to_string(),
        Err(error) => error.to_string(),
    };
    let text = format!("{}: {problem}; the program that serves goes on", program.display());
    Err(Failure::new(Exit::Missing, text))
}
