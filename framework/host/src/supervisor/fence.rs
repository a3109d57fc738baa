//! The lower directory of a mount, fenced from everybody but the processes that serve it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use hsci_protocol::line::send;
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

/// The fence of one mount. It ends with the value.
pub(super) struct Fence {
    guardian: &'static dyn Guardian,
    lower: OwnedFd,
    worker: Mutex<Option<(u32, UnixStream)>>,
}

impl Fence {
    pub(super) fn new(guardian: &'static dyn Guardian, lower: &OwnedFd) -> Result<Self, Errno> {
        let lower = rustix::io::fcntl_dupfd_cloexec(lower, 0)?;
        Ok(Self { guardian, lower, worker: Mutex::default() })
    }

    /// Lets a worker use the directory, before it does.
    pub(super) fn admit(&self, worker: u32) {
        // The result is asked for once more when the worker can be informed of it.
        let _ = self.guardian.fence(self.lower.as_fd(), worker);
    }

    /// The worker has ended, and its number may be given to another process.
    pub(super) fn ended(&self) {
        *self.worker.lock() = None;
    }

    /// From now on this worker serves, and is informed of the fence.
    pub(super) fn serves(&self, worker: u32, control: UnixStream) {
        *self.worker.lock() = Some((worker, control));
        self.renew();
    }

    /// Fences the directory once more: the guard may have come or gone.
    pub(super) fn renew(&self) {
        let worker = self.worker.lock();
        let Some((pid, control)) = &*worker else { return };
        let fenced = self.guardian.fence(self.lower.as_fd(), *pid);
        if let Err(error) = send(control, &fenced) {
            log::debug!("the worker has ended already: {error}");
        }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.guardian.release(self.lower.as_fd());
    }
}
