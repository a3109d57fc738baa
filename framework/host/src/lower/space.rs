//! Space of deleted files, which comes back later than `unlink` returns: the kernel tells of their end, and the supervisor
//! lets go of them, after it.

use std::time::{Duration, Instant};

use hsci_extension::{Errno, Error, Result};

use super::LowerTree;

/// How long the space of a deleted file may take to come back, and how often it is looked for.
const TIME_TO_RELEASE: Duration = Duration::from_millis(300);
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(10);

impl LowerTree {
    /// A file is being deleted.
    pub(super) fn note_release(&self) {
        *self.released.lock() = Some(Instant::now());
    }

    /// Waits until the space of files that were deleted by now has come back.
    pub(super) fn wait_for_release(&self) {
        let since = self.released.lock().map(|released| released.elapsed());
        if let Some(left) = since.and_then(|since| TIME_TO_RELEASE.checked_sub(since)) {
            std::thread::sleep(left);
        }
    }

    /// Tries again what has found the disk full, as long as the space of deleted files is coming back:
    /// the kernel tells of their end, and the supervisor lets go of them, after `unlink` has returned.
    pub(super) fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Err(Error::Lower(Errno::NOSPC)) if self.is_space_coming(begun) => {
                    std::thread::sleep(PAUSE_WHEN_FULL);
                }
                outcome => return outcome,
            }
        }
    }

    /// True if a file was deleted just now, and nobody has waited since `begun` for too long.
    fn is_space_coming(&self, begun: Instant) -> bool {
        let recent = |released: Instant| released.elapsed() < TIME_TO_RELEASE;
        begun.elapsed() < TIME_TO_RELEASE && self.released.lock().is_some_and(recent)
    }
}
