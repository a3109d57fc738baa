//! Space: the same files on each file system, by the space that the files take.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::Scale;
use crate::corpus::{self, Corpus};
use crate::filesystems::Filesystems;
use crate::table::Table;

/// Stored size of every corpus against ext4 and btrfs.
pub(crate) fn compare(filesystems: &Filesystems, scale: Scale, table: &mut Table) -> Result<()> {
    for corpus in corpus::find(scale.corpus_bytes) {
        let [ext4, btrfs, hsci] = stored(filesystems, &corpus)?;
        let goal = match corpus.name {
            "source tree" => "printed only",
            "compressed already" => "at most ext4's",
            _ => "at most 0.95",
        };
        let what =
            format!("space, {} ({}, {} files)", corpus.name, mib(corpus.bytes), corpus.files.len());
        let other = if goal == "at most ext4's" { ("ext4", ext4) } else { ("btrfs", btrfs) };
        table.add(
            &what,
            mib(hsci),
            format!("{} {}", other.0, mib(other.1)),
            Some(hsci as f64 / other.1 as f64),
            goal,
        );
        table.add(
            format!("{what} against ext4"),
            mib(hsci),
            format!("ext4 {}", mib(ext4)),
            Some(hsci as f64 / ext4 as f64),
            "printed only",
        );
    }
    let (_, most) = filesystems.worker_memory()?;
    table.add("most memory of the worker", format!("{most:.0} MiB"), "-", None, "under 256 MiB");
    Ok(())
}

/// Bytes that the files of a corpus take on ext4, btrfs and below HSCI.
fn stored(filesystems: &Filesystems, corpus: &Corpus) -> Result<[u64; 3]> {
    let places = [&filesystems.ext4.directory, &filesystems.btrfs.directory, &filesystems.hsci];
    let mut used = [0; 3];
    for (used, place) in used.iter_mut().zip(places) {
        let target = place.join("corpus");
        corpus.copy_to(&target)?;
        rustix::fs::syncfs(fs::File::open(place)?)?;
        if *place == filesystems.hsci {
            filesystems.settle()?;
        }
        *used = if *place == filesystems.btrfs.directory {
            on_btrfs(&target)?
        } else {
            blocks(&target)?
        };
        fs::remove_dir_all(target)?;
    }
    Ok(used)
}

/// The blocks of all regular files. Directories are left out: whose they are, ours or the lower
/// file system's, depends on the tree more than on compression.
fn blocks(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        if entry.file_type().is_file() {
            sum += entry.metadata()?.blocks() * 512;
        }
    }
    Ok(sum)
}

/// btrfs tells the compressed size of its extents to nobody but a tool of its own.
fn on_btrfs(directory: &Path) -> Result<u64> {
    let output = Command::new("compsize").arg("-b").arg(directory).output()?;
    let text = String::from_utf8(output.stdout)?;
    let total = text.lines().find_map(|line| line.strip_prefix("TOTAL"));
    let disk_usage = total.and_then(|columns| columns.split_whitespace().nth(1));
    disk_usage.context("compsize names a total")?.parse().context("a number of bytes")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
