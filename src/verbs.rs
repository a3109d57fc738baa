//! Commands that extensions bring. `hsci VERB ...` becomes their program, which parses, helps and completes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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
    let Some(Verb { name, program, .. }) = find(name) else { return Ok(()) };
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
    if let Some(Verb { name, program, .. }) = find(name) {
        let _ = Command::new(program).args(["complete", &name, "--"]).args(asked).exec();
    }
}

/// A command that an extension brings.
pub(crate) struct Verb {
    pub(crate) name: String,
    /// What it does, one line.
    pub(crate) about: String,
    /// The program that carries it out.
    pub(crate) program: PathBuf,
}

/// All such commands of some programs, by their names.
pub(crate) fn all(programs: BTreeMap<String, PathBuf>) -> BTreeMap<String, Verb> {
    let mut all = BTreeMap::new();
    for (own, program) in programs {
        for (is_own, verb) in brought(&own, &program) {
            if is_own || !all.contains_key(&verb.name) {
                all.insert(verb.name.clone(), verb);
            }
        }
    }
    all
}

/// What a program brings, and whether it is its extension's own rather than one that holds it as well.
fn brought(own: &str, program: &Path) -> impl Iterator<Item = (bool, Verb)> {
    extension_program::describe(program).into_iter().flat_map(move |described| {
        let is_own = described.name == own;
        described.verbs.into_iter().map(move |verb| {
            (is_own, Verb { name: verb.name, about: verb.about, program: program.to_owned() })
        })
    })
}

/// The one of a name: programs are asked until its extension's own is found, that of the usual extension first.
fn find(name: &OsStr) -> Option<Verb> {
    let name = name.to_str().filter(|name| !name.starts_with('-') && *name != "help")?;
    if cli::command().find_subcommand(name).is_some() {
        return None;
    }
    let mut programs: Vec<_> = extension_program::installed().into_iter().collect();
    programs.sort_by_key(|(own, _)| own != cli::DEFAULT_EXTENSION);
    let mut held = None;
    for (own, program) in programs {
        let mut found = brought(&own, &program).filter(|(_, verb)| verb.name == name);
        match found.next() {
            Some((true, verb)) => return Some(verb),
            Some((false, verb)) => held = held.or(Some(verb)),
            None => {}
        }
    }
    held
}
