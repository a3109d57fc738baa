//! Work on a file system by this program itself, in a process of its own that can be measured.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};

/// What to do, where, and how often.
#[derive(Clone, Debug, Args)]
pub(crate) struct Work {
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    pub(crate) directory: PathBuf,
    /// Files, operations, or bytes.
    pub(crate) count: u64,
    /// Clients at once.
    #[arg(default_value_t = 1)]
    pub(crate) clients: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Creates files of 4 KiB, a directory for each client.
    Create,
    /// Creates files of 100 bytes, a thousand in a directory.
    Many,
    /// Opens, reads 4 KiB, and closes.
    Open,
    Stat,
    WriteThrough,
    ReadThrough,
    ReadRandom,
    WriteRandom,
}

/// Files that warm operations go round.
pub(crate) const WARM_FILES: usize = 1000;
const PIECE: usize = 1 << 20;
const PAGE: usize = 4096;
/// Random transfers: one of so many pages of the file is met.
const ONE_OF: u64 = 16;

/// Does the work.
pub(crate) fn work(work: &Work) -> Result<()> {
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..work.clients).map(|client| scope.spawn(move || run(work, client))).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })
}

fn run(work: &Work, client: u64) -> Result<()> {
    let directory = &work.directory;
    let count = work.count / work.clients;
    match work.kind {
        Kind::Create => create(&directory.join(format!("client-{client}")), count),
        Kind::Many => many(directory, count),
        Kind::Open => around(directory, count, |path| {
            let mut buffer = [0; PAGE];
            File::open(path)?.read_exact(&mut buffer)
        }),
        Kind::Stat => around(directory, count, |path| fs::metadata(path).map(drop)),
        Kind::WriteThrough => write_through(&directory.join(LARGE), count),
        Kind::ReadThrough => read_through(&directory.join(LARGE)),
        Kind::ReadRandom => {
            random(&directory.join(LARGE), |file, at| file.read_exact_at(&mut [0; PAGE], at))
        }
        Kind::WriteRandom => {
            let page = text(PAGE);
            random(&directory.join(LARGE), |file, at| file.write_all_at(&page, at))
        }
    }
}

/// The file of the transfers.
pub(crate) const LARGE: &str = "large";

fn create(directory: &Path, count: u64) -> Result<()> {
    fs::create_dir_all(directory)?;
    let page = text(PAGE);
    for number in 0..count {
        fs::write(directory.join(format!("file-{number}")), &page)?;
    }
    Ok(())
}

fn many(directory: &Path, count: u64) -> Result<()> {
    let data = text(100);
    for number in 0..count {
        let below = directory.join(format!("many/{}", number / 1000));
        if number.is_multiple_of(1000) {
            fs::create_dir_all(&below)?;
        }
        fs::write(below.join(format!("file-{number}")), &data)?;
    }
    Ok(())
}

fn around(
    directory: &Path,
    count: u64,
    operation: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<()> {
    let entries = fs::read_dir(directory.join("client-0"))?.take(WARM_FILES);
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    for number in 0..count as usize {
        operation(&paths[number % paths.len()])?;
    }
    Ok(())
}

fn write_through(path: &Path, bytes: u64) -> Result<()> {
    let data = text(64 * PIECE);
    let mut file = File::create(path)?;
    let mut written = 0;
    for piece in data.chunks(PIECE).cycle() {
        if written >= bytes {
            break;
        }
        file.write_all(piece)?;
        written += piece.len() as u64;
    }
    Ok(file.sync_all()?)
}

fn read_through(path: &Path) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut file = File::open(path)?;
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn random(path: &Path, transfer: impl Fn(&File, u64) -> std::io::Result<()>) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let pages = file.metadata()?.len() / PAGE as u64;
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for _ in 0..pages / ONE_OF {
        transfer(&file, dice.roll() % pages * PAGE as u64)?;
    }
    Ok(file.sync_data()?)
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Text of varying words, about as compressible as a log.
fn text(bytes: usize) -> Vec<u8> {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut text = Vec::with_capacity(bytes + 128);
    while text.len() < bytes {
        let state = dice.roll();
        let line = format!(
            "2026-01-{:02} worker[{}]: request {state:016x} for /srv/data/{} took {} us\n",
            state % 28 + 1,
            state % 9000,
            state % 5000,
            state >> 50
        );
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(bytes);
    text
}
