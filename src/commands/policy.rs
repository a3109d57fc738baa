//! `hsci policy`: what policies mean, and which one is in force.

mod check;
mod elsewhere;
mod explain;
mod failure;
mod force;
mod learn;
mod list;
mod loaded;
mod names;
mod partial;
mod read;
mod source;
mod test;

use std::path::Path;

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_language::names::Names;
use hsci_language::{Code, Diagnostic, Span};

use crate::cli::{Machine, Parameters, Policy, PolicyCommand};
use crate::{Result, ui};
use elsewhere::AnyNames;
use names::MachineNames;
use read::{Open, read};
use source::Source;

pub(super) use explain::user_id;
pub(super) use failure::failure;
pub(super) use force::{put, unload};
pub(super) use learn::Seen;
pub(super) use list::{calls, hits};
pub(super) use loaded::{Label, Loaded};

/// Runs one of the commands.
pub(crate) fn run(args: &Policy) -> Result<()> {
    match &args.command {
        PolicyCommand::Check(args) => check::run(args),
        PolicyCommand::Explain(args) => explain::run(args),
        PolicyCommand::Test(args) => test::run(args),
        PolicyCommand::Load(args) => {
            let reviewed = Reviewed::to_enforce(&args.file, &args.parameters)?;
            force::put(&args.file, &reviewed, args.enforcement)
        }
        PolicyCommand::Unload(_) => force::unload(),
        PolicyCommand::List(args) => list::run(args),
        PolicyCommand::Learn(args) => learn::run(args),
    }
}

/// A policy's text, what is wrong with it, and its tables unless that is too much.
pub(super) struct Reviewed {
    source: Source,
    diagnostics: Vec<Diagnostic>,
    pub(super) usable: Option<(hsci_language::Policy, hsci_engine::Tables)>,
}

impl Reviewed {
    /// Reads, checks and compiles a policy, for this machine or for one of which nothing is known. A failure
    /// is one of reading the file.
    pub(super) fn new(
        path: &Path,
        parameters: &Parameters,
        machine: Option<Machine>,
    ) -> Result<Self> {
        match machine {
            None => Self::read_by(path, parameters, place::read, &MachineNames::new()),
            Some(Machine::None) => {
                Self::read_by(path, parameters, place::read, &AnyNames::default())
            }
        }
    }

    /// The same of a policy that is to come into force: root takes only what nobody else can have written.
    pub(super) fn to_enforce(path: &Path, parameters: &Parameters) -> Result<Self> {
        Self::read_by(path, parameters, place::open_file, &MachineNames::new())
    }

    fn read_by(
        path: &Path,
        parameters: &Parameters,
        open: Open,
        names: &dyn Names,
    ) -> Result<Self> {
        let (source, mut diagnostics) = read(path, open)?;
        let checked = source.check(&parameters.by_name(), names);
        let is_given =
            |one: &&Diagnostic| one.code == Code::UnknownParameter && one.span == Span::default();
        let unknown = checked.diagnostics.iter().find(is_given);
        if let Some(Diagnostic { title, hint, .. }) = unknown {
            let hint = hint.as_deref().unwrap_or_default();
            let text = format!("{}: {title}; {hint}", path.display());
            return Err(Failure::new(Exit::Usage, text));
        }
        diagnostics.extend(checked.diagnostics);
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.code));
        let is_whole = !diagnostics.iter().any(Diagnostic::is_error);
        let mut usable = None;
        if let Some(policy) = checked.policy.filter(|_| is_whole) {
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
