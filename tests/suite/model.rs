//! Random operations on a mount and on a plain directory beside it: both must answer alike, and
//! hold the same tree, byte for byte and attribute for attribute.

mod operation;
mod regressions;
mod shrink;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Random, Test, machine};
use operation::Operation;
use world::World;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "model::nullfs_equals_a_plain_directory", seconds: 300, body: nullfs },
    Test { name: "model::zstd_equals_a_plain_directory", seconds: 400, body: zstd },
    Test { name: "model::lz4_equals_a_plain_directory", seconds: 300, body: lz4 },
    Test { name: "model::deflate_equals_a_plain_directory", seconds: 300, body: deflate },
    Test { name: "model::the_profile_for_data_equals_a_plain_directory", seconds: 300, body: data },
    Test { name: "model::shrunk_failures_of_the_past", seconds: 120, body: regressions::all },
];

fn nullfs(dir: &Path) {
    run(dir, Target { extension: "nullfs", options: "" }, 2);
}

fn zstd(dir: &Path) {
    run(dir, Target { extension: "compressfs", options: "settle=50ms,chunk=32K" }, 4);
}

fn lz4(dir: &Path) {
    let options = "algorithm=lz4,settle=50ms,chunk=64K";
    run(dir, Target { extension: "compressfs", options }, 2);
}

fn deflate(dir: &Path) {
    let options = "algorithm=deflate:1,settle=50ms";
    run(dir, Target { extension: "compressfs", options }, 2);
}

fn data(dir: &Path) {
    let options = "profile=data,settle=50ms,chunk=32K";
    let target = Target { extension: "compressfs", options };
    // The kernel writes without the right to leave these bits.
    let operation = |random: &mut Random| match Operation::random(random) {
        Operation::Chmod { any, mode } => Operation::Chmod { any, mode: mode & 0o1777 },
        other => other,
    };
    run_with(dir, target, 1, operation);
}

/// What the operations are tried on.
#[derive(Clone, Copy)]
struct Target {
    extension: &'static str,
    options: &'static str,
}

/// Operations on one mount before a fresh one is taken; failures shrink faster in short sessions.
const SESSION: usize = 5_000;
/// Operations between two comparisons of the whole trees.
const CHECKPOINT: usize = 500;

/// `sessions` of them in a short run; `HSCI_MODEL` times as many in a long one.
fn run(dir: &Path, target: Target, sessions: u64) {
    run_with(dir, target, sessions, Operation::random);
}

fn run_with(
    dir: &Path,
    target: Target,
    sessions: u64,
    operation: impl Fn(&mut Random) -> Operation,
) {
    let sessions = sessions * machine::amount("HSCI_MODEL", 1);
    let mut random = Random::new(Random::seed("model"));
    let mut done = 0;
    for session in 0..sessions {
        let operations: Vec<_> = (0..SESSION).map(|_| operation(&mut random)).collect();
        let base = dir.join(session.to_string());
        let failure = match replay(&base, target, &operations) {
            Ok(succeeded) => {
                done += succeeded;
                continue;
            }
            Err(failure) => failure,
        };
        println!("session {session}: {failure}");
        let (shortest, failure) =
            shrink::shrink(operations[..failure.at].to_vec(), failure, Duration::from_secs(60), {
                let mut tries = 0;
                move |operations| {
                    tries += 1;
                    replay(&dir.join(format!("try-{tries}")), target, operations)
                }
            });
        panic!("{} operations fail: {failure}\n{shortest:#?}", shortest.len());
    }
    let count = sessions as usize * SESSION;
    println!("{count} operations, {done} of them succeeded");
    assert!(done > count / 2, "most operations must do something");
}

/// Where and how a sequence of operations failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// How many operations lead to it.
    at: usize,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "after {} operations: {}", self.at, self.text)
    }
}

/// Runs operations in a fresh directory, which is removed afterwards.
/// Returns how many operations succeeded on both sides.
fn replay(base: &Path, target: Target, operations: &[Operation]) -> Result<usize, Failure> {
    let plain = base.join("plain");
    std::fs::create_dir_all(&plain).expect("plain directory");
    let mut mount = Mount::new(base, "mount", target.extension, target.options);
    let mut pair = Pair { ours: World::new(mount.dir()), plain: World::new(&plain) };
    let mut done = 0;
    let mut outcome = Ok(());
    for (index, operation) in operations.iter().enumerate() {
        let fail = |text| Failure { at: index + 1, text };
        outcome = pair
            .step(&mut mount, operation)
            .map(|succeeded| done += usize::from(succeeded))
            .map_err(fail);
        if outcome.is_ok() && (index + 1).is_multiple_of(CHECKPOINT) {
            outcome = pair.compare().map_err(fail);
        }
        if outcome.is_err() {
            break;
        }
    }
    let fail = |text| Failure { at: operations.len(), text };
    let outcome = outcome.and_then(|()| pair.compare_after_remount(&mut mount).map_err(fail));
    drop(pair);
    drop(mount);
    std::fs::remove_dir_all(base).expect("clean up");
    outcome.map(|()| done)
}

struct Pair {
    ours: World,
    plain: World,
}

impl Pair {
    fn step(&mut self, mount: &mut Mount, operation: &Operation) -> Result<bool, String> {
        match operation {
            Operation::Settle if mount.lower().join(".hsci").exists() => mount.settle(),
            Operation::Settle => {}
            Operation::Remount => {
                self.ours.let_go();
                self.plain.let_go();
                mount.remount();
            }
            _ => return self.both(operation),
        }
        Ok(true)
    }

    fn both(&mut self, operation: &Operation) -> Result<bool, String> {
        let started = Instant::now();
        let plain = self.plain.apply(operation);
        let ours = self.ours.apply(operation);
        if started.elapsed() > Duration::from_secs(10) {
            return Err(format!("{operation:?} took {:?}", started.elapsed()));
        }
        if ours == plain {
            Ok(plain.is_ok())
        } else {
            Err(format!("{operation:?}: mount {ours:?}, plain directory {plain:?}"))
        }
    }

    fn compare(&self) -> Result<(), String> {
        let differences = world::differences(self.ours.root(), self.plain.root());
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    }

    fn compare_after_remount(&mut self, mount: &mut Mount) -> Result<(), String> {
        self.ours.let_go();
        mount.remount();
        self.compare()
    }
}
