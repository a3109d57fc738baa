//! Many small jobs at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs jobs on all cores until `job` returns false; several at a time on each, for a job that
/// meets a failure waits before it tries again.
pub(super) fn on_all_cores(job: impl Fn(usize) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from) * 4;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| while job(next.fetch_add(1, Ordering::Relaxed)) {});
        }
    });
}
