//! What a shell offers for an argument, found out when it is asked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};
use clap_complete::env::{CompleteEnv, Shells};
use hsci_host::mounts;

/// A variable of this name, set to a shell's, makes these programs answer that shell's questions.
pub const VARIABLE: &str = "HSCI_COMPLETE";

/// Answers a shell, and ends the process, if it is a shell that calls.
pub fn answer_shell(command: impl Fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The script that makes a shell ask the program `hsci`.
#[must_use]
pub fn script(shell: &str) -> Vec<u8> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell).expect("a shell of the list");
    let written = shell.write_registration(VARIABLE, "hsci", "hsci", "hsci", &mut script);
    written.expect("a vector takes everything");
    script
}

/// Directories that are mounted, or any directory where none begins so.
#[must_use]
pub fn mounts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let dirs = mounts::all().unwrap_or_default().into_iter().map(|mounted| mounted.dir);
        let here = std::env::current_dir().unwrap_or_default();
        let mounts = beginning_with(current, dirs, &here);
        if mounts.is_empty() { PathCompleter::dir().complete(current) } else { mounts }
    })
}

/// The paths that a word begins, written as the word is: absolute, or relative to `here`.
fn beginning_with(
    word: &OsStr,
    paths: impl Iterator<Item = PathBuf>,
    here: &Path,
) -> Vec<CompletionCandidate> {
    let as_written = |path: PathBuf| match path.strip_prefix(here) {
        Ok(below) if !word.is_empty() && !Path::new(word).is_absolute() => below.to_owned(),
        _ => path,
    };
    let paths = paths.map(as_written);
    let begun = paths.filter(|path| path.as_os_str().as_bytes().starts_with(word.as_bytes()));
    begun.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(word: &str) -> Vec<String> {
        let mounts = ["/srv/mail", "/home/a/logs", "/home/a/lots"].map(PathBuf::from);
        let offered = beginning_with(OsStr::new(word), mounts.into_iter(), Path::new("/home/a"));
        let text = |one: &CompletionCandidate| one.get_value().to_string_lossy().into_owned();
        offered.iter().map(text).collect()
    }

    #[test]
    fn mounts_are_offered_as_the_word_is_written() {
        assert_eq!(offered("").len(), 3);
        assert_eq!(offered("/s"), ["/srv/mail"]);
        assert_eq!(offered("log"), ["logs"]);
        assert_eq!(offered("/home/a/log"), ["/home/a/logs"]);
        assert!(offered("x").is_empty());
    }
}
