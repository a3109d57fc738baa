//! The operations that workloads are made of.

use std::ffi::OsStr;

use hsci_extension::{Ino, RenameFlags, Result};

use super::life::{NEW, OTHER, Prepared, SUBJECT};
use crate::tests::model::Operation;
use crate::tests::random::Random;
use crate::tests::rig::{Rig, user};

/// One operation.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// On the content of a file.
    Content(Operation),
    /// `fsync`, where that of [`Operation`] is `fdatasync`.
    SyncFile(usize),
    Create,
    /// From one of [`NAMES`] to another.
    Rename(usize, usize),
    /// A file gets one of [`NAMES`].
    Link(usize, usize),
    Unlink(usize),
    MakeDirectory,
    SyncDirectory,
    /// The user decides for an algorithm.
    Choose(bool),
}

/// Names in the root directory: of the files, in their order, and free ones.
pub(super) const NAMES: [&str; 5] = ["subject", "other", "new", "free", "spare"];

const WRITE: u64 = 20;
const APPEND: u64 = 0;
const TRUNCATE: u64 = 45;
const PUNCH: u64 = 55;
const SYNC: u64 = 70;
const SETTLE: u64 = 80;

pub(super) fn content(file: usize, kind: u64, offset: u64, len: u64) -> Step {
    let is_write = kind == WRITE || kind == APPEND;
    let data = match is_write {
        true => Random(offset ^ len << 20).bytes(len as usize, len.is_multiple_of(2)),
        false => Vec::new(),
    };
    Step::Content(Operation { file, kind, offset, len, data })
}

pub(super) fn write(file: usize, offset: u64, len: u64) -> Step {
    content(file, WRITE, offset, len)
}

pub(super) fn sync(file: usize) -> Step {
    content(file, SYNC, 0, 0)
}

pub(super) fn settle() -> Step {
    content(SUBJECT, SETTLE, 0, 0)
}

/// Makes a step for a disk with prepared files.
type Maker = fn(&Prepared) -> Step;

/// All operations: on the file that is the subject of a workload, and on names.
const OPERATIONS: [Maker; 19] = [
    |_| Step::Create,
    // Over the border of two chunks.
    |_| write(SUBJECT, 31_000, 4001),
    |_| content(SUBJECT, APPEND, 0, 3000),
    // Where the log has bytes of its own already.
    |_| write(SUBJECT, 40_100, 700),
    |_| write(NEW, 0, 9000),
    |_| content(SUBJECT, TRUNCATE, 40_300, 0),
    |_| content(SUBJECT, TRUNCATE, 90_000, 0),
    |_| content(SUBJECT, TRUNCATE, 0, 0),
    // The ends of two chunks, and one chunk that goes as a whole.
    |_| content(SUBJECT, PUNCH, 20_000, 46_000),
    |_| Step::Rename(SUBJECT, 3),
    |_| Step::Rename(SUBJECT, OTHER),
    |_| Step::Link(SUBJECT, 3),
    |_| Step::Unlink(SUBJECT),
    |_| Step::MakeDirectory,
    |_| Step::SyncFile(SUBJECT),
    |_| sync(SUBJECT),
    |_| Step::SyncDirectory,
    // Compresses a raw file now, and compacts a log.
    |_| settle(),
    |prepared| write(SUBJECT, 0, prepared.sealed_look.len() as u64).with(&prepared.sealed_look),
];

/// All sequences of one or two operations.
pub(super) fn sequences() -> Vec<Vec<Maker>> {
    let ones = OPERATIONS.iter().map(|one| vec![*one]);
    let twos = OPERATIONS.iter().flat_map(|a| OPERATIONS.iter().map(|b| vec![*a, *b]));
    ones.chain(twos).collect()
}

impl Step {
    /// The same with other bytes.
    fn with(mut self, bytes: &[u8]) -> Self {
        if let Self::Content(operation) = &mut self {
            operation.data = bytes.to_vec();
        }
        self
    }

    /// A step of a long workload.
    pub(super) fn draw(random: &mut Random) -> Self {
        let name = |random: &mut Random| random.below(NAMES.len() as u64) as usize;
        match random.below(24) {
            0 => Self::Create,
            1 => Self::Rename(name(random), name(random)),
            2 => Self::Link(random.below(3) as usize, name(random)),
            3 if random.below(3) == 0 => Self::Unlink(name(random)),
            4 => Self::MakeDirectory,
            5 => Self::SyncDirectory,
            6 => Self::SyncFile(random.below(3) as usize),
            7 if random.below(3) == 0 => Self::Choose(random.below(2) == 0),
            8..10 => settle(),
            10..12 => sync(random.below(3) as usize),
            _ => {
                // Other kinds only look, or settle.
                let mut operation = Operation::draw(random);
                operation.kind %= 70;
                operation.offset %= 100_000;
                operation.len = operation.len.min(20_000);
                if operation.kind < 45 {
                    operation.data =
                        random.bytes(operation.len as usize, !operation.len.is_multiple_of(4));
                }
                Self::Content(operation)
            }
        }
    }

    /// Carries out what is no matter of content. What names do not allow is an error.
    pub(super) fn run_names(&self, rig: &Rig, files: &[Ino]) -> Result<Option<Ino>> {
        let (call, root) = (user(1000), Ino::ROOT);
        let name = |number: usize| OsStr::new(NAMES[number]);
        let layer = &rig.layer;
        match *self {
            Self::Content(_) | Self::SyncFile(_) => {}
            Self::Create => {
                return Ok(Some(layer.mknod(&call, root, name(NEW), 0o644, 0)?.ino));
            }
            Self::Rename(from, to) => {
                let (from, to) = ((root, name(from)), (root, name(to)));
                layer.rename(&call, from, to, RenameFlags::empty())?;
            }
            Self::Link(file, to) => {
                let ino = files.get(file).ok_or(hsci_extension::Error::NoAttribute)?;
                layer.link(&call, *ino, root, name(to)).map(drop)?;
            }
            Self::Unlink(from) => layer.unlink(&call, root, name(from))?,
            Self::MakeDirectory => {
                layer.mkdir(&call, root, OsStr::new("directory"), 0o755).map(drop)?;
            }
            Self::SyncDirectory => layer.fsyncdir(&call, root, false)?,
            Self::Choose(first) => {
                let algorithm: &[u8] = if first { b"lz4" } else { b"zstd:1" };
                layer.control_set(&call, root, "algorithm", algorithm)?;
            }
        }
        Ok(None)
    }
}
