//! Sequences that failed once, shrunk, each with its story.

use std::path::Path;

use super::operation::{Data, Operation};
use super::{Target, replay};

const COMPRESSFS: Target = Target { extension: "compressfs", options: "settle=50ms,chunk=32K" };

/// A name, and what is replayed.
type Story = (&'static str, Target, &'static [Operation]);

const STORIES: &[Story] = &[(
    "a sealed file is written in the middle, behind its end and truncated",
    COMPRESSFS,
    &[
        Operation::Create { dir: 0, name: 1, mode: 0o644 },
        Operation::Write { file: 0, data: Data { offset: 0, len: 200_000, seed: 1 } },
        Operation::Settle,
        Operation::Write { file: 0, data: Data { offset: 70_000, len: 10, seed: 2 } },
        Operation::Write { file: 0, data: Data { offset: 300_000, len: 5_000, seed: 3 } },
        Operation::Remount,
        Operation::Settle,
        Operation::Truncate { file: 0, len: 70_005 },
        Operation::Settle,
        Operation::MapRead { file: 0 },
    ],
)];

pub(crate) fn all(dir: &Path) {
    for (index, (name, target, operations)) in STORIES.iter().enumerate() {
        if let Err(failure) = replay(&dir.join(index.to_string()), *target, operations) {
            panic!("{name}: {failure}");
        }
        println!("{name}");
    }
}
