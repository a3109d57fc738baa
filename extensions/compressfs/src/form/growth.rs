//! Whether a file is one that grows and changes nowhere else, as logs do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Writes so near to the end count as appended: a program may write its last block again.
const NEAR_END: u64 = 1 << 20;

/// How a file in use has been written.
pub(crate) struct Growth {
    /// Since when nothing was written but at the end.
    since: Instant,
    /// The end as far as it is known from that, without asking for it.
    reach: u64,
    /// Length up to which it was not worth a new image.
    declined: AtomicU64,
}

impl Growth {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), reach: 0, declined: AtomicU64::new(0) }
    }

    /// Something changes from an offset on.
    pub(crate) fn note_change(&mut self, from: u64) {
        if from < self.reach.saturating_sub(NEAR_END) {
            self.restart();
            self.reach = from;
        }
        self.reach = self.reach.max(from);
    }

    /// Nothing is known of it any more.
    pub(crate) fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// True if it has been written at its end alone for so long.
    pub(crate) fn is_steady(&self, time: Duration) -> bool {
        self.since.elapsed() >= time
    }

    /// Bytes so far are not worth an image.
    pub(crate) fn decline(&self, len: u64) {
        self.declined.store(len, Ordering::Relaxed);
    }

    /// False if it has not doubled since it was declined.
    pub(crate) fn is_worth_a_look(&self, len: u64) -> bool {
        len / 2 >= self.declined.load(Ordering::Relaxed)
    }
}
