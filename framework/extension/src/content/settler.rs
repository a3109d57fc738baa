//! Settling: threads that hand quiet files to the extension, while users take turns.
//!
//! One thread watches times and gives work out; [`Lanes`] say whose turn it is, and each turn has a thread as long as there
//! are not too many. All of them yield to the threads that serve requests.

mod lanes;
mod order;
mod queue;
mod search;
mod turns;
mod walk;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::lanes::Lanes;
use self::order::Orders;
use self::queue::{Queue, Waiting};
use super::open_file::Hold;
use super::open_files::{OpenFiles, Use};
use crate::{Call, Content, Error, FileKind, Ino, Kernel, OpenFile, Result, Scan, Settled};

/// What is handed to the extension at a time: files, and bytes that their lower files hold.
const BATCH_FILES: usize = 2048;
const BATCH_BYTES: u64 = 64 << 20;
/// How long a file waits after its first failure, and at most; each failure doubles it.
/// The shortest time before a file that was in use is looked at again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(3600);
/// A low priority, of processor and disk: who waits for an answer comes first. On a busy machine a tenth is left.
const NICE: i32 = 10;

/// The way to the threads.
pub(super) struct Settler<C: Content> {
    worker: Arc<Worker<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Worker<C: Content> {
    open_files: Arc<OpenFiles<C>>,
    kernel: Arc<dyn Kernel>,
    quiet: Duration,
    state: Mutex<State>,
    /// Something to do sooner than what the first thread waits for.
    wake: Condvar,
    /// A file is no longer with the extension.
    settled: Condvar,
    counts: Counts,
}

/// What became of files that the extension was handed.
#[derive(Default)]
struct Counts {
    changed: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn add(&self, settled: &Settled) {
        let count = match settled {
            Settled::Changed => &self.changed,
            Settled::Failed(_) => &self.failed,
            Settled::Unchanged | Settled::Busy => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    queue: Queue,
    orders: Orders,
    lanes: Lanes,
    /// Files that are with the extension. No two turns have the same.
    under_way: HashSet<Ino>,
    /// The threads of turns, and how many of them go on.
    threads: Vec<JoinHandle<()>>,
    running: usize,
    /// The threads do nothing any more.
    ended: bool,
}

/// Files on their way to the extension.
struct Batch<C: Content> {
    files: Vec<(Arc<OpenFile<C>>, Origin)>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Origin {
    failures: u32,
    /// It was not in use before.
    at_rest: bool,
}

impl<C: Content> Settler<C> {
    pub(super) fn start(
        open_files: &Arc<OpenFiles<C>>,
        kernel: &Arc<dyn Kernel>,
        quiet: Duration,
        scan: Scan,
    ) -> Option<Self> {
        let worker = Arc::new(Worker {
            open_files: Arc::clone(open_files),
            kernel: Arc::clone(kernel),
            quiet,
            state: Mutex::default(),
            wake: Condvar::new(),
            settled: Condvar::new(),
            counts: Counts::default(),
        });
        let serving = Arc::clone(&worker);
        let thread = std::thread::Builder::new().name("settle".to_owned());
        let serve = move || {
            // The threads that it starts have the same.
            if let Err(errno) = rustix::process::setpriority_process(None, NICE) {
                log::debug!("settling has the priority of requests: {errno}");
            }
            serving.until_panic(|| serving.run(scan));
            let mut state = serving.state.lock();
            state.ended = true;
            let queue = std::mem::take(&mut state.queue);
            drop(state);
            drop(queue);
        };
        match thread.spawn(serve) {
            Ok(thread) => Some(Self { worker, thread: Mutex::new(Some(thread)) }),
            Err(error) => {
                log::error!("files stay as they are stored, for no thread could start: {error}");
                None
            }
        }
    }

    /// A file that the caller knows was written.
    pub(super) fn note(&self, ino: Ino) {
        match Hold::new(&self.worker.open_files.shared, ino) {
            Ok(hold) => self.worker.wait_for_quiet(hold, self.worker.quiet, 0),
            Err(error) => log::warn!("inode {} is not settled: {error}", ino.0),
        }
    }

    /// The kernel forgets a file. If it has no name any more, it is not kept for settling.
    pub(super) fn forget_unlinked(&self, ino: Ino) {
        let waits = {
            let state = self.worker.state.lock();
            state.queue.contains(ino) || state.lanes.contains(ino)
        };
        if waits {
            self.worker.drop_unlinked(ino);
        }
    }

    /// Settles all files of a user now, however quiet they are; those of all users for root.
    pub(super) fn settle_all(&self, user: u32) {
        self.worker.state.lock().orders.ask(user);
        self.worker.wake.notify_all();
    }

    /// How far a user's last order is, as JSON.
    pub(super) fn progress(&self, user: u32) -> String {
        let state = self.worker.state.lock();
        state.orders.describe(user, state.ended)
    }

    /// Files of a user's last order that stay as they are stored, and why: a line each.
    pub(super) fn failed(&self, user: u32) -> String {
        self.worker.state.lock().orders.describe_failed(user)
    }

    /// What became of files so far, and how many wait, as JSON.
    pub(super) fn counts(&self) -> String {
        let Counts { changed, failed } = &self.worker.counts;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let state = self.worker.state.lock();
        let pending = state.queue.len() + state.lanes.count() + state.under_way.len();
        let (changed, failed) = (count(changed), count(failed));
        format!(r#"{{"changed":{changed},"failed":{failed},"pending":{pending}}}"#)
    }

    /// Ends the threads, after the layer was told to stop.
    pub(super) fn stop(&self) {
        {
            // Under the lock, so that each thread either sees the stop or hears the call.
            let _state = self.worker.state.lock();
            self.worker.wake.notify_all();
            self.worker.settled.notify_all();
        }
        // The first one starts the others.
        let first = self.thread.lock().take();
        let others = || std::mem::take(&mut self.worker.state.lock().threads);
        for thread in first.into_iter().chain(std::iter::once_with(others).flatten()) {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "panics are caught");
        }
        // Files that still wait are let go of.
        let lanes = std::mem::take(&mut self.worker.state.lock().lanes);
        drop(lanes);
    }
}

impl<C: Content> Worker<C> {
    fn wait_for_quiet(&self, hold: Hold, delay: Duration, failures: u32) {
        let waiting = Waiting { hold, failures };
        let rejected = {
            let mut state = self.state.lock();
            if state.ended {
                return;
            }
            let due = Instant::now() + delay;
            let sooner = state.queue.next_due().is_none_or(|next| due < next);
            let rejected = state.queue.push(due, waiting);
            if sooner {
                self.wake.notify_all();
            }
            rejected
        };
        drop(rejected);
    }

    /// Lets a file wait that this thread has taken out. The kernel may have forgotten it meanwhile.
    fn put_back(&self, hold: Hold, delay: Duration, failures: u32) {
        let ino = hold.ino;
        self.wait_for_quiet(hold, delay, failures);
        self.drop_unlinked(ino);
    }

    /// A file without a name does not wait: the wait would keep its space.
    fn drop_unlinked(&self, ino: Ino) {
        let attr = self.open_files.shared.lower.getattr(&Call::internal(), ino);
        if attr.is_ok_and(|attr| attr.nlink == 0) {
            let mut state = self.state.lock();
            let removed = (state.queue.remove(ino), state.lanes.remove(ino));
            drop(state);
            drop(removed);
        }
    }

    /// Settles files, batch by batch. Without an order, those that are not quiet wait; with one, of the user who
    /// gave it, progress is told and the busy ones are returned.
    fn settle(&self, files: Vec<Waiting>, order: Option<u32>) -> Vec<Waiting> {
        let mut busy = Vec::new();
        let mut taken = 0;
        let settle = |batch: Batch<C>, taken: &mut u64, busy: &mut Vec<Waiting>| {
            let bytes = batch.bytes;
            self.settle_batch(batch, order, busy);
            if let Some(user) = order {
                self.state.lock().orders.of(user).took(std::mem::take(taken), bytes);
            }
        };
        let mut batch = Batch { files: Vec::new(), bytes: 0 };
        for file in files {
            if self.open_files.shared.is_stopping() {
                break;
            }
            taken += 1;
            self.admit(file, order, &mut batch, &mut busy);
            if batch.bytes >= BATCH_BYTES || batch.files.len() >= BATCH_FILES {
                let full = std::mem::replace(&mut batch, Batch { files: Vec::new(), bytes: 0 });
                settle(full, &mut taken, &mut busy);
            }
        }
        settle(batch, &mut taken, &mut busy);
        busy
    }

    /// Puts a file into a batch, unless it need not be settled, or not now.
    fn admit(
        &self,
        file: Waiting,
        order: Option<u32>,
        batch: &mut Batch<C>,
        busy: &mut Vec<Waiting>,
    ) {
        self.kernel.make_way();
        let ino = file.hold.ino;
        if !self.state.lock().under_way.insert(ino) {
            match order {
                Some(_) => busy.push(file),
                None => self.put_back(file.hold, self.quiet, file.failures),
            }
            return;
        }
        match self.add(file, order, batch) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => log::debug!("a file is not settled: {error}"),
        }
        self.let_go(&[ino]);
    }

    /// Files are no longer with the extension.
    fn let_go(&self, inos: &[Ino]) {
        let mut state = self.state.lock();
        for ino in inos {
            state.under_way.remove(ino);
        }
        self.settled.notify_all();
    }

    /// Adds a file to a batch; false if it has no name any more or is not quiet.
    fn add(&self, file: Waiting, order: Option<u32>, batch: &mut Batch<C>) -> Result<bool> {
        let ino = file.hold.ino;
        let at_rest = match self.open_files.find(ino) {
            Use::AtRest(_guard) => true,
            Use::Open(open) => {
                let past = open.take_from_queue().filter(|_| order.is_none());
                let rest = past.map(|past| self.quiet.saturating_sub(past));
                if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
                    self.settle_past(&open);
                    self.put_back(file.hold, rest, file.failures);
                    return Ok(false);
                }
                false
            }
        };
        let attr = self.open_files.shared.lower.getattr(&Call::internal(), ino)?;
        if attr.nlink == 0 || attr.kind != FileKind::Regular || attr.size == 0 {
            return Ok(false);
        }
        let open = self.open_files.get(ino)?;
        batch.bytes += attr.size;
        batch.files.push((open, Origin { failures: file.failures, at_rest }));
        Ok(true)
    }

    /// A file that is never quiet is not left as it is for that.
    fn settle_past(&self, open: &Arc<OpenFile<C>>) {
        let content = &self.open_files.content;
        if !content.has_past(&open.read()) || self.open_files.shared.is_stopping() {
            return;
        }
        let settled = catch_unwind(AssertUnwindSafe(|| content.settle_past(open)));
        settled.iter().for_each(|settled| self.counts.add(settled));
        match settled {
            Ok(Settled::Changed) => self.kernel.invalidate_attributes(open.ino()),
            Ok(Settled::Failed(error)) => {
                log::warn!("{} grows as it is stored: {error}", open.path().display());
            }
            Ok(_) => {}
            Err(_) => log::error!("panic while {} was settled", open.path().display()),
        }
    }

    fn settle_batch(&self, batch: Batch<C>, order: Option<u32>, busy: &mut Vec<Waiting>) {
        let (open_files, origins): (Vec<_>, Vec<_>) = batch.files.into_iter().unzip();
        if open_files.is_empty() || self.open_files.shared.is_stopping() {
            return;
        }
        let content = &self.open_files.content;
        let settled = catch_unwind(AssertUnwindSafe(|| content.settle(&open_files)));
        let settled = settled.unwrap_or_else(|_| {
            let broken =
                Settled::Failed(Error::Broken("panic while files were settled".to_owned()));
            vec![broken; open_files.len()]
        });
        settled.iter().for_each(|settled| self.counts.add(settled));
        self.log_failures(&open_files, &origins, &settled);
        let inos: Vec<_> = open_files.iter().map(|open| open.ino()).collect();
        for ((open, origin), settled) in open_files.into_iter().zip(origins).zip(settled) {
            let again = self.take_answer(&open, origin, settled, order);
            busy.extend(again);
            let ino = open.ino();
            // The kernel may have forgotten it meanwhile.
            let unlinked = open.lower_attr().is_ok_and(|attr| attr.nlink == 0);
            drop(open);
            if origin.at_rest || unlinked {
                self.open_files.release(ino);
            }
        }
        self.let_go(&inos);
    }

    /// Acts on the extension's answer; returns the file if the caller is to try again.
    fn take_answer(
        &self,
        open: &OpenFile<C>,
        origin: Origin,
        settled: Settled,
        order: Option<u32>,
    ) -> Option<Waiting> {
        let hold = |failures| {
            let hold = Hold::new(&self.open_files.shared, open.ino());
            hold.ok().map(|hold| Waiting { hold, failures })
        };
        match (settled, order) {
            (Settled::Unchanged, _) => {}
            (Settled::Changed, _) => self.kernel.invalidate_attributes(open.ino()),
            (Settled::Busy, Some(_)) => return hold(origin.failures),
            (Settled::Busy, None) => {
                if let Some(file) = hold(origin.failures) {
                    self.put_back(file.hold, self.quiet.max(BUSY_PAUSE), file.failures);
                }
            }
            (Settled::Failed(error), _) => {
                if let Some(user) = order {
                    let path = open.path();
                    self.state.lock().orders.of(user).fail(&path, &error);
                }
                let delay = FIRST_RETRY.saturating_mul(1 << origin.failures.min(16));
                if let Some(file) = hold(origin.failures + 1) {
                    self.put_back(file.hold, delay.min(LAST_RETRY), file.failures);
                }
            }
        }
        None
    }

    /// Names the first of the files that fail for the first time.
    fn log_failures(
        &self,
        open_files: &[Arc<OpenFile<C>>],
        origins: &[Origin],
        settled: &[Settled],
    ) {
        let mut failures =
            open_files.iter().zip(origins).zip(settled).filter_map(|((open, origin), settled)| {
                match settled {
                    Settled::Failed(error) if origin.failures == 0 => Some((open, error)),
                    _ => None,
                }
            });
        if let Some((open, error)) = failures.next() {
            let others = failures.count();
            let path = open.path();
            log::warn!("{} (and {others} others) stays as it is stored: {error}", path.display());
        }
    }
}
