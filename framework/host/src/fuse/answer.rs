//! What surrounds every request: counting, panics, errors.

use std::any::Any;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use fuser::Errno;
use hsci_extension::{Error, Ino, Result};
use hsci_protocol::mount::Death;
use parking_lot::Mutex;

use super::convert;
use super::operations::{Operation, Requests};
use crate::takeover::{Suspects, TakeoverState};

/// Runs the layers' code for one request after the other.
pub(super) struct Answers {
    requests: Arc<Requests>,
    takeover: Arc<TakeoverState>,
    /// Requests that earlier workers did not survive.
    suspects: Suspects,
    complained: Mutex<HashSet<(&'static str, Ino)>>,
}

/// Files and operations about which is complained at most; later ones go unmentioned.
const MOST_COMPLAINTS: usize = 4096;

impl Answers {
    pub(super) fn new(requests: Arc<Requests>, takeover: Arc<TakeoverState>, death: Death) -> Self {
        let suspects = takeover.count(death);
        Self { requests, takeover, suspects, complained: Mutex::default() }
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
        ino: Ino,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T, Errno> {
        self.requests.count(operation);
        let (number, file) = (operation as u64, ino.0);
        let outcome = if self.suspects.refuse(number, file) {
            Err(Error::Broken("no worker survives this".to_owned()))
        } else {
            let _turn = self.suspects.turn(unique);
            let _at_work = self.takeover.begin(unique, number, file);
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(broken(&*panic)))
        };
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
        Answers::new(Arc::new(Requests::new()), Arc::new(state), Death::default())
    }

    fn errno<T: std::fmt::Debug>(outcome: Result<T, Errno>) -> i32 {
        outcome.expect_err("an error").code()
    }

    #[test]
    fn a_panic_fails_its_own_request_only() {
        let answers = answers();
        let broken = || -> Result<u8> { panic!("an extension's mistake") };
        assert_eq!(errno(answers.to(1, Operation::Read, Ino(5), broken)), libc::EIO);
        assert_eq!(answers.to(1, Operation::Read, Ino(5), || Ok(1)).ok(), Some(1));
        assert_eq!(answers.requests.counts()["read"], 2);
    }

    #[test]
    fn damage_is_reported_once_for_an_operation_and_file() {
        let answers = answers();
        let damaged = || -> Result<u8> { Err(Error::Damaged("chunk 3".to_owned())) };
        let missing = || -> Result<u8> { Err(hsci_extension::Errno::NOENT.into()) };
        for ino in [5, 5, 6] {
            assert_eq!(errno(answers.to(1, Operation::Read, Ino(ino), damaged)), libc::EIO);
            assert_eq!(errno(answers.to(1, Operation::Lookup, Ino(ino), missing)), libc::ENOENT);
        }
        let complained = answers.complained.into_inner();
        assert_eq!(complained, HashSet::from([("read", Ino(5)), ("read", Ino(6))]));
    }
}
