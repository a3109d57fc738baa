//! The lower directory of a mount, kept from everybody but the processes that serve it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::protocol::{Seal, send};

/// What can keep everybody from a directory but the calling process and one other.
pub trait Sealer: Sync {
    /// Seals a directory for the calling process and a worker. Called for each worker, while the
    /// directory is sealed for the one before. An error is the reason, without the directory's name.
    fn seal(&self, lower: BorrowedFd<'_>, worker: u32) -> Seal;

    /// Ends what the calling process has sealed.
    fn unseal(&self, lower: BorrowedFd<'_>);
}

/// The seal of one mount. It ends with the value.
pub(super) struct Sealed {
    sealer: &'static dyn Sealer,
    lower: OwnedFd,
    worker: Mutex<Option<(u32, UnixStream)>>,
}

impl Sealed {
    pub(super) fn new(sealer: &'static dyn Sealer, lower: &OwnedFd) -> Result<Self, Errno> {
        let lower = rustix::io::fcntl_dupfd_cloexec(lower, 0)?;
        Ok(Self { sealer, lower, worker: Mutex::default() })
    }

    /// Lets a worker use the directory, before it does.
    pub(super) fn admit(&self, worker: u32) {
        // What it says is asked once more when the worker can be told.
        let _ = self.sealer.seal(self.lower.as_fd(), worker);
    }

    /// The worker has ended, and its number may be given to somebody else.
    pub(super) fn ended(&self) {
        *self.worker.lock() = None;
    }

    /// From now on this worker serves, and is told what becomes of the seal.
    pub(super) fn serves(&self, worker: u32, control: UnixStream) {
        *self.worker.lock() = Some((worker, control));
        self.renew();
    }

    /// Seals the directory once more: what seals it may have come or gone.
    pub(super) fn renew(&self) {
        let worker = self.worker.lock();
        let Some((pid, control)) = &*worker else { return };
        let sealed = self.sealer.seal(self.lower.as_fd(), *pid);
        if let Err(error) = send(control, &sealed) {
            log::debug!("the worker has ended already: {error}");
        }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.sealer.unseal(self.lower.as_fd());
    }
}
