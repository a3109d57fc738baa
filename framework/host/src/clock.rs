//! The clock that never goes back, the same for all processes.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    static LAST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time since some moment before the machine's first process.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    LAST.set(now);
    now
}

/// What it said when this thread has last asked, which costs nothing; zero before.
pub(crate) fn last() -> Duration {
    LAST.get()
}
