//! Commits: a few seconds after a change, whatever only the state of a file knows goes to its lower
//! file, however long the file is written.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::open_file::Shared;
use crate::{Content, Error, OpenFile};

/// The way to the thread.
pub(super) struct Committer<C: Content> {
    delay: Duration,
    waiting: Arc<Waiting<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Waiting<C: Content> {
    queue: Mutex<Queue<C>>,
    wake: Condvar,
}

struct Queue<C: Content> {
    /// The first is due first, for all wait equally long. A file that went out of use was closed.
    files: VecDeque<(Instant, Weak<OpenFile<C>>)>,
    is_stopped: bool,
}

impl<C: Content> Committer<C> {
    pub(super) fn start(content: &Arc<C>, shared: &Arc<Shared>, delay: Duration) -> Option<Self> {
        let queue = Mutex::new(Queue { files: VecDeque::new(), is_stopped: false });
        let waiting = Arc::new(Waiting { queue, wake: Condvar::new() });
        let (content, shared, serving) =
            (Arc::clone(content), Arc::clone(shared), Arc::clone(&waiting));
        let serve = move || {
            while let Some(open) = serving.next() {
                if let Err(error) = commit(&*content, &open)
                    && !shared.is_stopping()
                {
                    log::warn!("{} is not committed: {error}", open.path().display());
                    serving.push(&open, delay);
                }
            }
        };
        match std::thread::Builder::new().name("commit".to_owned()).spawn(serve) {
            Ok(thread) => Some(Self { delay, waiting, thread: Mutex::new(Some(thread)) }),
            Err(error) => {
                log::error!("changes are committed by fsync only, for want of a thread: {error}");
                None
            }
        }
    }

    /// A file was changed.
    pub(super) fn note(&self, open: &Arc<OpenFile<C>>) {
        self.waiting.push(open, self.delay);
    }

    /// Ends the thread; what waits is committed when the files are closed.
    pub(super) fn stop(&self) {
        self.waiting.queue.lock().is_stopped = true;
        self.waiting.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "panics are caught");
        }
    }
}

impl<C: Content> Waiting<C> {
    fn push(&self, open: &Arc<OpenFile<C>>, delay: Duration) {
        if !open.note_uncommitted() {
            return;
        }
        let mut queue = self.queue.lock();
        queue.files.push_back((Instant::now() + delay, Arc::downgrade(open)));
        if queue.files.len() == 1 {
            self.wake.notify_all();
        }
    }

    /// Waits for the next file that is due; `None` at the end.
    fn next(&self) -> Option<Arc<OpenFile<C>>> {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_stopped {
                return None;
            }
            match queue.files.front() {
                None => self.wake.wait(&mut queue),
                Some((due, _)) if *due > Instant::now() => {
                    let due = *due;
                    self.wake.wait_until(&mut queue, due);
                }
                Some(_) => {
                    let (_, open) = queue.files.pop_front().expect("there is a first");
                    if let Some(open) = open.upgrade() {
                        return Some(open);
                    }
                }
            }
        }
    }
}

fn commit<C: Content>(content: &C, open: &OpenFile<C>) -> Result<(), Error> {
    // Before the commit, so that a change after it is noted again.
    open.take_uncommitted();
    let commit = || content.commit(&mut open.write());
    let panicked = |_| Err(Error::Broken("panic in a commit".to_owned()));
    catch_unwind(AssertUnwindSafe(commit)).unwrap_or_else(panicked)
}
