//! Attempts against a host of root's by those who own what it serves, or use it.
//!
//! Each attempt ends: the victim, a file or directory outside of what was to be served, is what it
//! was; nothing hangs; nothing stays mounted that was refused. Races are won on purpose, by stopping
//! the host at a point that the checked build has for it (`HSCI_PAUSE`).
//!
//! `docs/src/explanation/security.md` lists what each protection stands against.

mod bits;
pub(crate) mod fairness;
pub(crate) mod forger;
mod journals;
mod namespaces;
mod places;
pub(crate) mod protections;
mod races;
mod readers;
mod servers;
mod stores;
mod words;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hsci_tests::command::{ALICE, Done};
use hsci_tests::{Run, Test, machine};

pub(crate) const TESTS: &[&[Test]] = &[
    bits::TESTS,
    fairness::TESTS,
    journals::TESTS,
    namespaces::TESTS,
    places::TESTS,
    protections::TESTS,
    races::TESTS,
    readers::TESTS,
    servers::TESTS,
    stores::TESTS,
    words::TESTS,
];

/// What must not change.
struct Victim {
    path: PathBuf,
    before: Vec<u64>,
    content: Vec<u8>,
}

impl Victim {
    /// A file of root's in a directory of root's.
    fn new(dir: &Path) -> Self {
        let outside = dir.join("outside");
        fs::create_dir_all(&outside).expect("directory");
        let path = outside.join("victim");
        fs::write(&path, "root's own words\n".repeat(1000)).expect("write");
        Self::at(&path)
    }

    fn at(path: &Path) -> Self {
        let content = fs::read(path).unwrap_or_default();
        Self { path: path.to_owned(), before: facts(path), content }
    }

    fn check(&self, attempt: &str) {
        assert_eq!(facts(&self.path), self.before, "{attempt}: the victim is touched");
        let now = fs::read(&self.path).unwrap_or_default();
        assert!(now == self.content, "{attempt}: the victim is written");
    }
}

fn facts(path: &Path) -> Vec<u64> {
    let stat = fs::symlink_metadata(path).expect("the victim stays");
    let (mtime, kind) = (stat.mtime_nsec() as u64, u64::from(stat.mode()));
    vec![stat.ino(), kind, stat.uid().into(), stat.gid().into(), stat.size(), mtime]
}

/// Runs `hsci` with a limit: what hangs is ended, and then its exit code is 124.
fn limited<const N: usize>(arguments: [&str; N], paths: &[&Path]) -> Done {
    let run = Run::new("timeout").args(["-k", "5", "30"]).arg(machine::hsci());
    run.args(arguments).args(paths).done()
}

/// Checks that an attempt came to an end, and takes off what it has mounted.
fn ended(attempt: &str, done: &Done, dir: &Path) {
    assert!(done.code != 124 && done.code != 137, "{attempt}: hangs");
    assert!((0..=7).contains(&done.code), "{attempt}: exit code {}: {}", done.code, done.err);
    if done.code == 0 {
        unmount(dir);
    }
    assert!(!is_mounted(dir), "{attempt}: something stays mounted");
}

fn unmount(dir: &Path) {
    if is_mounted(dir) {
        limited(["unmount"], &[dir]).ok();
    }
}

/// True if the mount table has something of ours at a directory.
fn is_mounted(dir: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mount table");
    let place = format!(" {} ", dir.display());
    table.lines().any(|line| line.contains(&place) && line.contains("fuse.hsci"))
}

/// A directory that Alice owns.
fn alices(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir).expect("directory");
    std::os::unix::fs::chown(dir, Some(ALICE), Some(ALICE)).expect("chown");
    dir.to_owned()
}

/// Alice does something; it works, for nothing forbids it.
fn alice(line: &str) {
    Run::as_user(ALICE, "bash").args(["-ec", line]).ok();
}
