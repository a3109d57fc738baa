//! The extensions' programs: which there are, and what they say of themselves.

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor::check_contract;

use hsci_protocol::describe::Description;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::Result;
use places::{PREFIX, Search};

/// The program of an extension that the caller names: next to this program, or else on PATH.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    find_in(name, &Search::named())
}

/// A program that holds all extensions of a stack, and what it says of them, in the stack's order.
pub(crate) fn find_stack(stack: &[String]) -> Result<(PathBuf, Vec<Description>)> {
    find_stack_in(stack, &Search::named())
}

/// The same for the extensions that a store names, which whoever made the store has chosen.
pub(crate) fn find_for_store(stack: &[String]) -> Result<(PathBuf, Vec<Description>)> {
    find_stack_in(stack, &Search::unnamed())
}

/// Programs that are called after an extension of the stack come first; others may hold them as well.
fn find_stack_in(stack: &[String], search: &Search) -> Result<(PathBuf, Vec<Description>)> {
    if let Some(twice) = stack.iter().enumerate().find(|(at, name)| stack[..*at].contains(name)) {
        // Both would keep what they need in one place of the store.
        let text = format!("extension `{}`: stands twice in the stack", twice.1);
        return Err(Failure::new(Exit::Usage, text));
    }
    let own: Vec<PathBuf> =
        stack.iter().map(|name| find_in(name, search)).filter_map(Result::ok).collect();
    let others = || installed().into_values();
    let mut seen = BTreeSet::new();
    for program in own.iter().cloned().chain(std::iter::once_with(others).flatten()) {
        if !seen.insert(program.clone()) {
            continue;
        }
        let held = describe(&program);
        let of = |name: &String| held.iter().find(|one| one.name == *name).cloned();
        if let Some(described) = stack.iter().map(of).collect::<Option<Vec<_>>>() {
            check_contract(&described).map_err(|reason| {
                let text = format!("{}: {reason}", program.display());
                Failure::new(Exit::Usage, text)
            })?;
            return Ok((program, described));
        }
    }
    // Whichever is not there says so itself; a program that does not answer is reported where it is started.
    for name in stack {
        let program = find_in(name, search).map_err(|failure| unnamed(name, stack, failure))?;
        if let [_] = stack {
            return Ok((program, Vec::new()));
        }
    }
    let stack = stack.join(",");
    let text = format!(
        "extension `{stack}`: no program holds all of them; add them to the `run` of one, such as \
         `hsci new NAME --bundle compressfs` makes"
    );
    Err(Failure::new(Exit::Usage, text))
}

/// A program that would do if the caller named its extension.
fn unnamed(name: &str, stack: &[String], failure: Failure) -> Failure {
    let Some(program) = Search::named().program(name) else { return failure };
    let text = format!(
        "extension `{name}`: root runs no {} that only a store names; use --extension {}",
        program.display(),
        stack.join(",")
    );
    Failure::new(Exit::Usage, text)
}

fn find_in(name: &str, search: &Search) -> Result<PathBuf> {
    if !places::is_valid(name) {
        let text = format!("extension `{name}`: a name has letters, digits, `-` and `_` only");
        return Err(Failure::new(Exit::Usage, text));
    }
    search.program(name).ok_or_else(|| unknown(name))
}

/// What a program says of the extensions that it holds; nothing if it does not say.
pub(crate) fn describe(program: &Path) -> Vec<Description> {
    ask(program, &["describe"]).unwrap_or_default()
}

/// What an extension finds wrong with the value of an option; nothing if it takes it, or does not say.
pub(crate) fn value_fault(extension: &str, option: &str, value: &str) -> Option<String> {
    answer::<Option<String>>(extension, &["accept", extension, option, "--", value])?
}

/// What an extension's program answers; nothing if it does not.
pub(crate) fn answer<T: DeserializeOwned>(extension: &str, question: &[&str]) -> Option<T> {
    ask(&find(extension).ok()?, question)
}

/// How long a program may take to answer a question about itself.
const TIME_TO_ANSWER: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: usize = 1 << 20;

fn ask<T: DeserializeOwned>(program: &Path, question: &[&str]) -> Option<T> {
    let mut command = Command::new(program);
    let (none, nobody) = (Stdio::null(), Stdio::null());
    let asked = command.args(question).stdin(none).stderr(nobody).stdout(Stdio::piped()).spawn();
    let mut child = asked.ok()?;
    let text =
        child.stdout.take().and_then(|pipe| read_until(pipe, Instant::now() + TIME_TO_ANSWER));
    // It has said everything, or too little in time.
    let _ = child.kill();
    let _ = child.wait();
    serde_json::from_slice(&text?).ok()
}

/// All that comes out of a pipe, if that is not too much and its end comes in time. No thread, which would
/// have the pipe for longer than its answer is waited for.
fn read_until(mut pipe: ChildStdout, end: Instant) -> Option<Vec<u8>> {
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    while text.len() <= LONGEST_ANSWER {
        let rest = end.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&rest.try_into().ok()?)) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return None,
        }
        match pipe.read(&mut piece).ok()? {
            0 => return Some(text),
            length => text.extend_from_slice(&piece[..length]),
        }
    }
    None
}

/// Names of all extensions that have a program of their own. None of these is run.
pub(crate) fn names() -> BTreeSet<String> {
    Search::named().programs().into_keys().collect()
}

/// The programs of extensions that can be asked although nobody has named one, by the names of these.
pub(crate) fn installed() -> BTreeMap<String, PathBuf> {
    Search::unnamed().programs()
}

/// Those beside this program, which are installed with it.
pub(crate) fn shipped() -> BTreeMap<String, PathBuf> {
    Search::beside().programs()
}

fn unknown(name: &str) -> Failure {
    let names = names();
    let similar = similar(name, names.iter().map(String::as_str));
    let way_out = match similar {
        Some(similar) => format!("did you mean `{similar}`?"),
        None if names.is_empty() => {
            format!("its program `{PREFIX}{name}` is neither next to hsci nor on PATH")
        }
        None => format!("there are: {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    };
    Failure::new(Exit::Usage, format!("extension `{name}`: not found; {way_out}"))
}

/// The known word that was probably meant.
pub(crate) fn similar<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(score, _)| *score > 0.8).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_directory() {
        for name in ["", "../x", "a/b", "a b", "ä"] {
            assert_eq!(find(name).expect_err(name).exit, Exit::Usage);
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        let known = ["compressfs", "nullfs"];
        assert_eq!(similar("compresfs", known.into_iter()), Some("compressfs"));
        assert_eq!(similar("nulfs", known.into_iter()), Some("nullfs"));
        assert_eq!(similar("versions", known.into_iter()), None);
    }
}
