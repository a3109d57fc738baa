//! Commands that extensions bring. `hsci VERB ...` becomes their program, which parses, helps and completes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use hsci_command::completion::VARIABLE;
use hsci_host::failure::{Exit, Failure};

use crate::{Result, cli, extension_program};

/// Goes on as the program of the extension that has the command, if it is none of ours. If no extension has it either,
/// returns what all of them bring.
pub(crate) fn run(arguments: &[OsString]) -> Result<Option<Verbs>> {
    let words: Vec<_> = arguments.iter().skip(1).map(OsString::as_os_str).collect();
    let (name, rest) = match words.as_slice() {
        [help, name] if *help == "help" => (*name, vec![OsStr::new("--help")]),
        [help, name, below] if *help == "help" => (*name, vec![*below, OsStr::new("--help")]),
        [name, rest @ ..] => (*name, rest.to_vec()),
        [] => return Ok(None),
    };
    let Some(name) = not_ours(name) else { return Ok(None) };
    let mut known = find(name);
    let Some(Verb { program, .. }) = known.remove(name) else { return Ok(Some(known)) };
    let error = Command::new(&program).args(["verb", "--", name]).args(rest).exec();
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
    let Some(name) = not_ours(name) else { return };
    if let Some(Verb { program, .. }) = find(name).remove(name) {
        let _ = Command::new(program).args(["complete", name, "--"]).args(asked).exec();
    }
}

/// Commands that extensions bring, by their names.
pub(crate) type Verbs = BTreeMap<String, Verb>;

/// A command that an extension brings.
pub(crate) struct Verb {
    /// What it does, one line.
    pub(crate) about: String,
    /// The program that carries it out.
    pub(crate) program: PathBuf,
}

/// All that some programs bring.
pub(crate) fn all(programs: impl IntoIterator<Item = (String, PathBuf)>) -> Verbs {
    ask(programs, None)
}

/// What installed programs bring: all of them, or those up to the one whose extension's own the command is. That of the
/// usual extension is asked first.
fn find(name: &str) -> Verbs {
    let mut programs: Vec<_> = extension_program::installed().into_iter().collect();
    programs.sort_by_key(|(own, _)| own != cli::DEFAULT_EXTENSION);
    ask(programs, Some(name))
}

/// Asks one program after another what it brings. A command is its extension's own in the program that is called after
/// that; others may hold the extension as well.
fn ask(programs: impl IntoIterator<Item = (String, PathBuf)>, wanted: Option<&str>) -> Verbs {
    let mut verbs = Verbs::new();
    for (own, program) in programs {
        for described in extension_program::describe(&program) {
            let is_own = described.name == own;
            for brought in described.verbs {
                if is_own || !verbs.contains_key(&brought.name) {
                    let is_wanted = is_own && wanted == Some(brought.name.as_str());
                    let verb = Verb { about: brought.about, program: program.clone() };
                    verbs.insert(brought.name, verb);
                    if is_wanted {
                        return verbs;
                    }
                }
            }
        }
    }
    verbs
}

/// A word that may be the name of a command that an extension brings.
fn not_ours(word: &OsStr) -> Option<&str> {
    let name = word.to_str().filter(|name| !name.starts_with('-') && *name != "help")?;
    cli::command().find_subcommand(name).is_none().then_some(name)
}
