//! What surrounds every request: counting, panics, errors.

use std::any::Any;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use fuser::Errno;
use hsci_extension::{Error, FileSystem, Ino, Result};
use hsci_protocol::mount::Death;
use parking_lot::Mutex;

use super::convert;
use super::operations::{Operation, Requests};
use crate::clock;
use crate::takeover::{Subject, Suspects, TakeoverState};

/// Runs the layers' code for one request after the other.
pub(super) struct Answers {
    /// Knows the paths of inodes.
    top: Arc<dyn FileSystem>,
    requests: Arc<Requests>,
    takeover: Arc<TakeoverState>,
    /// Requests that earlier workers did not survive.
    suspects: Suspects,
    complained: Mutex<HashSet<(&'static str, Ino)>>,
}

/// Files and operations about which is complained at most; later ones go unmentioned.
const MOST_COMPLAINTS: usize = 4096;

impl Answers {
    pub(super) fn new(
        top: Arc<dyn FileSystem>,
        requests: Arc<Requests>,
        takeover: Arc<TakeoverState>,
        death: Death,
    ) -> Self {
        let suspects = takeover.count(death);
        Self { top, requests, takeover, suspects, complained: Mutex::default() }
    }

    pub(super) fn count(&self, operation: Operation) {
        self.requests.count(operation);
    }

    /// Counts the request of this number and runs it. A panic is an I/O error of this request and no
    /// other; what the caller's errno cannot tell goes to the log, once for each operation and file.
    pub(super) fn to<T>(
        &self,
        unique: u64,
        operation: Operation,
        (ino, name): (Ino, Option<&OsStr>),
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T, Errno> {
        self.requests.count(operation);
        let begun = clock::now();
        let subject = Subject::new(operation as u64, ino.0, name);
        let outcome = if self.suspects.refuse(subject, name) {
            Err(Error::Broken("no worker survives this".to_owned()))
        } else {
            let turn = self.suspects.turn(unique);
            // A suspect may have waited for its turn.
            let since = if turn.is_some() { clock::now() } else { begun };
            let _at_work = self.takeover.begin(unique, subject, since);
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(broken(&*panic)))
        };
        self.requests.time(operation, clock::now() - begun);
        outcome.map_err(|error| {
            if matches!(error, Error::Damaged(_) | Error::Broken(_) | Error::Newer(_)) {
                self.complain(operation, (ino, name), &error);
            }
            convert::errno(error.errno())
        })
    }

    /// What is not tried any more: operation, inode, and name in it.
    pub(super) fn quarantined(&self) -> Vec<(&'static str, Ino, Option<OsString>)> {
        let listed = self.suspects.quarantined().into_iter();
        listed.map(|(of, name)| (Operation::name_of(of.operation), Ino(of.ino), name)).collect()
    }

    fn complain(&self, operation: Operation, (ino, name): (Ino, Option<&OsStr>), error: &Error) {
        let mut complained = self.complained.lock();
        if complained.len() < MOST_COMPLAINTS && complained.insert((operation.name(), ino)) {
            let mut path = path_of(&*self.top, ino);
            path.extend(name);
            log::error!("{} of /{}: {error}", operation.name(), path.display());
        }
    }
}

/// The path of an inode below the root of the mount, by the name by which it was last met.
pub(super) fn path_of(top: &dyn FileSystem, ino: Ino) -> PathBuf {
    let mut names = Vec::new();
    let mut at = ino;
    while let Ok((parent, name)) = top.parent(at) {
        names.push(name);
        at = parent;
    }
    names.iter().rev().collect()
}

/// What a panic says.
fn broken(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Error::Broken(text.unwrap_or_else(|| "panicked".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover;

    fn answers() -> Answers {
        let file = takeover::create().expect("a file");
        let (state, _) = TakeoverState::open(file).expect("usable");
        Answers::new(
            Arc::new(hsci_extension::Nothing),
            Arc::new(Requests::new()),
            Arc::new(state),
            Death::default(),
        )
    }

    fn errno<T: std::fmt::Debug>(outcome: Result<T, Errno>) -> i32 {
        outcome.expect_err("an error").code()
    }

    #[test]
    fn a_panic_fails_its_own_request_only() {
        let answers = answers();
        let broken = || -> Result<u8> { panic!("an extension's mistake") };
        assert_eq!(errno(answers.to(1, Operation::Read, (Ino(5), None), broken)), libc::EIO);
        assert_eq!(answers.to(1, Operation::Read, (Ino(5), None), || Ok(1)).ok(), Some(1));
        assert_eq!(answers.requests.counts()["read"], 2);
    }

    #[test]
    fn damage_is_reported_once_for_an_operation_and_file() {
        let answers = answers();
        let damaged = || -> Result<u8> { Err(Error::Damaged("chunk 3".to_owned())) };
        let missing = || -> Result<u8> { Err(hsci_extension::Errno::NOENT.into()) };
        for ino in [5, 5, 6] {
            assert_eq!(errno(answers.to(1, Operation::Read, (Ino(ino), None), damaged)), libc::EIO);
            assert_eq!(
                errno(answers.to(1, Operation::Lookup, (Ino(ino), None), missing)),
                libc::ENOENT
            );
        }
        let complained = answers.complained.into_inner();
        assert_eq!(complained, HashSet::from([("read", Ino(5)), ("read", Ino(6))]));
    }
}
