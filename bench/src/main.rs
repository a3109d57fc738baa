//! Side-by-side runs: a compressed mount against ext4 and btrfs on loop devices, in one run on one
//! machine, so that the ratios mean something although the absolute times do not.
//!
//! Usage: `side-by-side HSCI [--quick]`, as root; `HSCI` is the program to measure.

mod corpus;
mod filesystems;
mod space;
mod speed;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::filesystems::Filesystems;
use crate::table::Table;

/// How much work one run does.
#[derive(Clone, Copy)]
struct Scale {
    /// Most bytes of one corpus.
    corpus_bytes: u64,
    /// Length of the file for sequential reads and writes.
    file_bytes: u64,
    /// Warm operations per round.
    operations: u32,
    /// Rounds; the median counts.
    rounds: usize,
}

const FULL: Scale =
    Scale { corpus_bytes: 256 << 20, file_bytes: 1 << 30, operations: 200_000, rounds: 5 };
const QUICK: Scale =
    Scale { corpus_bytes: 48 << 20, file_bytes: 192 << 20, operations: 20_000, rounds: 3 };

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let program = PathBuf::from(arguments.next().context("usage: side-by-side HSCI [--quick]")?);
    let scale = match arguments.next() {
        None => FULL,
        Some(flag) if flag == "--quick" => QUICK,
        Some(other) => bail!("unknown argument {}", other.display()),
    };
    if !rustix::process::geteuid().is_root() {
        bail!("loop devices need root");
    }
    let scratch = tempfile::Builder::new().prefix("hsci-bench-").tempdir_in("/var/tmp")?;
    let filesystems = Filesystems::make(scratch.path(), &program, 8 << 30)?;
    let mut table = Table::default();
    speed::warm_operations(&filesystems, scale, &mut table)?;
    speed::sequential(&filesystems, scale, &mut table)?;
    space::compare(&filesystems, scale, &mut table)?;
    table.print();
    Ok(())
}
