//! Settling: a thread that hands quiet files to the extension.

mod queue;
mod walk;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::queue::{Queue, Waiting};
use self::walk::Walk;
use super::open_file::Hold;
use super::open_files::{OpenFiles, Use};
use crate::{Call, Content, Error, FileKind, Ino, Kernel, OpenFile, Result, Scan, Settled};

/// What is handed to the extension at a time: files, and bytes that their lower files hold.
const BATCH_FILES: usize = 2048;
const BATCH_BYTES: u64 = 64 << 20;
/// How long a file waits after its first failure, and at most; each failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(3600);
/// How often, and after which pause, files that are busy are tried again when all are settled.
const BUSY_ROUNDS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// The way to the thread.
pub(super) struct Settler<C: Content> {
    worker: Arc<Worker<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Worker<C: Content> {
    open_files: Arc<OpenFiles<C>>,
    kernel: Arc<dyn Kernel>,
    quiet: Duration,
    state: Mutex<State>,
    /// Something to do sooner than what the thread waits for.
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// How often it was asked to settle all files.
    orders: u64,
    progress: Progress,
    /// The thread does nothing any more.
    ended: bool,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    /// Orders carried out.
    served: u64,
    /// Files of the current or last order that were looked at, and those of them that failed.
    taken: u64,
    failed: u64,
    /// Their stored bytes.
    bytes: u64,
    /// All files of the order, and their stored bytes.
    total: Option<(u64, u64)>,
}

/// What the thread does next.
enum Task {
    Settle(Vec<Waiting>),
    SettleAll,
    Scan,
    Stop,
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
        });
        let serving = Arc::clone(&worker);
        let thread = std::thread::Builder::new().name("settle".to_owned());
        let serve = move || {
            let run = catch_unwind(AssertUnwindSafe(|| serving.run(scan)));
            if run.is_err() {
                log::error!("files stay as they are stored from now on: the extension panicked");
            }
            let mut state = serving.state.lock();
            state.ended = true;
            state.queue = Queue::default();
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
        if self.worker.state.lock().queue.contains(ino) {
            self.worker.drop_unlinked(ino);
        }
    }

    /// Settles all files now, however quiet they are.
    pub(super) fn settle_all(&self) {
        self.worker.state.lock().orders += 1;
        self.worker.wake.notify_all();
    }

    /// How far the last order is, as JSON.
    pub(super) fn progress(&self) -> String {
        let state = self.worker.state.lock();
        let Progress { served, taken, failed, bytes, total } = state.progress;
        let done = taken.saturating_sub(failed);
        let or_null = |total: Option<u64>| total.map_or("null".to_owned(), |it| it.to_string());
        let bytes = bytes.min(total.map_or(u64::MAX, |total| total.1));
        let (total, total_bytes) =
            (or_null(total.map(|total| total.0)), or_null(total.map(|total| total.1)));
        let running = served < state.orders && !state.ended;
        format!(
            r#"{{"done":{done},"total":{total},"running":{running},"failed":{failed},"bytes":{bytes},"total_bytes":{total_bytes}}}"#
        )
    }

    /// Ends the thread, after the layer was told to stop.
    pub(super) fn stop(&self) {
        {
            // Under the lock, so that the thread either sees the stop or hears the call.
            let _state = self.worker.state.lock();
            self.worker.wake.notify_all();
        }
        if let Some(thread) = self.thread.lock().take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "panics are caught");
        }
    }
}

impl<C: Content> Worker<C> {
    fn run(&self, scan: Scan) {
        let mut scan = (scan == Scan::AtStart).then(|| Walk::new(&self.open_files.shared));
        let mut rested = Instant::now();
        loop {
            match self.next(scan.is_some().then_some(rested)) {
                Task::Stop => return,
                Task::SettleAll => self.settle_all(),
                Task::Settle(files) => drop(self.settle(files, Some(self.quiet))),
                Task::Scan => {
                    let begun = Instant::now();
                    let files: Vec<_> = scan.iter_mut().flatten().take(BATCH_FILES).collect();
                    if files.is_empty() {
                        scan = None;
                    }
                    let files = files.into_iter().map(Waiting::new).collect();
                    drop(self.settle(files, Some(self.quiet)));
                    // Half of the time is left to others.
                    rested = Instant::now() + begun.elapsed();
                }
            }
            if scan.is_none() && std::mem::take(&mut self.state.lock().queue.overflowed) {
                scan = Some(Walk::new(&self.open_files.shared));
            }
        }
    }

    /// Waits for something to do; a search of the tree goes on at the given time.
    fn next(&self, scan: Option<Instant>) -> Task {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if self.open_files.shared.is_stopping() {
                return Task::Stop;
            }
            if state.orders > state.progress.served {
                return Task::SettleAll;
            }
            let due = state.queue.take_due(now, BATCH_FILES);
            if !due.is_empty() {
                return Task::Settle(due);
            }
            if scan.is_some_and(|scan| scan <= now) {
                return Task::Scan;
            }
            match state.queue.next_due().into_iter().chain(scan).min() {
                Some(time) => drop(self.wake.wait_until(&mut state, time)),
                None => self.wake.wait(&mut state),
            }
        }
    }

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
            let removed = self.state.lock().queue.remove(ino);
            drop(removed);
        }
    }

    /// Settles every file of the tree.
    fn settle_all(&self) {
        let order = {
            let mut state = self.state.lock();
            state.progress = Progress { served: state.progress.served, ..Progress::default() };
            state.orders
        };
        let shared = &self.open_files.shared;
        let total = Walk::new(shared).measure(|| shared.is_stopping());
        self.state.lock().progress.total = Some(total);
        let mut walk = Walk::new(shared);
        let mut busy = Vec::new();
        loop {
            let files: Vec<_> = walk.by_ref().take(BATCH_FILES).map(Waiting::new).collect();
            if files.is_empty() || shared.is_stopping() {
                break;
            }
            busy.extend(self.settle(files, None));
        }
        for round in 1..=BUSY_ROUNDS {
            if busy.is_empty() || shared.is_stopping() {
                break;
            }
            std::thread::sleep(BUSY_PAUSE * round);
            self.state.lock().progress.taken -= busy.len() as u64;
            busy = self.settle(busy, None);
        }
        for file in busy {
            self.put_back(file.hold, self.quiet, file.failures);
        }
        let mut state = self.state.lock();
        let progress = &mut state.progress;
        let bytes = progress.total.map_or(progress.bytes, |(_, bytes)| bytes);
        progress.total = Some((progress.taken, bytes));
        progress.bytes = bytes;
        progress.served = order;
    }

    /// Settles files, batch by batch. With a time of quiet, those that are not quiet wait; else,
    /// which is an order, progress is told and the busy ones are returned.
    fn settle(&self, files: Vec<Waiting>, quiet: Option<Duration>) -> Vec<Waiting> {
        let mut busy = Vec::new();
        let mut taken = 0;
        let mut settle = |batch: Batch<C>, taken: &mut u64| {
            let bytes = batch.bytes;
            self.settle_batch(batch, quiet, &mut busy);
            if quiet.is_none() {
                let progress = &mut self.state.lock().progress;
                progress.taken += std::mem::take(taken);
                progress.bytes += bytes;
            }
        };
        let mut batch = Batch { files: Vec::new(), bytes: 0 };
        for file in files {
            if self.open_files.shared.is_stopping() {
                break;
            }
            taken += 1;
            if let Err(error) = self.admit(file, quiet, &mut batch) {
                log::debug!("a file is not settled: {error}");
            }
            if batch.bytes >= BATCH_BYTES || batch.files.len() >= BATCH_FILES {
                let full = std::mem::replace(&mut batch, Batch { files: Vec::new(), bytes: 0 });
                settle(full, &mut taken);
            }
        }
        settle(batch, &mut taken);
        busy
    }

    /// Puts a file into a batch, unless it has no name any more or is not quiet.
    fn admit(&self, file: Waiting, quiet: Option<Duration>, batch: &mut Batch<C>) -> Result<()> {
        let ino = file.hold.ino;
        let at_rest = match self.open_files.find(ino) {
            Use::AtRest(_guard) => true,
            Use::Open(open) => {
                let past = open.take_from_queue();
                let rest = quiet.zip(past).map(|(quiet, past)| quiet.saturating_sub(past));
                if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
                    self.put_back(file.hold, rest, file.failures);
                    return Ok(());
                }
                false
            }
        };
        let attr = self.open_files.shared.lower.getattr(&Call::internal(), ino)?;
        if attr.nlink == 0 || attr.kind != FileKind::Regular || attr.size == 0 {
            return Ok(());
        }
        let open = self.open_files.get(ino)?;
        batch.bytes += attr.size;
        batch.files.push((open, Origin { failures: file.failures, at_rest }));
        Ok(())
    }

    fn settle_batch(&self, batch: Batch<C>, quiet: Option<Duration>, busy: &mut Vec<Waiting>) {
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
        self.log_failures(&open_files, &origins, &settled);
        for ((open, origin), settled) in open_files.into_iter().zip(origins).zip(settled) {
            let again = self.take_answer(&open, origin, settled, quiet);
            busy.extend(again);
            let ino = open.ino();
            // The kernel may have forgotten it meanwhile.
            let unlinked = open.lower_attr().is_ok_and(|attr| attr.nlink == 0);
            drop(open);
            if origin.at_rest || unlinked {
                self.open_files.release(ino);
            }
        }
    }

    /// Acts on the extension's answer; returns the file if the caller is to try again.
    fn take_answer(
        &self,
        open: &OpenFile<C>,
        origin: Origin,
        settled: Settled,
        quiet: Option<Duration>,
    ) -> Option<Waiting> {
        let hold = |failures| {
            let hold = Hold::new(&self.open_files.shared, open.ino());
            hold.ok().map(|hold| Waiting { hold, failures })
        };
        match (settled, quiet) {
            (Settled::Unchanged, _) => {}
            (Settled::Changed, _) => self.kernel.invalidate_attributes(open.ino()),
            (Settled::Busy, None) => return hold(origin.failures),
            (Settled::Busy, Some(quiet)) => {
                if let Some(file) = hold(origin.failures) {
                    self.put_back(file.hold, quiet, file.failures);
                }
            }
            (Settled::Failed(_), _) => {
                if quiet.is_none() {
                    self.state.lock().progress.failed += 1;
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
