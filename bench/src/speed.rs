//! Speed: warm operations and sequential transfers, alternating between the file systems.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::Scale;
use crate::filesystems::{Filesystems, drop_caches};
use crate::table::Table;

const WARM_FILES: u32 = 1000;
const PIECE: usize = 1 << 20;

/// Warm `open+read+close` and `stat`, and the requests that they cost.
pub(crate) fn warm_operations(
    filesystems: &Filesystems,
    scale: Scale,
    table: &mut Table,
) -> Result<()> {
    let (memory, _) = filesystems.worker_memory()?;
    table.add(
        "memory of the worker at rest",
        format!("{memory:.0} MiB"),
        "-",
        None,
        "under 32 MiB",
    );
    let places = [&filesystems.hsci, &filesystems.ext4.directory];
    for place in places {
        make_small_files(place)?;
    }
    filesystems.settle()?;
    for (what, operation) in
        [("open+read 4K+close", open_read_close as fn(&Path) -> Result<()>), ("stat", stat)]
    {
        for place in places {
            repeat(place, WARM_FILES, operation)?;
        }
        let before = filesystems.requests()?;
        let rates = alternate(scale.rounds, places, |place| {
            let seconds = repeat(place, scale.operations, operation)?;
            Ok(f64::from(scale.operations) / seconds)
        })?;
        // Asking for the status is a request or two of its own; it is asked once more here.
        let dispatched = filesystems.requests()? - before;
        table.add(
            format!("warm {what}"),
            format!("{:.0}/s", rates[0]),
            format!("ext4 {:.0}/s", rates[1]),
            Some(rates[0] / rates[1]),
            "at least 0.8",
        );
        table.add(
            format!(
                "requests dispatched for {} warm {what}",
                scale.operations as usize * scale.rounds
            ),
            dispatched.to_string(),
            "those of asking for the status",
            None,
            "0",
        );
    }
    Ok(())
}

/// Sequential write to fsync, warm read and cold read of one file of compressible data.
pub(crate) fn sequential(filesystems: &Filesystems, scale: Scale, table: &mut Table) -> Result<()> {
    let places = [&filesystems.hsci, &filesystems.ext4.directory, &filesystems.btrfs.directory];
    let data = compressible(PIECE * 64);
    let rate = |seconds: f64| scale.file_bytes as f64 / f64::from(1 << 20) / seconds;
    let writes = alternate(scale.rounds, places, |place| {
        let file = place.join("sequential");
        let _ = fs::remove_file(&file);
        // Memory to write into, for all alike.
        drop_caches()?;
        Ok(rate(write_to_fsync(&file, &data, scale.file_bytes)?))
    })?;
    add_rates(table, "sequential write to fsync", &writes, "at least 0.9 of ext4");
    let warm = alternate(scale.rounds, places, |place| {
        read_through(&place.join("sequential"))?;
        Ok(rate(read_through(&place.join("sequential"))?))
    })?;
    add_rates(table, "warm sequential read", &warm, "at least 0.95 of ext4");
    filesystems.settle()?;
    let cold = alternate(scale.rounds, places, |place| {
        drop_caches()?;
        Ok(rate(read_through(&place.join("sequential"))?))
    })?;
    add_rates(table, "cold sequential read, sealed", &cold, "at least 1.0 of btrfs");
    for place in places {
        fs::remove_file(place.join("sequential"))?;
    }
    Ok(())
}

/// Runs `measure` on every place in turn, `rounds` times, and returns each place's median.
fn alternate<const N: usize>(
    rounds: usize,
    places: [&std::path::PathBuf; N],
    mut measure: impl FnMut(&Path) -> Result<f64>,
) -> Result<[f64; N]> {
    let mut all = vec![Vec::new(); N];
    for _ in 0..rounds {
        for (place, figures) in places.iter().zip(&mut all) {
            figures.push(measure(place)?);
        }
    }
    let mut medians = [0.0; N];
    for (median, figures) in medians.iter_mut().zip(&mut all) {
        figures.sort_by(f64::total_cmp);
        *median = figures[figures.len() / 2];
    }
    Ok(medians)
}

fn add_rates(table: &mut Table, what: &str, rates: &[f64; 3], goal: &'static str) {
    for (name, other) in [("ext4", rates[1]), ("btrfs", rates[2])] {
        table.add(
            format!("{what}, against {name}"),
            format!("{:.0} MiB/s", rates[0]),
            format!("{other:.0} MiB/s"),
            Some(rates[0] / other),
            goal,
        );
    }
}

fn make_small_files(place: &Path) -> Result<()> {
    fs::create_dir_all(place.join("warm"))?;
    let data = compressible(8 << 10);
    for n in 0..WARM_FILES {
        fs::write(place.join(format!("warm/{n}")), &data)?;
    }
    Ok(())
}

fn repeat(place: &Path, times: u32, operation: fn(&Path) -> Result<()>) -> Result<f64> {
    let paths: Vec<_> = (0..WARM_FILES).map(|n| place.join(format!("warm/{n}"))).collect();
    let start = Instant::now();
    for n in 0..times {
        operation(&paths[(n % WARM_FILES) as usize])?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn open_read_close(path: &Path) -> Result<()> {
    let mut buffer = [0; 4096];
    File::open(path)?.read_exact(&mut buffer)?;
    Ok(())
}

fn stat(path: &Path) -> Result<()> {
    fs::metadata(path)?;
    Ok(())
}

fn write_to_fsync(path: &Path, data: &[u8], bytes: u64) -> Result<f64> {
    let start = Instant::now();
    let mut file = File::create(path)?;
    let mut written = 0;
    for piece in data.chunks(PIECE).cycle() {
        if written >= bytes {
            break;
        }
        file.write_all(piece)?;
        written += piece.len() as u64;
    }
    file.sync_all()?;
    Ok(start.elapsed().as_secs_f64())
}

fn read_through(path: &Path) -> Result<f64> {
    let mut buffer = vec![0; PIECE];
    let start = Instant::now();
    let mut file = File::open(path)?;
    while file.read(&mut buffer)? > 0 {}
    Ok(start.elapsed().as_secs_f64())
}

/// Text of varying words, about as compressible as a log.
fn compressible(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = Vec::with_capacity(bytes + 128);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let line = format!(
            "2026-01-{:02} worker[{}]: request {:016x} for /srv/data/{} took {} us\n",
            state % 28 + 1,
            state % 9000,
            state,
            state % 5000,
            state >> 50
        );
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(bytes);
    text
}
