//! Handing out work: what is done next, and by which thread.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::lanes::{MOST_AT_ONCE, Turn};
use super::order::Order;
use super::queue::Waiting;
use super::search::Search;
use super::walk::Walk;
use super::{BATCH_FILES, State, Worker};
use crate::{Attr, Call, Content, Scan};

/// Files of an order that are settled in one turn.
const AT_A_TURN: usize = 2 * BATCH_FILES;
/// Fewer are one batch: each has to wait for the disk.
const WORTH_TWO: usize = BATCH_FILES / 4;
/// So many files are handed out at most; others wait in the queue.
const MOST_IN_LANES: usize = 100_000;
/// How often, and after which pause, files that are busy are tried again when all are settled.
const BUSY_ROUNDS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What the first thread does next.
enum Task {
    HandOut(Vec<Waiting>),
    Order(u32, u64),
    Scan,
    Stop,
}

impl<C: Content> Worker<C> {
    /// Runs; a panic ends all settling.
    pub(super) fn until_panic(&self, run: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            log::error!("files stay as they are stored from now on: the extension panicked");
            self.state.lock().ended = true;
            self.wake.notify_all();
            self.settled.notify_all();
        }
    }

    fn is_over(&self, state: &State) -> bool {
        state.ended || self.open_files.shared.is_stopping()
    }

    pub(super) fn run(self: &Arc<Self>, scan: Scan) {
        let search = || Search::new(Walk::new(&self.open_files.shared));
        let mut scan = (scan == Scan::AtStart).then(search);
        loop {
            match self.next(scan.as_mut()) {
                Task::Stop => return,
                Task::Order(user, number) => self.begin_order(user, number),
                Task::HandOut(files) => self.hand_out(files),
                Task::Scan => {
                    let requests = self.kernel.requests();
                    let begin = |search: &mut Search| search.begin(Instant::now(), requests);
                    let files = scan.as_mut().map(begin).unwrap_or_default();
                    if files.is_empty() {
                        scan = None;
                    }
                    self.hand_out(files.into_iter().map(Waiting::new).collect());
                }
            }
            if scan.is_none() && std::mem::take(&mut self.state.lock().queue.overflowed) {
                scan = Some(search());
            }
            self.start_turns();
        }
    }

    /// Waits for something to do. A search of the tree goes on when nothing else is done.
    fn next(&self, mut search: Option<&mut Search>) -> Task {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if self.is_over(&state) {
                return Task::Stop;
            }
            if let Some((user, number)) = state.orders.begin() {
                return Task::Order(user, number);
            }
            if state.lanes.count() < MOST_IN_LANES {
                let due = state.queue.take_due(now, BATCH_FILES);
                if !due.is_empty() {
                    return Task::HandOut(due);
                }
            }
            let search = search.as_mut().filter(|_| state.lanes.is_idle());
            let scan = search.map(|search| search.due(now, self.kernel.requests()));
            if scan.is_some_and(|scan| scan <= now) {
                return Task::Scan;
            }
            let queue = state.queue.next_due().filter(|_| state.lanes.count() < MOST_IN_LANES);
            match queue.into_iter().chain(scan).min() {
                Some(time) => drop(self.wake.wait_until(&mut state, time)),
                None => self.wake.wait(&mut state),
            }
        }
    }

    /// Puts files into the lanes of their owners.
    fn hand_out(&self, files: Vec<Waiting>) {
        for file in files {
            self.kernel.make_way();
            // One that is gone meanwhile needs nothing.
            let Ok(attr) = self.open_files.shared.lower.getattr(&Call::internal(), file.hold.ino)
            else {
                continue;
            };
            let twice = self.state.lock().lanes.push(attr.uid, file, attr.size);
            drop(twice);
        }
    }

    /// Starts threads for lanes that wait, as long as there may be more.
    fn start_turns(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.running >= MOST_AT_ONCE || !state.lanes.has_next() {
                return;
            }
            state.threads.retain(|thread| !thread.is_finished());
            state.running += 1;
            let worker = Arc::clone(self);
            let take_turns = move || worker.until_panic(|| worker.take_turns());
            match std::thread::Builder::new().name("settle".to_owned()).spawn(take_turns) {
                Ok(thread) => state.threads.push(thread),
                Err(error) => {
                    state.running -= 1;
                    let running = state.running;
                    drop(state);
                    log::warn!("a thread for settling: {error}");
                    // There is one thread at least: this one.
                    if running == 0 {
                        self.state.lock().running += 1;
                        self.take_turns();
                    }
                    return;
                }
            }
        }
    }

    /// Works for one lane after the other, until none has anything to do.
    fn take_turns(&self) {
        loop {
            let mut state = self.state.lock();
            let turn = if self.is_over(&state) { None } else { state.lanes.begin() };
            let Some((lane, turn)) = turn else {
                state.running -= 1;
                return;
            };
            drop(state);
            match turn {
                Turn::Files(files) => drop(self.settle(files, None)),
                Turn::Order(order) => self.go_on_with(order),
            }
            let mut state = self.state.lock();
            state.lanes.done(lane);
            if state.lanes.is_idle() || state.lanes.has_next() {
                self.wake.notify_all();
            }
        }
    }

    fn begin_order(self: &Arc<Self>, user: u32, number: u64) {
        let walk = Walk::new(&self.open_files.shared);
        let order = Order { user, number, walk, busy: Vec::new(), rounds: 0 };
        self.state.lock().lanes.order(user, Box::new(order));
        let worker = Arc::clone(self);
        let measure = move || worker.until_panic(|| worker.measure(user, number));
        match std::thread::Builder::new().name("settle".to_owned()).spawn(measure) {
            Ok(thread) => self.state.lock().threads.push(thread),
            Err(error) => log::debug!("how much there is to settle is not told: {error}"),
        }
    }

    /// Finds out how much an order has to do, while it does it.
    fn measure(&self, user: u32, number: u64) {
        let shared = &self.open_files.shared;
        let has_ended = || !self.state.lock().orders.is_under_way(user, number);
        let total = Walk::new(shared).measure(is_of(user), || shared.is_stopping() || has_ended());
        self.state.lock().orders.set_total(user, number, total);
    }

    /// One turn of an order.
    fn go_on_with(&self, mut order: Box<Order>) {
        let (shared, user) = (&self.open_files.shared, order.user);
        let next = || order.walk.next_file(is_of(user)).map(|(hold, _)| hold);
        let files = std::iter::from_fn(next).take(AT_A_TURN).map(Waiting::new);
        let files: Vec<_> = files.collect();
        if !files.is_empty() && !shared.is_stopping() {
            order.busy.extend(self.settle_in_two(files, user));
        } else if order.busy.is_empty() || order.rounds == BUSY_ROUNDS || shared.is_stopping() {
            return self.end_order(*order);
        } else {
            order.rounds += 1;
            self.try_again(&mut order);
        }
        self.state.lock().lanes.order(user, order);
    }

    /// Settles files of an order in two halves at a time: while one waits for the disk, the other is compressed.
    fn settle_in_two(&self, mut files: Vec<Waiting>, user: u32) -> Vec<Waiting> {
        if files.len() < WORTH_TWO {
            return self.settle(files, Some(user));
        }
        let other = Mutex::new(files.split_off(files.len().div_ceil(2)));
        let settle_other = || self.settle(std::mem::take(&mut *other.lock()), Some(user));
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("settle".to_owned());
            let thread = thread.spawn_scoped(scope, settle_other);
            let mut busy = self.settle(files, Some(user));
            busy.extend(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(error) => {
                    log::debug!("a thread for settling: {error}");
                    settle_other()
                }
            });
            busy
        })
    }

    /// Tries files again that were busy.
    fn try_again(&self, order: &mut Order) {
        let mut state = self.state.lock();
        // Other turns end those that they have, and wait for none that this one has.
        let is_elsewhere =
            |state: &State| order.busy.iter().any(|file| state.under_way.contains(&file.hold.ino));
        while is_elsewhere(&state) && !self.is_over(&state) {
            self.settled.wait(&mut state);
        }
        drop(state);
        std::thread::sleep(BUSY_PAUSE * order.rounds);
        let busy = std::mem::take(&mut order.busy);
        self.state.lock().orders.of(order.user).taken -= busy.len() as u64;
        order.busy = self.settle(busy, Some(order.user));
    }

    fn end_order(&self, order: Order) {
        let Order { user, number, busy, .. } = order;
        for file in busy {
            self.put_back(file.hold, self.quiet, file.failures);
        }
        self.state.lock().orders.end(user, number);
        // The user may have given another one since.
        self.wake.notify_all();
    }
}

/// Files that an order of a user is about.
fn is_of(user: u32) -> impl Fn(&Attr) -> bool + Copy {
    move |attr| user == 0 || attr.uid == user
}
