//! What every stack of extensions has to keep: the conformance suite.
//!
//! The same cases run on a layer without a mount ([`check`]) and on a directory of a real mount
//! ([`on_directory`]). An extension that works in the background has its work forced between the
//! steps of each case by [`check_disturbed`] and [`on_directory_disturbed`].

mod callers;
mod content;
mod directory;
mod layer;
mod model;
mod names;
mod space;
mod subject;

use std::path::Path;

pub use self::callers::names_as;
use self::directory::Directory;
use self::layer::Layer;
use self::subject::Subject;
use crate::{FileSystem, Result};

/// A case that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What has to hold.
    pub case: &'static str,
    /// What happened instead.
    pub text: String,
}

/// Why a case is not kept, or an error that stopped it.
#[derive(Debug)]
struct Broken(String);

type Outcome = std::result::Result<(), Broken>;

impl From<crate::Error> for Broken {
    fn from(error: crate::Error) -> Self {
        Self(error.to_string())
    }
}

/// Leaves the case unless two values are equal.
macro_rules! same {
    ($found:expr, $wanted:expr, $($what:tt)+) => {{
        let (found, wanted) = ($found, $wanted);
        if found != wanted {
            let what = format!($($what)+);
            return Err(crate::testkit::conformance::Broken(format!(
                "{what}: found {found:?}, wanted {wanted:?}"
            )));
        }
    }};
}
use same;

/// Leaves the case unless bytes are equal; says where they differ.
fn same_bytes(found: &[u8], wanted: &[u8], what: &str) -> Outcome {
    same!(found.len(), wanted.len(), "{what}: length");
    match found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
        None => Ok(()),
        Some(at) => {
            same!(found[at], wanted[at], "{what}: byte {at} of {}", wanted.len());
            Ok(())
        }
    }
}

/// Bytes that any codec shrinks, different for each seed.
fn text(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (at / 7 % 61 + (at >> 11) * seed % 64 + u64::from(b'0')) as u8)
        .collect()
}

/// Bytes that no codec shrinks (xorshift, Marsaglia 2003).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

type Case<S> = (&'static str, fn(&S) -> Outcome);

fn run<S: Subject>(start: impl Fn(&str) -> Result<S>) -> Vec<Failure> {
    let cases = content::cases().into_iter().chain(space::cases()).chain(names::cases());
    let mut failures = Vec::new();
    for (number, (case, check)) in cases.chain(model::cases()).enumerate() {
        let outcome = match start(&format!("case-{number}")) {
            Ok(subject) => {
                let outcome = check(&subject);
                let cleaned = subject.clean();
                outcome.and_then(|()| Ok(cleaned?))
            }
            Err(error) => Err(error.into()),
        };
        if let Err(Broken(text)) = outcome {
            failures.push(Failure { case, text });
        }
    }
    failures
}

/// Runs all cases on a layer, in directories that are made below its root and removed again.
/// Empty if all are kept.
#[must_use]
pub fn check(layer: &dyn FileSystem) -> Vec<Failure> {
    check_disturbed(layer, &|| ())
}

/// As [`check`], with a call of `disturb` between the steps of each case.
#[must_use]
pub fn check_disturbed(layer: &dyn FileSystem, disturb: &(dyn Fn() + Sync)) -> Vec<Failure> {
    let mut failures = run(|name| Layer::start(layer, name, disturb));
    failures.extend(callers::two_users(layer, disturb));
    failures
}

/// Runs all cases in directories that are made below `path` and removed again, as the caller's own
/// user. The caller must not serve the mount itself. Empty if all are kept.
#[must_use]
pub fn on_directory(path: &Path) -> Vec<Failure> {
    on_directory_disturbed(path, &|| ())
}

/// As [`on_directory`], with a call of `disturb` between the steps of each case.
#[must_use]
pub fn on_directory_disturbed(path: &Path, disturb: &(dyn Fn() + Sync)) -> Vec<Failure> {
    run(|name| Directory::start(path, name, disturb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::MemoryTree;

    #[test]
    fn a_tree_in_memory_keeps_all_cases() {
        let tree = MemoryTree::new();
        assert_eq!(check(&*tree), []);
        assert_eq!(tree.known_inodes(), 0);
    }

    /// Finds for everybody what it lists for the owner alone.
    struct Leaks(std::sync::Arc<MemoryTree>);

    impl crate::Layer for Leaks {
        fn lower(&self) -> &crate::Stack {
            &*self.0
        }

        fn readdir(
            &self,
            call: &crate::Call,
            ino: crate::Ino,
            cookie: u64,
            budget: usize,
        ) -> Result<Vec<crate::DirEntry>> {
            let mut listed = self.lower().readdir(call, ino, cookie, budget)?;
            listed.retain(|entry| {
                let name = entry.name.to_string_lossy();
                call.uid == 0
                    || !name.starts_with("private")
                    || name.ends_with(&call.uid.to_string())
            });
            Ok(listed)
        }
    }

    #[test]
    fn names_that_another_user_finds_and_is_not_shown_are_a_failure() {
        let failures = check(&Leaks(MemoryTree::new()));
        assert_eq!(failures.len(), 1, "{failures:#?}");
        assert!(failures[0].text.contains("private-1000 looked up by user 1001"), "{failures:#?}");
    }

    #[test]
    fn a_real_directory_keeps_all_cases() {
        let path = std::env::temp_dir().join(format!("hsci-conformance-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory for the test");
        let failures = on_directory(&path);
        std::fs::remove_dir_all(&path).expect("the directory can be removed");
        assert_eq!(failures, []);
    }
}
