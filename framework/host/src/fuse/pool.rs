//! Event loops: as many as it takes for calls that wait to stall no others.
//!
//! A loop reads a request, has it worked on and answered, and reads the next. When all of them are busy for
//! longer than a moment, more are started; when the rush is over, those stay parked between two requests. The
//! first ones never are: their end is how the end of the mount is noticed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::placement::Placement;
use crate::takeover::{THREADS, TakeoverState};

/// Most loops of a mount; with so many calls that wait, further ones wait for them.
const MOST: usize = THREADS;
/// Fewest loops that are added at a time: seldom and many.
const LEAST: usize = 128;
/// So many are started together; they read requests while others are started.
const GROUP: usize = 16;
/// A call that takes longer waits for something.
const PATIENCE: Duration = Duration::from_millis(8);
/// The time between two looks while all loops are busy, and while they are not.
const TICK: Duration = Duration::from_millis(4);
const SLOW_TICK: Duration = Duration::from_millis(200);
/// When loops are started again that could not be.
const RETRY: Duration = Duration::from_secs(2);
/// How long the rush must be over before loops are parked, and before nobody looks any more.
const CALM: Duration = Duration::from_secs(2);

/// The loops of one mount.
pub(super) struct Pool {
    /// How many loops are kept free for calls that do not wait.
    base: usize,
    /// Knows since when each loop works on its request.
    state: Arc<TakeoverState>,
    busy: AtomicUsize,
    /// Loops that are not parked, and how many there should be.
    active: AtomicUsize,
    wanted: AtomicUsize,
    /// Somebody looks whether loops are missing.
    watched: AtomicBool,
    watcher: Mutex<Option<Thread>>,
    parked: Mutex<Parked>,
    unpark: Condvar,
    pub(super) placement: Arc<Placement>,
}

#[derive(Default)]
struct Parked {
    loops: usize,
    /// How many may go on.
    called: usize,
    ended: bool,
}

/// Starts so many loops, which end with the mount, and returns when they read requests, or none of them can.
pub(super) type Start = Box<dyn Fn(usize) -> io::Result<JoinHandle<()>> + Send>;

/// A request that a loop works on, until its answer is given.
pub(super) struct Turn<'a> {
    pool: &'a Pool,
    may_park: bool,
}

impl Pool {
    pub(super) fn new(base: usize, state: Arc<TakeoverState>) -> Arc<Self> {
        let base = base.clamp(1, MOST);
        Arc::new(Self {
            base,
            state,
            busy: AtomicUsize::new(0),
            active: AtomicUsize::new(base),
            wanted: AtomicUsize::new(base),
            watched: AtomicBool::new(false),
            watcher: Mutex::new(None),
            parked: Mutex::default(),
            unpark: Condvar::new(),
            placement: Arc::default(),
        })
    }

    /// This loop has read a request of a process.
    pub(super) fn turn(&self, may_park: bool, caller: u32) -> Turn<'_> {
        let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        if busy >= self.active.load(Ordering::Relaxed) && !self.watched.load(Ordering::Relaxed) {
            self.watch();
        }
        self.placement.begin(caller);
        Turn { pool: self, may_park }
    }

    #[cold]
    fn watch(&self) {
        if !self.watched.swap(true, Ordering::AcqRel)
            && let Some(watcher) = &*self.watcher.lock()
        {
            watcher.unpark();
        }
    }

    /// Loops that have worked on one request for longer than a moment.
    fn waiting(&self) -> usize {
        self.state.waiting(PATIENCE)
    }

    /// How many loops are missing.
    fn missing(&self) -> usize {
        let (waiting, active) = (self.waiting(), self.active.load(Ordering::Relaxed));
        if active.saturating_sub(waiting) >= self.base {
            return 0;
        }
        // A queue of calls that wait must be taken over whole before others get through.
        (4 * waiting).max(LEAST).min(MOST - active)
    }

    /// Lets parked loops go on; returns how many more are needed.
    fn call(&self, loops: usize) -> usize {
        let mut parked = self.parked.lock();
        let called = loops.min(parked.loops - parked.called);
        parked.called += called;
        self.active.fetch_add(called, Ordering::Relaxed);
        self.unpark.notify_all();
        loops - called
    }

    /// Parks this loop if there are more than are wanted.
    fn park(&self) {
        let surplus =
            |active: usize| (active > self.wanted.load(Ordering::Relaxed)).then(|| active - 1);
        if self.active.fetch_update(Ordering::Relaxed, Ordering::Relaxed, surplus).is_err() {
            return;
        }
        let mut parked = self.parked.lock();
        parked.loops += 1;
        while parked.called == 0 && !parked.ended {
            self.unpark.wait(&mut parked);
        }
        parked.called = parked.called.saturating_sub(1);
        parked.loops -= 1;
    }

    /// Looks, on a thread of its own, whether loops are missing, and starts them.
    pub(super) fn grow(self: &Arc<Self>, start: Start) -> io::Result<()> {
        let pool = Arc::clone(self);
        let thread = std::thread::Builder::new().name("grow".to_owned());
        let handle = thread.spawn(move || pool.look(&start))?;
        *self.watcher.lock() = Some(handle.thread().clone());
        Ok(())
    }

    fn look(&self, start: &Start) {
        let mut started = Vec::new();
        while !self.parked.lock().ended {
            if !self.watched.load(Ordering::Acquire) {
                std::thread::park();
                continue;
            }
            self.look_while_busy(start, &mut started);
        }
        for handle in started {
            let _ = handle.join();
        }
    }

    /// Looks until the rush is over.
    fn look_while_busy(&self, start: &Start, started: &mut Vec<JoinHandle<()>>) {
        let mut rush = Instant::now();
        while rush.elapsed() < CALM && !self.parked.lock().ended {
            if rush.elapsed() > SLOW_TICK {
                // Whoever finds all loops busy meanwhile ends this sleep.
                self.watched.store(false, Ordering::Release);
                std::thread::park_timeout(SLOW_TICK);
            }
            std::thread::sleep(TICK);
            if self.busy.load(Ordering::Relaxed) < self.active.load(Ordering::Relaxed) {
                continue;
            }
            rush = Instant::now();
            let missing = self.missing();
            if missing == 0 {
                continue;
            }
            let more = self.call(missing);
            self.wanted.store(self.active.load(Ordering::Relaxed) + more, Ordering::Relaxed);
            for first in (0..more).step_by(GROUP) {
                let group = GROUP.min(more - first);
                match start(group) {
                    Ok(handle) => started.push(handle),
                    Err(error) => {
                        log::warn!("calls that wait hold up others: {error}");
                        std::thread::park_timeout(RETRY);
                        break;
                    }
                }
                self.active.fetch_add(group, Ordering::Relaxed);
            }
        }
        self.wanted.store(self.base + self.waiting(), Ordering::Relaxed);
        self.watched.store(false, Ordering::Release);
    }

    /// The mount has ended, and with it the loops that are not parked.
    pub(super) fn end(&self) {
        self.parked.lock().ended = true;
        self.unpark.notify_all();
        if let Some(watcher) = &*self.watcher.lock() {
            watcher.unpark();
        }
        self.placement.finish();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pool.busy.fetch_sub(1, Ordering::Relaxed);
        self.pool.placement.end();
        let (active, wanted) = (&self.pool.active, &self.pool.wanted);
        if self.may_park && active.load(Ordering::Relaxed) > wanted.load(Ordering::Relaxed) {
            self.pool.park();
        }
    }
}
