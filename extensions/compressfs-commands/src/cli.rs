//! The command lines: every command, argument and help text.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use hsci_command::completion;

/// The algorithms of compressfs, as messages name them.
pub(crate) const ALGORITHMS: &str =
    "zstd, zstd:-7 to zstd:22, lz4, deflate, deflate:1 to deflate:9 (or gzip), none";

/// Algorithms, and the word that takes a choice back. Levels are left out: for a shell, a word ends at `:`.
fn algorithms() -> ArgValueCandidates {
    let words = ["zstd", "lz4", "deflate", "gzip", "none", "default"];
    ArgValueCandidates::new(move || words.map(CompletionCandidate::new).into())
}

/// The commands of compressfs
#[derive(Debug, Parser)]
#[command(name = "hsci", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Algorithm(Algorithm),
    Settle(Settle),
    Recompress(Recompress),
    Usage(Usage),
}

/// The complete definition.
pub(crate) fn command() -> clap::Command {
    Cli::command().styles(hsci_command::styles())
}

/// Choose how files are compressed
///
/// What applies to a file is decided when it is compressed: a choice for the file, or for the
/// nearest directory above it, or of the user who wrote it, or of the mount.
///
/// Algorithms: zstd, zstd:-7 to zstd:22, lz4, deflate:1 to deflate:9 (also gzip), none.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Algorithm {
    #[command(subcommand)]
    pub(crate) command: AlgorithmCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlgorithmCommand {
    Get(AlgorithmGet),
    Set(AlgorithmSet),
    List(AlgorithmList),
}

/// Show what would be used for a file or directory, and who says so
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci algorithm get ~/logs/app.log
  hsci algorithm get --json ~/logs")]
pub(crate) struct AlgorithmGet {
    /// A file or directory inside a mount
    pub(crate) path: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Set your own choice for a mount, or that of a file or directory
///
/// Without --for, the choice is yours alone: it applies to what you write on this mount, needs no
/// privilege, and lasts. With --for it belongs to the file or directory, whoever writes there;
/// only its owner can set it. `default` takes a choice back.
///
/// Scripts need not call this: `setfattr -n user.hsci.algorithm -v zstd:9 PATH` does what --for
/// does.
#[derive(Debug, Args)]
#[command(
    override_usage = "hsci algorithm set ALGORITHM DIR\n       hsci algorithm set ALGORITHM --for PATH...",
    after_help = "Examples:
  hsci algorithm set zstd:9 ~/logs               what I write on this mount
  hsci algorithm set lz4 --for ~/logs/hot        whatever is written below hot
  hsci algorithm set none --for ~/logs/a.bin     this file
  hsci algorithm set default ~/logs              back to what the mount says"
)]
pub(crate) struct AlgorithmSet {
    /// An algorithm, with a level where it has them; or `default`
    #[arg(value_name = "ALGORITHM", allow_hyphen_values = true, add = algorithms())]
    pub(crate) algorithm: String,
    /// The mount for which this is your own choice
    #[arg(value_name = "DIR", required_unless_present = "paths", conflicts_with = "paths", add = completion::mounts())]
    pub(crate) mount: Option<PathBuf>,
    /// Set the choice of these files or directories instead of your own
    #[arg(long = "for", value_name = "PATH", num_args = 1..)]
    pub(crate) paths: Vec<PathBuf>,
}

/// List all choices that you can see on a mount or below a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci algorithm list ~/logs")]
pub(crate) struct AlgorithmList {
    /// A directory inside a mount
    #[arg(add = completion::mounts())]
    pub(crate) dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compress now what waits, and return when it is done
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci settle ~/logs")]
pub(crate) struct Settle {
    /// Where it is mounted
    #[arg(add = completion::mounts())]
    pub(crate) dir: PathBuf,
}

/// Store what is there with another algorithm
///
/// Sets the choice of a file or directory, takes back all choices below it, compresses what waits or is
/// stored with another algorithm, and returns when it is done. A second run changes nothing. Small files and
/// those that do not get smaller stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci recompress ~/logs/2024 --algorithm zstd:19")]
pub(crate) struct Recompress {
    /// A file or directory inside a mount
    pub(crate) path: PathBuf,
    /// An algorithm, with a level where it has them; `default` takes choices back, and what is stored stays
    #[arg(long, value_name = "ALGORITHM", allow_hyphen_values = true, add = algorithms())]
    pub(crate) algorithm: String,
}

/// Show logical and stored sizes by algorithm
///
/// Walks files and directories of a mount without following symbolic links or entering other
/// mounts, and counts a file with several names once. Needs no privilege. Stored bytes are those
/// of the compressed data; what the file system below really uses is in the last line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci usage ~/logs
  hsci usage --json ~/logs/2024 ~/logs/2025")]
pub(crate) struct Usage {
    /// Files and directories inside a mount
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
