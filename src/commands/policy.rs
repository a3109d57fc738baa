//! `hsci policy`: what policies mean, and which one is in force.

mod check;
mod elsewhere;
mod explain;
mod failure;
mod force;
mod list;
mod loaded;
mod names;
mod partial;
mod source;
mod test;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_language::Diagnostic;
use hsci_language::names::Names;
use rustix::fs::Dir;
use rustix::io::Errno;

use crate::cli::{Machine, Policy, PolicyCommand};
use crate::{Result, control, ui};
use elsewhere::AnyNames;
use names::MachineNames;
use source::Source;

pub(super) use explain::user_id;
pub(super) use failure::failure;
pub(super) use force::{put, unload};
pub(super) use list::{calls, hits};
pub(super) use loaded::{Label, Loaded};

/// A policy longer than this is none.
const MAX_LEN: u64 = 16 << 20;

/// Runs one of the commands.
pub(crate) fn run(args: &Policy) -> Result<()> {
    match &args.command {
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Explain(args) => explain::run(args),
        PolicyCommand::Test(args) => test::run(args),
        PolicyCommand::Load(args) => {
            force::put(&args.file, &Reviewed::to_enforce(&args.file)?, args.enforcement)
        }
        PolicyCommand::Unload(_) => force::unload(),
        PolicyCommand::List(args) => list::run(args),
    }
}

/// A policy's text, what is wrong with it, and its tables unless that is too much.
pub(super) struct Reviewed {
    source: Source,
    diagnostics: Vec<Diagnostic>,
    pub(super) usable: Option<(hsci_language::Policy, hsci_engine::Tables)>,
}

impl Reviewed {
    /// Reads, checks and compiles a policy. A failure is one of reading the file.
    pub(super) fn new(path: &Path) -> Result<Self> {
        Self::read_by(path, place::read, &MachineNames::new())
    }

    /// The same of a policy for this machine, or for one of which nothing is known.
    pub(super) fn written_for(path: &Path, machine: Option<Machine>) -> Result<Self> {
        match machine {
            None => Self::new(path),
            Some(Machine::None) => Self::read_by(path, place::read, &AnyNames::default()),
        }
    }

    /// The same of a policy that is to come into force: root takes only what nobody else can have written.
    pub(super) fn to_enforce(path: &Path) -> Result<Self> {
        Self::read_by(path, place::open_file, &MachineNames::new())
    }

    fn read_by(
        path: &Path,
        open: impl Fn(&Path) -> Result<File>,
        names: &dyn Names,
    ) -> Result<Self> {
        let source = Source::new(read(path, open)?);
        let checked = hsci_language::check(source.text(), names);
        let mut diagnostics = checked.diagnostics;
        let mut usable = None;
        if let Some(policy) = checked.policy {
            usable = hsci_engine::review(&policy, &mut diagnostics).map(|tables| (policy, tables));
        }
        Ok(Self { source, diagnostics, usable })
    }

    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|one| one.is_error()).count()
    }

    /// The diagnostics for people to read; on a terminal in colours.
    fn rendered(&self) -> String {
        self.source.render(&self.diagnostics)
    }

    /// The failure of a policy that cannot be used.
    pub(super) fn failure(&self, path: &Path) -> Failure {
        let errors = ui::counted(self.errors() as u64, "error");
        let path = path.display();
        let text = format!("{path}: {errors}; `hsci policy check` shows where and why");
        Failure::new(Exit::No, text)
    }
}

/// The files of a policy: one, or all in a directory together, in the order of their names.
fn read(path: &Path, open: impl Fn(&Path) -> Result<File>) -> Result<Vec<(PathBuf, String)>> {
    let place = place::look(path)?;
    if !place.is_directory() {
        return Ok(vec![(path.to_owned(), read_file(path, open(path)?)?)]);
    }
    let mut names = Vec::new();
    for entry in place.read().and_then(Dir::new).map_err(|errno| control::of_path(path, errno))? {
        let entry = entry.map_err(|errno| control::of_path(path, errno))?;
        names.push(path.join(OsStr::from_bytes(entry.file_name().to_bytes())));
    }
    names.retain(|name| name.extension().is_some_and(|extension| extension == "policy"));
    names.sort();
    if names.is_empty() {
        let text = format!("{}: no file NAME.policy in it", path.display());
        return Err(Failure::new(Exit::Missing, text));
    }
    let texts = names.into_iter().map(|name| {
        let text = read_file(&name, open(&name)?)?;
        Ok((name, text))
    });
    texts.collect()
}

fn of_path(path: &Path, error: &std::io::Error) -> Failure {
    control::of_path(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

fn read_file(path: &Path, file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(|error| of_path(path, &error))?;
    let refuse = |why: &str| Failure::new(Exit::No, format!("{}: {why}", path.display()));
    if bytes.len() as u64 > MAX_LEN {
        return Err(refuse("longer than 16 MiB; split it"));
    }
    String::from_utf8(bytes)
        .map_err(|_| refuse("not a text in UTF-8; write other bytes as `\\xff`"))
}
