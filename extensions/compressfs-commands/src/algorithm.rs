//! `hsci algorithm`.

use std::cell::RefCell;
use std::path::Path;

use hsci_command::walk::{Found, Walk};
use hsci_command::{Result, control, ui};
use hsci_compressfs::CompressFs;
use hsci_extension::Extension as _;
use hsci_extension::options::Options;
use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_protocol::compression::{Choice, ChoiceSource, GeneralChoices};
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::{
    ALGORITHMS, Algorithm, AlgorithmCommand, AlgorithmGet, AlgorithmList, AlgorithmSet,
};

/// The attribute that holds the choice of a file or directory.
pub(super) const ATTRIBUTE: &str = "user.hsci.algorithm";
/// The word that takes a choice back.
const DEFAULT: &str = "default";
/// What is asked and ordered: the caller's own choice; what would be used for a file; all choices
/// that are not bound to a place.
const OWN: &str = "algorithm";
const FOR_FILE: &str = "algorithm-of";
const CHOICES: &str = "choices";

/// Why a choice applies.
fn reason(choice: &Choice) -> String {
    let place = choice.place.as_deref().map(|place| format!(" `{place}`")).unwrap_or_default();
    match choice.from {
        ChoiceSource::File => "chosen for this file".to_owned(),
        ChoiceSource::Directory => format!("chosen for the directory{place}"),
        ChoiceSource::Policy => "set by a rule of the policy".to_owned(),
        ChoiceSource::User => "chosen by the user who writes it".to_owned(),
        ChoiceSource::Mount => "the default of the mount".to_owned(),
    }
}

/// Gets, sets or lists choices.
pub(crate) fn run(args: &Algorithm) -> Result<()> {
    match &args.command {
        AlgorithmCommand::Get(args) => get(args),
        AlgorithmCommand::Set(args) => set(args),
        AlgorithmCommand::List(args) => list(args),
    }
}

fn get(args: &AlgorithmGet) -> Result<()> {
    let choice: Choice = ask(&args.path, FOR_FILE)?;
    if args.json {
        return ui::print_json(&choice);
    }
    ui::print(&format!("{} ({})\n", choice.algorithm, reason(&choice)))
}

fn set(args: &AlgorithmSet) -> Result<()> {
    if args.algorithm.is_empty() {
        return Err(unknown(""));
    }
    if let Some(mount) = &args.mount {
        return set_own(mount, &args.algorithm);
    }
    args.paths.iter().try_for_each(|path| set_for(path, &args.algorithm))
}

fn set_own(mount: &Path, algorithm: &str) -> Result<()> {
    let place = place::look(mount)?;
    control::order(&place.reach(), OWN, algorithm)
        .map_err(|errno| refused(mount, algorithm, errno))?;
    let choice: Choice = ask(mount, OWN)?;
    let mount = mount.display();
    let reason = match choice.from {
        ChoiceSource::User => "your choice",
        _ => "the default of the mount",
    };
    ui::print(&format!("{mount}: what you write is stored with {} ({reason})\n", choice.algorithm))
}

pub(super) fn set_for(path: &Path, algorithm: &str) -> Result<()> {
    let place = control::look_in_mount(path)?;
    let reach = place.reach();
    let outcome = match algorithm {
        DEFAULT => match removexattr(&reach, ATTRIBUTE) {
            Err(Errno::NODATA) => Ok(()),
            outcome => outcome,
        },
        _ => setxattr(&reach, ATTRIBUTE, algorithm.as_bytes(), XattrFlags::empty()),
    };
    outcome.map_err(|errno| refused(path, algorithm, errno))
}

fn refused(path: &Path, algorithm: &str, errno: Errno) -> Failure {
    match errno {
        Errno::INVAL => unknown(algorithm),
        _ => control::failure(path, "algorithms", errno),
    }
}

fn unknown(algorithm: &str) -> Failure {
    // The extension knows more than that it is none: which levels there are.
    let fault = Options::check(&CompressFs::options(), [("algorithm", algorithm)]).err();
    let reason = fault.as_deref().and_then(|fault| fault.split_once("`: ")).map(|(_, why)| why);
    let text = match reason.filter(|_| algorithm.contains(':')) {
        Some(reason) => format!("algorithm `{algorithm}`: {reason}"),
        None => {
            format!("algorithm `{algorithm}`: there is none; use one of: {ALGORITHMS}, {DEFAULT}")
        }
    };
    Failure::new(Exit::Usage, text)
}

fn ask<T: DeserializeOwned>(path: &Path, question: &str) -> Result<T> {
    let answer = control::ask(&place::look(path)?.reach(), question);
    let answer = answer.map_err(|errno| control::failure(path, "algorithms", errno))?;
    control::parse(path, question, &answer)
}

/// All choices that can be seen, as `--json` prints them.
#[derive(Serialize)]
struct Choices {
    #[serde(flatten)]
    general: GeneralChoices,
    /// Those of files and directories.
    places: Vec<Marked>,
}

/// A file or directory with a choice.
#[derive(Serialize)]
struct Marked {
    path: String,
    algorithm: String,
}

fn list(args: &AlgorithmList) -> Result<()> {
    let general = ask(&args.dir, CHOICES)?;
    let dir = if args.json { &control::absolute(&args.dir)? } else { &args.dir };
    let (places, failure) = marked_below(dir);
    let choices = Choices { general, places };
    if args.json {
        ui::print_json(&choices)?;
    } else {
        ui::print(&table(&choices))?;
    }
    failure.map_or(Ok(()), Err)
}

fn marked_below(dir: &Path) -> (Vec<Marked>, Option<Failure>) {
    let mut places = Vec::new();
    let first_failure = RefCell::new(None);
    let fail = |failure: Failure| {
        first_failure.borrow_mut().get_or_insert(failure);
    };
    let progress = ui::spinner("looking for choices");
    let visit = |found: &Found<'_>| {
        progress.set_message(places.len().to_string());
        let read = |buffer: &mut [u8]| getxattr(found.reach, ATTRIBUTE, buffer);
        match control::with_room(read) {
            Ok(value) => places.push(Marked {
                path: found.path.display().to_string(),
                algorithm: String::from_utf8_lossy(&value).into_owned(),
            }),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => fail(control::of_path(found.path, errno)),
        }
    };
    Walk::new(visit, fail).run(dir);
    progress.finish_and_clear();
    (places, first_failure.into_inner())
}

fn table(choices: &Choices) -> String {
    let own = geteuid().as_raw();
    let user = |(user, algorithm): (&u32, &String)| {
        let you = if *user == own { " (you)" } else { "" };
        vec![format!("user {user}{you}"), algorithm.clone()]
    };
    let place = |marked: &Marked| vec![marked.path.clone(), marked.algorithm.clone()];
    let mut lines = vec![vec!["for".to_owned(), "algorithm".to_owned()]];
    lines.push(vec!["the mount".to_owned(), choices.general.mount.clone()]);
    lines.extend(choices.general.users.iter().map(user));
    lines.extend(choices.places.iter().map(place));
    ui::table(&lines)
}
