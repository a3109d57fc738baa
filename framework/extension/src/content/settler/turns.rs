//! Handing out work: what is done next, and by which thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lanes::{MOST_AT_ONCE, Turn};
use super::order::Order;
use super::queue::Waiting;
use super::search::Search;
use super::walk::Walk;
use super::{BATCH_FILES, State, Worker};
use crate::{Attr, Call, Content, Scan};

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

    fn begin_order(&self, user: u32, number: u64) {
        let shared = &self.open_files.shared;
        let order = Order {
            user,
            number,
            walk: Walk::new(shared),
            busy: Vec::new(),
            rounds: 0,
            is_new: true,
        };
        self.state.lock().lanes.order(user, Box::new(order));
    }

    /// One turn of an order.
    fn go_on_with(&self, mut order: Box<Order>) {
        let (shared, user) = (&self.open_files.shared, order.user);
        let is_theirs = |attr: &Attr| user == 0 || attr.uid == user;
        if std::mem::take(&mut order.is_new) {
            let total = Walk::new(shared).measure(is_theirs, || shared.is_stopping());
            self.state.lock().orders.of(user).total = Some(total);
        }
        let files = std::iter::from_fn(|| order.walk.next_file(is_theirs).map(|(hold, _)| hold));
        let files: Vec<_> = files.take(BATCH_FILES).map(Waiting::new).collect();
        if !files.is_empty() && !shared.is_stopping() {
            order.busy.extend(self.settle(files, Some(user)));
        } else if order.busy.is_empty() || order.rounds == BUSY_ROUNDS || shared.is_stopping() {
            return self.end_order(*order);
        } else {
            order.rounds += 1;
            self.try_again(&mut order);
        }
        self.state.lock().lanes.order(user, order);
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
