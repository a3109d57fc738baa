//! Commands that extensions bring. `hsci VERB ...` becomes their program, which parses, helps and completes.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use hsci_command::completion::VARIABLE;
use hsci_host::failure::{Exit, Failure};

use crate::{Result, cli, extension_program};

/// Goes on as the program of the extension that has the command, if it is none of ours.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    let words: Vec<_> = arguments.iter().skip(1).map(OsString::as_os_str).collect();
    let (name, rest) = match words.as_slice() {
        [help, name] if *help == "help" => (*name, vec![OsStr::new("--help")]),
        [help, name, below] if *help == "help" => (*name, vec![*below, OsStr::new("--help")]),
        [name, rest @ ..] => (*name, rest.to_vec()),
        [] => return Ok(()),
    };
    let Some((name, program)) = find(name) else { return Ok(()) };
    let error = Command::new(&program).arg("verb").arg("--").arg(name).args(rest).exec();
    Err(Failure::new(Exit::Internal, format!("{}: {error}", program.display())))
}

/// The same for a shell that asks what could follow such a command.
pub(crate) fn answer_shell(arguments: &[OsString]) {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let asked: Vec<_> = arguments.iter().skip_while(|word| *word != "--").skip(1).collect();
    // The last word is the one to be completed: the name itself is ours to offer.
    let [_, name, _, ..] = asked.as_slice() else { return };
    if let Some((name, program)) = find(name) {
        let _ = Command::new(program).args(["complete", &name, "--"]).args(asked).exec();
    }
}

fn find(name: &OsStr) -> Option<(String, PathBuf)> {
    let name = name.to_str().filter(|name| !name.starts_with('-') && *name != "help")?;
    let is_ours = cli::command().find_subcommand(name).is_some();
    let verb = if is_ours { None } else { extension_program::verbs().remove(name) };
    Some((name.to_owned(), verb?.program))
}
