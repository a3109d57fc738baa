//! What is asked for, and how much work that is.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::Work;

/// Runs HSCI and other file systems side by side.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The `hsci` to measure; its extensions lie beside it.
    #[arg(long, default_value = "target/release/hsci")]
    pub(crate) hsci: PathBuf,
    /// Little work and few contenders: at most three minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// What the table of goals takes and little more, with few contenders in each scenario: about an hour.
    #[arg(long, conflicts_with_all = ["quick", "held"])]
    pub(crate) goals: bool,
    /// Rounds, of which the median counts, at most [default: 5; 3 with --quick].
    #[arg(long)]
    pub(crate) rounds: Option<usize>,
    /// No round of a scenario begins that would not end after so many minutes, if it took as long as the one before
    /// [default: as many as it takes; 2 with --quick].
    #[arg(long)]
    pub(crate) minutes: Option<u64>,
    /// Only scenarios whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Only contenders with one of these names, or whose name contains one that nobody has; ext4 is always there.
    #[arg(long, value_delimiter = ',')]
    pub(crate) contenders: Vec<String>,
    /// Hold callers and servers on one core: independent of how the machine halts idle ones.
    #[arg(long)]
    pub(crate) held: bool,
    /// The tar archive or directory to unpack, in place of a source tree found on the machine.
    #[arg(long)]
    pub(crate) tree: Option<PathBuf>,
    /// Where the images of the loop devices lie.
    #[arg(long, default_value = "/var/tmp")]
    pub(crate) scratch: PathBuf,
    /// Writes results.md, results.json and a plot of each scenario here.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) order: Option<Order>,
}

/// What the program asks of itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Works on a file system as a client, and is measured while it does.
    #[command(hide = true)]
    Client(Work),
}

/// How much work one run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// Most bytes of one corpus.
    pub(crate) corpus_bytes: u64,
    /// Most files of the source tree.
    pub(crate) tree_files: usize,
    /// Length of the file for sequential and random transfers.
    pub(crate) file_bytes: u64,
    /// Warm operations in a round.
    pub(crate) operations: u64,
    /// Small files in a round.
    pub(crate) small_files: u64,
    /// Numbers of files of the scenario with many.
    pub(crate) many: &'static [u64],
    /// Seconds of work whose result is a rate.
    pub(crate) seconds: u64,
    /// Builds a crate as well.
    pub(crate) builds: bool,
    /// A scenario with callers and servers held on one core as well.
    pub(crate) also_held: bool,
    /// No round of a scenario begins after this time.
    pub(crate) budget: Duration,
}

impl Arguments {
    pub(crate) fn scale(&self) -> Scale {
        let scale = match (self.quick, self.goals) {
            (true, _) => QUICK,
            (_, true) => GOALS,
            _ => FULL,
        };
        let rounds = self.rounds.unwrap_or(scale.rounds).max(1);
        let minutes = self.minutes.map(|minutes| Duration::from_secs(60 * minutes));
        Scale { rounds, budget: minutes.unwrap_or(scale.budget), ..scale }
    }
}

const FULL: Scale = Scale {
    rounds: 5,
    corpus_bytes: 256 << 20,
    tree_files: usize::MAX,
    file_bytes: 1 << 30,
    operations: 200_000,
    small_files: 8000,
    many: &[1000, 10_000, 100_000, 1_000_000],
    seconds: 20,
    builds: true,
    also_held: false,
    budget: Duration::MAX,
};

const GOALS: Scale =
    Scale { corpus_bytes: 128 << 20, many: &[100_000], seconds: 10, also_held: true, ..FULL };

const QUICK: Scale = Scale {
    rounds: 3,
    corpus_bytes: 8 << 20,
    tree_files: 600,
    file_bytes: 64 << 20,
    operations: 10_000,
    small_files: 800,
    many: &[1000],
    seconds: 1,
    builds: false,
    also_held: false,
    budget: Duration::from_secs(120),
};
