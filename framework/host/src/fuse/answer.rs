//! What surrounds every request: counting, panics, errors.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::Errno;
use hsci_extension::{Error, Ino, Result};
use parking_lot::Mutex;

use super::convert;
use super::requests::{Operation, Requests};

/// Runs the layers' code for one request after the other.
pub(super) struct Answers {
    requests: Arc<Requests>,
    complained: Mutex<HashSet<(&'static str, Ino)>>,
}

/// Files and operations about which is complained at most; later ones go unmentioned.
const MOST_COMPLAINTS: usize = 4096;

impl Answers {
    pub(super) fn new(requests: Arc<Requests>) -> Self {
        Self { requests, complained: Mutex::default() }
    }

    pub(super) fn count(&self, operation: Operation) {
        self.requests.count(operation);
    }

    /// Counts the request and runs it. A panic is an I/O error of this request and no other; what
    /// the caller's errno cannot tell goes to the log, once for each operation and file.
    pub(super) fn to<T>(
        &self,
        operation: Operation,
        ino: Ino,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T, Errno> {
        self.requests.count(operation);
        let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Error::Broken(text.unwrap_or_else(|| "panicked".to_owned())))
        });
        outcome.map_err(|error| {
            if matches!(error, Error::Damaged(_) | Error::Broken(_) | Error::Newer(_)) {
                self.complain(operation, ino, &error);
            }
            convert::errno(error.errno())
        })
    }

    fn complain(&self, operation: Operation, ino: Ino, error: &Error) {
        let mut complained = self.complained.lock();
        if complained.len() < MOST_COMPLAINTS && complained.insert((operation.name(), ino)) {
            log::error!("{} of inode {}: {error}", operation.name(), ino.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno<T: std::fmt::Debug>(outcome: Result<T, Errno>) -> i32 {
        outcome.expect_err("an error").code()
    }

    #[test]
    fn a_panic_fails_its_own_request_only() {
        let answers = Answers::new(Arc::new(Requests::new()));
        let broken = || -> Result<u8> { panic!("a plug-in's mistake") };
        assert_eq!(errno(answers.to(Operation::Read, Ino(5), broken)), libc::EIO);
        assert_eq!(answers.to(Operation::Read, Ino(5), || Ok(1)).ok(), Some(1));
        assert_eq!(answers.requests.to_json()["read"], 2);
    }

    #[test]
    fn damage_is_reported_once_for_an_operation_and_file() {
        let answers = Answers::new(Arc::new(Requests::new()));
        let damaged = || -> Result<u8> { Err(Error::Damaged("chunk 3".to_owned())) };
        let missing = || -> Result<u8> { Err(hsci_extension::Errno::NOENT.into()) };
        for ino in [5, 5, 6] {
            assert_eq!(errno(answers.to(Operation::Read, Ino(ino), damaged)), libc::EIO);
            assert_eq!(errno(answers.to(Operation::Lookup, Ino(ino), missing)), libc::ENOENT);
        }
        let complained = answers.complained.into_inner();
        assert_eq!(complained, HashSet::from([("read", Ino(5)), ("read", Ino(6))]));
    }
}
