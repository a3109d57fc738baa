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

/// The part of its time that a change may be committed early: where many files are changed one after the other, the
/// thread would wake for each of them, and take the core of a caller that waits for nothing else.
const EARLY: u32 = 5;

struct Waiting<C: Content> {
    queue: Mutex<Queue<Weak<OpenFile<C>>>>,
    wake: Condvar,
}

struct Queue<T> {
    /// The first is due first, for all wait equally long. A file that went out of use was closed.
    files: VecDeque<(Instant, T)>,
    /// What is due until then is committed now.
    horizon: Option<Instant>,
    is_stopped: bool,
}

/// What the thread is to do.
#[derive(Debug, PartialEq, Eq)]
enum Turn<T> {
    Commit(T),
    WaitUntil(Instant),
    /// Until there is something.
    Wait,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { files: VecDeque::new(), horizon: None, is_stopped: false }
    }

    /// A file that is due, and after it those that are due so soon that they need no waking of their own.
    fn turn(&mut self, now: Instant, soon: Duration) -> Turn<T> {
        let Some(due) = self.files.front().map(|(due, _)| *due) else {
            self.horizon = None;
            return Turn::Wait;
        };
        if self.horizon.is_none_or(|horizon| due > horizon) {
            self.horizon = (due <= now).then(|| now + soon);
        }
        match self.horizon {
            None => Turn::WaitUntil(due),
            Some(_) => Turn::Commit(self.files.pop_front().expect("there is a first").1),
        }
    }
}

impl<C: Content> Committer<C> {
    pub(super) fn start(content: &Arc<C>, shared: &Arc<Shared>, delay: Duration) -> Option<Self> {
        let queue = Mutex::new(Queue::new());
        let waiting = Arc::new(Waiting { queue, wake: Condvar::new() });
        let (content, shared, serving) =
            (Arc::clone(content), Arc::clone(shared), Arc::clone(&waiting));
        let serve = move || {
            while let Some(open) = serving.next(delay / EARLY) {
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

    /// Waits for the next file that is to be committed; `None` at the end.
    fn next(&self, soon: Duration) -> Option<Arc<OpenFile<C>>> {
        let mut queue = self.queue.lock();
        while !queue.is_stopped {
            match queue.turn(Instant::now(), soon) {
                Turn::Wait => self.wake.wait(&mut queue),
                Turn::WaitUntil(due) => drop(self.wake.wait_until(&mut queue, due)),
                Turn::Commit(open) => {
                    if let Some(open) = open.upgrade() {
                        return Some(open);
                    }
                }
            }
        }
        None
    }
}

fn commit<C: Content>(content: &C, open: &OpenFile<C>) -> Result<(), Error> {
    // Before the commit, so that a change after it is noted again.
    open.take_uncommitted();
    let commit = || content.commit(&mut open.write());
    let panicked = |_| Err(Error::Broken("panic in a commit".to_owned()));
    catch_unwind(AssertUnwindSafe(commit)).unwrap_or_else(panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_take_few_wakings_and_none_is_late_or_much_too_early() {
        let (delay, soon) = (Duration::from_secs(5), Duration::from_secs(1));
        let begun = Instant::now();
        let mut queue = Queue::new();
        let (mut now, mut noted, mut wakings, mut done) = (begun, 0, 0, 0);
        while done < 20_000 {
            // A file each millisecond.
            while noted < 20_000 && begun + Duration::from_millis(noted) <= now {
                let at = begun + Duration::from_millis(noted);
                queue.files.push_back((at + delay, at));
                noted += 1;
            }
            match queue.turn(now, soon) {
                Turn::Commit(changed) => {
                    assert!(now <= changed + delay && now + soon >= changed + delay);
                    done += 1;
                }
                Turn::WaitUntil(due) => {
                    wakings += 1;
                    now = due;
                }
                Turn::Wait => panic!("{done} of {noted}"),
            }
        }
        assert_eq!(queue.turn(now, soon), Turn::Wait);
        assert!((20..=25).contains(&wakings), "{wakings}");
    }
}
