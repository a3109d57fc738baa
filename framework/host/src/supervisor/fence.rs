//! The lower directory of a mount, fenced from everybody but the processes that serve it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hsci_protocol::mount::Fenced;
use parking_lot::Mutex;
use rustix::io::Errno;

/// What can keep everybody from a directory but the calling process and one other.
pub trait Guardian: Sync {
    /// Fences a directory for the calling process and a worker. Called for each worker, while the
    /// directory is fenced for the one before. An error is the reason, without the directory's name.
    fn fence(&self, lower: BorrowedFd<'_>, worker: u32) -> Fenced;

    /// Ends what the calling process has fenced.
    fn release(&self, lower: BorrowedFd<'_>);
}

/// The fence of one mount. It ends with the value, or before the process does by [`Fence::end`].
pub(super) struct Fence {
    guardian: &'static dyn Guardian,
    lower: OwnedFd,
    worker: Mutex<Option<u32>>,
    /// What came of it last.
    state: Mutex<Fenced>,
}

impl Fence {
    pub(super) fn new(guardian: &'static dyn Guardian, lower: &OwnedFd) -> Result<Self, Errno> {
        let lower = rustix::io::fcntl_dupfd_cloexec(lower, 0)?;
        let state = Mutex::new(Err(String::new()));
        Ok(Self { guardian, lower, worker: Mutex::default(), state })
    }

    /// Lets a worker use the directory, before it does.
    pub(super) fn admit(&self, worker: u32) {
        // The result is asked for once more when the worker serves.
        let _ = self.guardian.fence(self.lower.as_fd(), worker);
    }

    /// The worker has ended, and its number may be given to another process.
    pub(super) fn ended(&self) {
        *self.worker.lock() = None;
    }

    /// From now on this worker serves.
    pub(super) fn serves(&self, worker: u32) {
        *self.worker.lock() = Some(worker);
        self.renew();
    }

    /// Whether the directory is fenced, or why not.
    pub(super) fn state(&self) -> Fenced {
        self.state.lock().clone()
    }

    /// Fences the directory once more: the guard may have come or gone.
    pub(super) fn renew(&self) {
        let worker = self.worker.lock();
        let Some(pid) = *worker else { return };
        *self.state.lock() = self.guardian.fence(self.lower.as_fd(), pid);
    }

    /// The mount has ended, and the directory is everybody's again. Threads that answer questions may
    /// have the value until the process ends, so nobody may wait for its drop.
    pub(super) fn end(&self) {
        self.ended();
        self.guardian.release(self.lower.as_fd());
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.guardian.release(self.lower.as_fd());
    }
}
