//! Requests that take too long.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hsci_extension::Ino;
use parking_lot::Mutex;

use super::requests::Operation;

/// The longest time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What is being worked on, and since when.
#[derive(Default)]
pub(super) struct Watch {
    running: Mutex<HashMap<u64, Running>>,
    next: AtomicU64,
}

struct Running {
    since: Instant,
    operation: Operation,
    ino: Ino,
}

/// Work that is over when this is dropped.
pub(super) struct Watched<'a> {
    watch: &'a Watch,
    number: u64,
}

impl Watch {
    pub(super) fn begin(&self, operation: Operation, ino: Ino) -> Watched<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let running = Running { since: Instant::now(), operation, ino };
        self.running.lock().insert(number, running);
        Watched { watch: self, number }
    }

    /// Ends this process when something takes longer than `deadline`: no thread can be taken away
    /// from an extension that does not give it back. The supervisor starts another worker, which is
    /// sent the request once more.
    pub(super) fn enforce(self: &Arc<Self>, deadline: Duration) {
        let watch = Arc::clone(self);
        let look = move || {
            loop {
                std::thread::sleep(PAUSE.min(deadline / 4));
                let running = watch.running.lock();
                let Some(late) = running.values().find(|one| one.since.elapsed() > deadline) else {
                    continue;
                };
                log::error!(
                    "{} of inode {}: not done after {deadline:?}, so another worker takes over",
                    late.operation.name(),
                    late.ino.0
                );
                std::process::abort();
            }
        };
        let started = std::thread::Builder::new().name("watch".to_owned()).spawn(look);
        if let Err(error) = started {
            log::warn!("nobody notices an extension that hangs: {error}");
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.watch.running.lock().remove(&self.number);
    }
}
