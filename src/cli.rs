//! The command line: every command, argument and help text. Help, man pages and completions are
//! made from it.

mod policy;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use hsci_host::failure::Exit;

use crate::verbs::{self, Verbs};
use crate::{completion, extension_program};

pub(crate) use policy::{
    Down, Enforcement, Machine, Parameters, Policy, PolicyCheck, PolicyCommand, PolicyExplain,
    PolicyLearn, PolicyList, PolicyTest, Trace, Up,
};

/// The extension that is used where none is named.
pub(crate) const DEFAULT_EXTENSION: &str = "compressfs";

/// Extend a file system without touching the kernel
///
/// Mounts a directory through extensions. The extension `compressfs`, which is used unless another
/// one is named, stores files compressed, each user with an algorithm of their own.
#[derive(Debug, Parser)]
#[command(name = "hsci", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Mount(Mount),
    Unmount(Unmount),
    Up(Up),
    Down(Down),
    Upgrade(Upgrade),
    Status(Status),
    Metrics(Metrics),
    Check(Check),
    Export(Export),
    Policy(Box<Policy>),
    Trace(Trace),
    Doctor(Doctor),
    New(New),
    Extensions(Extensions),
    Conformance(Conformance),
    Completions(Completions),
    /// Supervise a mount, as standard input says (started by `hsci mount`)
    #[command(hide = true)]
    Supervise,
    #[command(hide = true)]
    Generate(Generate),
}

/// Mount a directory through an extension
///
/// LOWER is the directory that stores the files, DIR is where they appear. DIR alone mounts a
/// directory over itself, so that its own name leads to the extended view. Root mounts for
/// everybody, anybody else for themselves.
///
/// Options with -o are those of mount(8) that make sense here (ro, nosuid, nodev, noexec, noatime
/// and their like), `cache=SECONDS`, and those of the extension.
#[derive(Debug, Args)]
#[command(
    override_usage = "hsci mount [OPTIONS] [LOWER] DIR",
    after_help = "Examples:
  hsci mount ~/logs                              compress ~/logs in place
  hsci mount /srv/store /mnt -o algorithm=lz4    show /srv/store at /mnt, lz4 by default
  hsci mount /srv/store /mnt --extension nullfs  show it unchanged
  hsci mount /srv/store /mnt --debug             see each request that the kernel sends
  mount -t fuse.hsci /srv/store /mnt -o ro       the same through mount(8), read-only"
)]
pub(crate) struct Mount {
    /// The directory that stores the files, and where to show them
    #[arg(value_name = "DIR", required = true, num_args = 1..=2)]
    paths: Vec<PathBuf>,
    /// Extensions to stack, the topmost first; compressfs unless one is named
    #[arg(short = 'x', long = "extension", value_name = "NAME", value_delimiter = ',', add = completion::extensions())]
    pub(crate) extensions: Vec<String>,
    /// Mount options, separated by commas; may be repeated
    #[arg(short, value_name = "KEY=VALUE,...")]
    pub(crate) options: Vec<String>,
    /// Stay in the foreground and log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Stay in the foreground, and log every request with its answer and the time that it took
    #[arg(long)]
    pub(crate) debug: bool,
    /// Mount although programs have files in the lower directory open for writing
    #[arg(long)]
    pub(crate) force: bool,
}

impl Mount {
    /// What the mount helper was asked for.
    pub(crate) fn new(lower: PathBuf, dir: PathBuf, options: Vec<String>) -> Self {
        let paths = vec![lower, dir];
        let (extensions, foreground, debug, force) = (Vec::new(), false, false, false);
        Self { paths, extensions, options, foreground, debug, force }
    }

    /// The directory that stores the files.
    pub(crate) fn lower(&self) -> &Path {
        &self.paths[0]
    }

    /// Where they appear.
    pub(crate) fn dir(&self) -> &Path {
        self.paths.last().expect("clap requires one")
    }
}

/// Unmount a directory
///
/// Waits until everything that was written is in the lower directory. A directory that somebody
/// uses is not unmounted; with --force it disappears at once, those who use it get errors, and it
/// ends within a limited time, also if its processes are stopped or hang.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci unmount ~/logs
  hsci unmount --force /mnt    end it now, although somebody uses it")]
pub(crate) struct Unmount {
    /// Where it is mounted
    #[arg(add = completion::mounts())]
    pub(crate) dir: PathBuf,
    /// End it although it is in use
    #[arg(long)]
    pub(crate) force: bool,
}

/// Have the extension's program that is installed now serve a mount
///
/// Another worker takes over, under those who use the mount; none of their calls fails. If the new
/// program cannot, the old one goes on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci upgrade ~/logs")]
pub(crate) struct Upgrade {
    /// Where it is mounted
    #[arg(add = completion::mounts())]
    pub(crate) dir: PathBuf,
}

/// Show what is mounted, with which extensions, and how it does
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci status                 all mounts
  hsci status ~/logs --json   one, for a script")]
pub(crate) struct Status {
    /// Where it is mounted; all mounts if omitted
    #[arg(add = completion::mounts())]
    pub(crate) dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print counters of all mounts and of the policy, for Prometheus
///
/// The text format of Prometheus, version 0.0.4: what is mounted, restarts of workers, requests and how long they
/// took, and what the policy in force denied and reported. Counters begin again with each worker. Only root
/// sees the mounts of everybody.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci metrics
  hsci metrics > hsci.prom.new && mv hsci.prom.new hsci.prom   for the textfile collector")]
pub(crate) struct Metrics {}

/// Verify a store that is not mounted
///
/// Reads everything and compares it with its checksums. Exit code 0 means that all can be read,
/// 1 that something is damaged.
///
/// With --repair, what is known to be damaged is dropped, and reads as zeros from then on; everything else
/// is kept, copies that are damaged beside a good one are made anew, and what was lost is listed. What
/// cannot be understood, such as a file whose header is lost, is left as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci check /srv/store
  hsci check --repair /srv/store
  hsci check /srv/secret -o key=file:/etc/secret.key
  hsci check --json /srv/store | jq .findings")]
pub(crate) struct Check {
    /// The directory that stores the files
    pub(crate) lower: PathBuf,
    #[command(flatten)]
    pub(crate) made: Made,
    /// Drop what is damaged, keep the rest, and say what was lost
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a store was made.
#[derive(Debug, Args)]
pub(crate) struct Made {
    /// The extensions that made the store, the topmost first, where `.hsci` is lost, or with
    /// others that store nothing, where options are theirs
    #[arg(short = 'x', long = "extension", value_name = "NAME", value_delimiter = ',', add = completion::extensions())]
    pub(crate) extensions: Vec<String>,
    /// Options for them that the store does not keep, such as keys; may be repeated
    #[arg(short, value_name = "KEY=VALUE,...")]
    pub(crate) options: Vec<String>,
}

/// Copy files out of a store without mounting it
///
/// Reads LOWER, or only PATH inside of it, and writes plain files to DEST, which must not exist
/// yet. What would give rights is left out unless --privileged is given: a store may be prepared.
#[derive(Debug, Args)]
#[command(
    override_usage = "hsci export [OPTIONS] LOWER [PATH] DEST",
    after_help = "Examples:
  hsci export /srv/store /tmp/all
  hsci export /srv/store 2025/app.log /tmp/app.log"
)]
pub(crate) struct Export {
    /// The store, a path relative to it, and where to write
    #[arg(value_names = ["LOWER", "DEST"], required = true, num_args = 2..=3)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) made: Made,
    /// Copy devices, set-user-id and set-group-id bits, and the attributes `security.*` and
    /// `trusted.*` as well
    #[arg(long)]
    pub(crate) privileged: bool,
}

impl Export {
    /// The store, the part of it to export, and where to write.
    pub(crate) fn parts(&self) -> (&Path, Option<&Path>, &Path) {
        match self.paths.as_slice() {
            [lower, path, dest] => (lower, Some(path), dest),
            [lower, dest] => (lower, None, dest),
            _ => unreachable!("clap requires two or three"),
        }
    }
}

/// Show what this machine offers, what is missing, and what that changes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci doctor
  hsci doctor /srv/store    also: is this a good place for a store?")]
pub(crate) struct Doctor {
    /// A directory that is to be mounted
    pub(crate) dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make the crate of an extension, ready to be changed
///
/// It builds, passes its tests (conformance, a power cut, a real mount and the death of its worker)
/// and mounts as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci new shout                            changes the bytes of files
  hsci new keep --kind layer                changes any operation
  hsci new lines --kind view                shows files that are made of others
  hsci new shout --bundle compressfs        its program also holds compressfs, to stack them
  hsci new shout --sources ~/hsci           built with the sources of HSCI that are there")]
pub(crate) struct New {
    /// What `--extension` is going to call it
    pub(crate) name: String,
    /// What it changes
    #[arg(long, value_enum, default_value_t = NewKind::Content)]
    pub(crate) kind: NewKind,
    /// Extensions that its program is to hold as well
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) bundle: Vec<String>,
    /// Where to make it; a directory of its name if omitted
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Sources of HSCI to build with, in place of the published crates
    #[arg(long, value_name = "DIR")]
    pub(crate) sources: Option<PathBuf>,
}

/// What a new extension changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NewKind {
    /// The bytes of regular files
    Content,
    /// Any operation
    Layer,
    /// Nothing: it shows files that are made of others
    View,
    /// Nothing: it shows a tree that exists nowhere
    Tree,
}

/// Show the extensions that are installed, their options and what they use
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci extensions                 all, one a line
  hsci extensions compressfs      its options, with their defaults")]
pub(crate) struct Extensions {
    /// One of them, in full
    #[arg(add = completion::extensions())]
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run the conformance kit of the contract in a directory of a mount
///
/// Makes a directory there, tries in it what programs rely on, and removes it. Exit code 0 means that
/// every case is kept, 1 that some are not; each of these is printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci conformance ~/logs")]
pub(crate) struct Conformance {
    /// A directory inside a mount, or any other
    pub(crate) dir: PathBuf,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci completions bash > ~/.local/share/bash-completion/completions/hsci
  hsci completions zsh > ~/.zfunc/_hsci
  hsci completions fish > ~/.config/fish/completions/hsci.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Write man pages, completion scripts and a unit of systemd below a directory
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// A `share` directory, such as `/usr/local/share`
    pub(crate) share: PathBuf,
    /// Where this program is going to be, for the units
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
}

/// The definition of this program's own commands, with the texts that are computed.
pub(crate) fn command() -> clap::Command {
    Cli::command().styles(hsci_command::styles()).after_help(exit_codes())
}

/// The same with the commands that installed extensions bring.
pub(crate) fn with_verbs() -> clap::Command {
    complete(verbs::all(extension_program::installed()))
}

/// The same with the commands that some programs bring.
pub(crate) fn complete(verbs: Verbs) -> clap::Command {
    verbs.into_iter().fold(command(), |command, (name, verb)| {
        // Ours stay ours.
        let is_ours = name == "help" || command.find_subcommand(&name).is_some();
        if is_ours {
            command
        } else {
            command.subcommand(clap::Command::new(name).about(verb.about))
        }
    })
}

fn exit_codes() -> String {
    let mut text = "Exit codes:\n  0  done".to_owned();
    for exit in Exit::ALL {
        let _ = write!(text, "\n  {}  {}", exit.code(), exit.meaning());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }
}
