//! Space: the same files on each file system, by what the file system says is in use.

use std::fs;

use anyhow::Result;

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

/// Bytes that a corpus takes on ext4, btrfs and below HSCI.
fn stored(filesystems: &Filesystems, corpus: &Corpus) -> Result<[u64; 3]> {
    let places = [
        (&filesystems.ext4, &filesystems.ext4.directory),
        (&filesystems.btrfs, &filesystems.btrfs.directory),
        (&filesystems.lower, &filesystems.hsci),
    ];
    let mut used = [0; 3];
    for (used, (measured, written)) in used.iter_mut().zip(places) {
        let before = measured.used()?;
        let target = written.join("corpus");
        corpus.copy_to(&target)?;
        if written == &filesystems.hsci {
            filesystems.settle()?;
        }
        *used = measured.used()?.saturating_sub(before);
        fs::remove_dir_all(target)?;
        measured.used()?;
    }
    Ok(used)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
