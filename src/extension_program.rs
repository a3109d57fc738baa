//! Where the extensions' programs are.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use hsci_extension::protection;
use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor::check_contract;

use hsci_protocol::describe::Description;
use serde::de::DeserializeOwned;

use crate::Result;

/// The program of the extension NAME is called this and NAME.
const PREFIX: &str = "hsci-extension-";

/// The program of an extension: next to this program, or else on PATH.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    find_in(name, &directories())
}

/// A program that holds all extensions of a stack, and what it says of them, in the stack's order.
pub(crate) fn find_stack(stack: &[String]) -> Result<(PathBuf, Vec<Description>)> {
    find_stack_in(stack, &directories())
}

/// The same for the extensions that a store names. Whoever made the store chooses the names, so root
/// looks only where root's programs are.
pub(crate) fn find_for_store(stack: &[String]) -> Result<(PathBuf, Vec<Description>)> {
    if !rustix::process::geteuid().is_root() || !protection::stands("store-programs") {
        return find_stack(stack);
    }
    let directories = own_directory().into_iter().chain(SYSTEM.map(PathBuf::from));
    find_stack_in(stack, &directories.collect::<Vec<_>>())
}

/// Programs that are called after an extension of the stack come first; others may hold them as well.
fn find_stack_in(stack: &[String], directories: &[PathBuf]) -> Result<(PathBuf, Vec<Description>)> {
    if let Some(twice) = stack.iter().enumerate().find(|(at, name)| stack[..*at].contains(name)) {
        // Both would keep what they need in one place of the store.
        let text = format!("extension `{}`: stands twice in the stack", twice.1);
        return Err(Failure::new(Exit::Usage, text));
    }
    let own: Vec<PathBuf> =
        stack.iter().map(|name| find_in(name, directories)).filter_map(Result::ok).collect();
    let others = || programs(directories).into_values();
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
        let program = find_in(name, directories)?;
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

/// Where programs of the system are installed.
const SYSTEM: [&str; 4] = ["/usr/local/lib/hsci", "/usr/local/bin", "/usr/lib/hsci", "/usr/bin"];

fn find_in(name: &str, directories: &[PathBuf]) -> Result<PathBuf> {
    if !is_valid(name) {
        let text = format!("extension `{name}`: a name has letters, digits, `-` and `_` only");
        return Err(Failure::new(Exit::Usage, text));
    }
    let program = format!("{PREFIX}{name}");
    let mut candidates = directories.iter().map(|directory| directory.join(&program));
    candidates.find(|path| is_program(path)).ok_or_else(|| unknown(name))
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
const LONGEST_ANSWER: u64 = 1 << 20;

fn ask<T: DeserializeOwned>(program: &Path, question: &[&str]) -> Option<T> {
    let mut command = Command::new(program);
    let (none, nobody) = (Stdio::null(), Stdio::null());
    let asked = command.args(question).stdin(none).stderr(nobody).stdout(Stdio::piped()).spawn();
    let mut child = asked.ok()?;
    let mut pipe = child.stdout.take()?.take(LONGEST_ANSWER);
    let (end, ended) = channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = pipe.read_to_end(&mut text);
        let _ = end.send(text);
    });
    let text = ended.recv_timeout(TIME_TO_ANSWER);
    // It has said everything, or too little in time.
    let _ = child.kill();
    let _ = child.wait();
    serde_json::from_slice(&text.ok()?).ok()
}

/// A command that an extension brings.
pub(crate) struct Verb {
    /// What it does, one line.
    pub(crate) about: String,
    /// The program that carries it out.
    pub(crate) program: PathBuf,
}

/// All such commands of the extensions that are installed, by their names.
pub(crate) fn verbs() -> BTreeMap<String, Verb> {
    let mut verbs = BTreeMap::new();
    for (own, program) in installed() {
        for described in describe(&program) {
            for verb in described.verbs {
                let found = Verb { about: verb.about, program: program.clone() };
                // The extension's own program rather than one that holds it as well.
                if described.name == own || !verbs.contains_key(&verb.name) {
                    verbs.insert(verb.name, found);
                }
            }
        }
    }
    verbs
}

/// Names of all extensions that have a program of their own.
pub(crate) fn names() -> BTreeSet<String> {
    programs(&directories()).into_keys().collect()
}

/// All programs of extensions, by the names of these. Of several with one name, the first is found.
pub(crate) fn installed() -> BTreeMap<String, PathBuf> {
    programs(&directories())
}

fn programs(directories: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let entries = directories.iter().rev().filter_map(|directory| directory.read_dir().ok());
    entries
        .flatten()
        .filter_map(|entry| entry.ok())
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned();
            (is_valid(&name) && is_program(&entry.path())).then(|| (name, entry.path()))
        })
        .collect()
}

fn is_valid(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(is_plain)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn directories() -> Vec<PathBuf> {
    let own = own_directory();
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    // A relative entry would make the program depend on where the command is called.
    own.into_iter()
        .chain(std::env::split_paths(&path).filter(|entry| entry.is_absolute()))
        .collect()
}

fn own_directory() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
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
