//! What an extension's own program, `hsci-extension-NAME`, does.
//!
//! Its `main` is one call of [`run`]. The command and the supervisor start it; people do not.

mod export;
mod link;
mod offline;
mod recovery;
mod serve;
mod stack;

pub(crate) use self::stack::HOST_OPTIONS;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Parser, Subcommand};
use hsci_extension::options::{OptionKind, OptionSpec, Options};
use hsci_extension::{
    Checked, Declaration, Environment, Extension, FileSystem, Finding, Needs,
    Result as LayerResult, Store,
};
use hsci_protocol::describe::{Description, OptionDescription, ValueKind, VerbDescription};
use serde::Serialize;

use crate::failure::{self, Exit, Failure};
use crate::sandbox;

/// An extension that a program holds.
#[derive(Clone, Copy)]
pub struct Registration {
    name: &'static str,
    about: &'static str,
    format: u32,
    brings_forward: bool,
    options: fn() -> Vec<OptionSpec>,
    rule_options: fn() -> &'static [&'static str],
    declaration: fn() -> Declaration,
    needs: fn() -> Needs,
    recover: fn(&Arc<dyn Store>, bool) -> LayerResult<Vec<u8>>,
    start: fn(&Environment) -> LayerResult<Arc<dyn FileSystem>>,
    check: Check,
    repair: Check,
    verbs: Verbs,
}

/// Commands that an extension brings: `hsci VERB`.
#[derive(Clone, Copy)]
pub struct Verbs {
    /// Their names, and what each does, one line.
    pub list: fn() -> Vec<(String, String)>,
    /// Runs one: the arguments are `hsci`, its name, and what follows.
    pub run: fn(Vec<OsString>) -> ExitCode,
    /// Answers the question of a shell for completions, if the environment has one.
    pub complete: fn(),
    /// Writes pages of the manual into a directory.
    pub manual: fn(&Path) -> std::io::Result<()>,
}

impl Verbs {
    const NONE: Self =
        Self { list: Vec::new, run: |_| ExitCode::FAILURE, complete: || {}, manual: |_| Ok(()) };

    fn has(&self, name: &str) -> bool {
        (self.list)().iter().any(|(verb, _)| verb == name)
    }
}

type Check = fn(&Environment, &mut dyn FnMut(Finding), &mut dyn FnMut(u64)) -> LayerResult<Checked>;

/// The extension of an extension.
#[must_use]
pub fn extension<E: Extension>() -> Registration {
    Registration {
        name: E::NAME,
        about: E::ABOUT,
        format: E::FORMAT_VERSION,
        brings_forward: E::BRINGS_FORWARD,
        options: E::options,
        rule_options: E::rule_options,
        declaration: E::declaration,
        needs: E::needs,
        recover: E::recover,
        start: E::start,
        check: E::check,
        repair: E::repair,
        verbs: Verbs::NONE,
    }
}

impl Registration {
    /// The same with commands of its own.
    #[must_use]
    pub fn with_verbs(self, verbs: Verbs) -> Self {
        Self { verbs, ..self }
    }
}

/// The extension's own program
#[derive(Parser)]
#[command(version, about = "Serves a directory through an extension; started by hsci")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the extensions in this program, with their options, as JSON
    Describe,
    /// Print as JSON what is wrong with the value of an option, or null
    Accept {
        /// The extension
        extension: String,
        /// The option
        option: String,
        /// The value
        value: String,
    },
    /// Carry out a command that an extension brings: `hsci VERB ...`
    #[command(disable_help_flag = true)]
    Verb {
        /// Its name, and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<OsString>,
    },
    /// Answer a shell's question for completions of such a command
    Complete {
        /// Its name
        verb: String,
        /// The shell's words
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Write pages of the manual of such commands
    Manual {
        /// Where to
        directory: PathBuf,
    },
    /// Serve a mount, as its supervisor says
    Serve {
        /// Descriptor of the lower directory
        lower: i32,
        /// Descriptor of the supervisor's socket
        control: i32,
        /// Descriptors of the mount's locks
        locks: Vec<i32>,
    },
    /// Verify a store that is not mounted, as standard input says; prints JSON, one event a line
    Check {
        /// Drop what is damaged, and keep the rest
        #[arg(long)]
        repair: bool,
    },
    /// Copy files out of a store that is not mounted, as standard input says
    Export {
        /// Which part of it
        path: PathBuf,
        /// Where to write; must not exist
        dest: PathBuf,
        /// Copy what gives rights as well
        #[arg(long)]
        privileged: bool,
    },
}

/// Runs a program that holds `registrations`; stacks may be made of any of them.
#[must_use]
pub fn run(registrations: &[Registration]) -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Describe => {
            sandbox::become_nobody();
            describe(registrations)
        }
        Command::Accept { extension, option, value } => {
            sandbox::become_nobody();
            accept(registrations, &extension, &option, &value)
        }
        Command::Verb { arguments } => return run_verb(registrations, arguments),
        Command::Complete { verb, .. } => {
            with_verb(registrations, &verb).map(|found| (found.verbs.complete)())
        }
        Command::Manual { directory } => manual(registrations, &directory),
        Command::Serve { lower, control, locks } => {
            start_log();
            serve::run(registrations, lower, control, &locks)
        }
        Command::Check { repair } => offline::check(registrations, repair),
        Command::Export { path, dest, privileged } => {
            offline::export(registrations, &path, (&dest, privileged))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                warn(&failure.to_string());
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

fn with_verb<'a>(
    registrations: &'a [Registration],
    name: &str,
) -> Result<&'a Registration, Failure> {
    let found = registrations.iter().find(|registration| registration.verbs.has(name));
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no extension here has a command `{name}`"))
    })
}

fn run_verb(registrations: &[Registration], mut arguments: Vec<OsString>) -> ExitCode {
    let name = arguments[0].to_string_lossy().into_owned();
    arguments.insert(0, "hsci".into());
    match with_verb(registrations, &name) {
        Ok(found) => (found.verbs.run)(arguments),
        Err(failure) => {
            warn(&failure.to_string());
            ExitCode::from(failure.exit.code())
        }
    }
}

fn manual(registrations: &[Registration], directory: &Path) -> Result<(), Failure> {
    let mut pages = registrations.iter().map(|registration| registration.verbs.manual);
    pages
        .try_for_each(|write| write(directory))
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", directory.display())))
}

/// Writes a line to standard error. Nobody can be told that nobody reads it.
fn warn(line: &str) {
    let _ = writeln!(std::io::stderr(), "hsci: {}", failure::printable(line));
}

/// Sends the log to standard error; `HSCI_LOG` sets how much of it.
pub(crate) fn start_log() {
    let environment = env_logger::Env::new().filter_or("HSCI_LOG", "info");
    let mut builder = env_logger::Builder::from_env(environment);
    builder.format(|line, record| {
        // Names in it are those of users, and who reads a log may have a terminal.
        let text = failure::printable(&record.args().to_string());
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        let (level, target) = (record.level(), record.target());
        writeln!(line, "[{time} {level:<5} {target}] {text}")
    });
    // A second call in one process changes nothing.
    let _ = builder.try_init();
}

fn describe(registrations: &[Registration]) -> Result<(), Failure> {
    print(&registrations.iter().map(Registration::describe).collect::<Vec<_>>())
}

fn accept(
    registrations: &[Registration],
    extension: &str,
    option: &str,
    value: &str,
) -> Result<(), Failure> {
    let registration = registrations.iter().find(|registration| registration.name == extension);
    let specs = registration.map(|registration| (registration.options)()).unwrap_or_default();
    print(&Options::check(&specs, [(option, value)]).err())
}

fn print(answer: &impl Serialize) -> Result<(), Failure> {
    hsci_protocol::line::send(std::io::stdout(), answer)
        .map_err(|error| Failure::new(Exit::Internal, format!("standard output: {error}")))
}

impl Registration {
    fn describe(&self) -> Description {
        let describe = |spec: &OptionSpec| OptionDescription {
            name: spec.name.to_owned(),
            help: spec.help.to_owned(),
            default: spec.default.to_owned(),
            by_call: (self.rule_options)().contains(&spec.name),
            kind: match spec.kind {
                OptionKind::Secret => ValueKind::Secret,
                OptionKind::Path => ValueKind::Path,
                _ => ValueKind::Plain,
            },
            recorded: spec.recorded && !matches!(spec.kind, OptionKind::Secret),
        };
        Description {
            name: self.name.to_owned(),
            about: self.about.to_owned(),
            format: self.format,
            brings_forward: self.brings_forward,
            contract: hsci_extension::VERSION,
            options: (self.options)().iter().map(describe).collect(),
            needs: sandbox::words(&(self.needs)()),
            verbs: (self.verbs.list)()
                .into_iter()
                .map(|(name, about)| VerbDescription { name, about })
                .collect(),
        }
    }
}
