//! One caller at a time: the loop that serves it stays on its core.
//!
//! A round trip takes three to four times as long when caller and loop sleep on cores of their own, for each must be
//! woken from the other. The scheduler keeps them apart where it can: who is woken goes to an idle core. So while one
//! caller makes many requests, one after the other,
//!
//! * one loop alone reads from the device, so that it is always the same that is woken;
//! * this *near* loop has the policy `SCHED_IDLE`: a core on which nothing else runs counts as idle, so the caller that
//!   it wakes stays where it is;
//! * when the next request is long in coming, the near loop looks where its caller is, and holds itself there;
//! * threads that nobody waits for leave that core: beside the near loop, all others come first.
//!
//! A thread of ordinary priority looks after them. When the calls become few, when one takes long, when requests wait that
//! the near loop does not come to, or when there are other callers, all is as before, and for some time nothing is tried.
//! So nobody waits longer for these than a few such looks. But whenever that thread wakes, the scheduler may send the caller
//! to another core, which takes as long as twenty round trips. So the near loop itself puts its look off while it serves
//! one request of one caller after the other. Who has given up its ordinary priority may not take it back: the supervisor
//! gives it, and to threads that layers have started meanwhile.

mod alarm;
mod companion;
mod watch;

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

use alarm::Alarm;
use companion::Companion;
use watch::{Counts, End, Seen, Watch};

use crate::clock;
use crate::sandbox::broker;
use crate::sys::scheduling::set_idle;

/// So many requests in a row of one thread, each time in at most such a time, begin it.
const RUN: u32 = 256;
const RUN_TIME: Duration = Duration::from_millis(120);
/// So many bytes take longer to copy than a core takes to wake.
const BULK: usize = 64 << 10;
/// Time between two looks after a near loop, at first and while something is not as it should be; and otherwise.
const TICK: Duration = Duration::from_millis(1);
const CALM: Duration = Duration::from_millis(10);
const FIRST: u32 = 10;
/// How often the near loop puts the next look off while all is well, and how many times at most.
const PUT_OFF: Duration = Duration::from_millis(5);
const MOST_PUT_OFF: u32 = 100;
/// A caller on the same core needs less from an answer to its next request, unless it has something else to do.
const SOON: Duration = Duration::from_micros(30);
/// How often the near loop looks where its caller is, at most.
const LOOKUPS: Duration = Duration::from_micros(200);
/// How long a loop that waits lets nobody look after the near one.
const UNWATCHED: Duration = Duration::from_millis(500);
/// How often threads that layers have started get ordinary priority.
const SWEEP: Duration = Duration::from_millis(120);
/// What has lasted so long was worth it, and is tried again at once.
const LASTING: Duration = Duration::from_millis(10);
/// When the supervisor is asked again that has not answered.
const RETRY: Duration = Duration::from_secs(1);
/// How long nothing is tried after it did harm at once, first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    static SELF: Pid = gettid();
    /// When this loop has given its last answer, and has last looked where its caller is.
    static ANSWERED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static LOOKED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// When it has last thought of putting the next look off, and what it had read until then.
    static WELL: Cell<(Duration, Counts)> = const { Cell::new((Duration::ZERO, Counts::NONE)) };
    /// What this thread knows of `Placement::core`; at first it may be on the cores of who has started it.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What the loops of a mount know of each other.
#[derive(Default)]
pub(super) struct Placement {
    /// The loop that alone reads; 0 while all do.
    near: AtomicI32,
    /// Requests in a row of one thread.
    run: AtomicU32,
    /// The thread that has made the last request.
    caller: AtomicU32,
    /// Of the near loop: its requests, those of many bytes, and those of another thread than the one before.
    requests: AtomicU64,
    bulk: AtomicU64,
    switches: AtomicU64,
    /// The core on which the near loop has begun its last request, and one more.
    core: AtomicUsize,
    /// The cores of all loops, since one was near.
    cores: Mutex<Option<CpuSet>>,
    /// Where the near loop's caller is. Who holds this may move the near loop, and end its being one.
    companion: Mutex<Option<Companion>>,
    /// The near loop is at a request.
    busy: AtomicBool,
    /// How often somebody has looked after it, and how often it has put the next look off since.
    looks: AtomicU32,
    put_off: AtomicU32,
    alarm: OnceLock<Alarm>,
    trials: Mutex<Trials>,
    over: Condvar,
    /// Looks after the near loop; there is none where threads cannot go back to ordinary priority.
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct Trials {
    /// When the run began.
    since: Option<Instant>,
    /// Nothing is tried before.
    not_before: Option<Instant>,
    pause: Duration,
    ended: bool,
}

impl Placement {
    /// This loop has read a request of a thread; 0 is the kernel, which asks on behalf of others.
    pub(super) fn begin(&self, caller: u32) {
        let is_other = caller != 0 && caller != self.caller.load(Ordering::Relaxed);
        if is_other {
            self.caller.store(caller, Ordering::Relaxed);
        }
        if self.near.load(Ordering::Relaxed) != 0 {
            self.note(is_other);
        } else if is_other {
            self.run.store(0, Ordering::Relaxed);
        } else if self.run.fetch_add(1, Ordering::Relaxed) + 1 >= RUN {
            self.try_near();
        }
    }

    fn note(&self, is_other: bool) {
        if self.is_near() {
            self.switches.fetch_add(is_other.into(), Ordering::Relaxed);
            self.busy.store(true, Ordering::Relaxed);
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.core.store(sched_getcpu() + 1, Ordering::Relaxed);
            let now = clock::now();
            if now - ANSWERED.get() >= SOON && now - LOOKED.get() >= LOOKUPS {
                LOOKED.set(now);
                self.follow();
            }
            if now - WELL.get().0 >= PUT_OFF {
                self.put_off(now);
            }
        }
    }

    /// Puts the next look off, as long as there is nothing to see and it is not long ago that there was one.
    #[cold]
    fn put_off(&self, now: Duration) {
        let counts = self.counts();
        let (_, before) = WELL.replace((now, counts));
        if counts.are_well_since(before)
            && self.put_off.load(Ordering::Relaxed) < MOST_PUT_OFF
            && let Some(alarm) = self.alarm.get()
        {
            self.put_off.fetch_add(1, Ordering::Relaxed);
            // Where that fails, there is a look.
            let _ = alarm.set(CALM);
        }
    }

    /// Holds this loop, the near one, where its caller has last run, if that is known.
    #[cold]
    fn follow(&self) {
        let Some(companion) = self.companion.try_lock() else { return };
        let caller = self.caller.load(Ordering::Relaxed);
        let core =
            companion.as_ref().filter(|known| known.caller == caller).and_then(Companion::core);
        if let Some(core) = core.filter(|core| *core != sched_getcpu() && self.is_near()) {
            let mut only = CpuSet::new();
            only.set(core);
            // Where that is not allowed, it stays where it is, and the two apart.
            let _ = sched_setaffinity(None, &only);
        }
    }

    fn is_near(&self) -> bool {
        SELF.with(|this| this.as_raw_pid()) == self.near.load(Ordering::Relaxed)
    }

    /// This loop has given its answer. Another one than the near loop waits here until it is needed again.
    pub(super) fn end(&self) {
        match self.near.load(Ordering::Relaxed) {
            0 => {}
            _ if self.is_near() => {
                self.busy.store(false, Ordering::Relaxed);
                ANSWERED.set(clock::last());
            }
            _ => self.wait(),
        }
    }

    /// Waits until the near loop is one of several again, or nobody looks after it.
    fn wait(&self) {
        let mut trials = self.trials.lock();
        let mut looks = None;
        while self.near.load(Ordering::Relaxed) != 0 && !trials.ended {
            if self.over.wait_for(&mut trials, UNWATCHED).timed_out() {
                let seen = [&self.looks, &self.put_off].map(|count| count.load(Ordering::Relaxed));
                let before = looks.replace(seen);
                if before == looks {
                    return;
                }
            }
        }
    }

    /// This thread works for nobody who waits: while a loop is near, it leaves that loop's core.
    pub(super) fn make_way(&self) {
        let is_near = self.near.load(Ordering::Relaxed) != 0;
        let core = if is_near { self.core.load(Ordering::Relaxed) } else { 0 };
        if LEFT.get() == core {
            return;
        }
        let Some(mut cores) = *self.cores.lock() else { return };
        LEFT.set(core);
        if core > 0 {
            cores.unset(core - 1);
        }
        // Where that is not allowed, it stays where it is.
        let _ = sched_setaffinity(None, &cores);
    }

    /// The request is one of so many bytes: copying many is better done beside the caller.
    pub(super) fn copies(&self, bytes: usize) {
        if bytes >= BULK {
            self.run.store(0, Ordering::Relaxed);
            self.bulk.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cold]
    fn try_near(&self) {
        self.run.store(0, Ordering::Relaxed);
        let Some(thread) = self.thread.get() else { return };
        let Some(mut trials) = self.trials.try_lock() else { return };
        let now = Instant::now();
        let is_fast = trials.since.replace(now).is_some_and(|since| now - since < RUN_TIME);
        let may = trials.not_before.is_none_or(|time| time <= now);
        let this = SELF.with(|this| this.as_raw_pid());
        let was = Ordering::Relaxed;
        if is_fast && may && self.near.compare_exchange(0, this, was, was).is_ok() {
            thread.unpark();
        }
    }

    /// Looks after the near loop, on a thread of its own, until the mount ends.
    pub(super) fn start(self: &std::sync::Arc<Self>, device: OwnedFd) -> std::io::Result<()> {
        let placement = std::sync::Arc::clone(self);
        let _ = self.alarm.set(Alarm::new()?);
        let thread = std::thread::Builder::new().name("placement".to_owned());
        let started = thread.spawn(move || {
            let can_return = set_idle(gettid()).and_then(|()| broker::make_ordinary(None));
            match can_return {
                Ok(()) => placement.look(device.as_fd()),
                Err(errno) => log::debug!("loops do not stay with their callers: {errno}"),
            }
        });
        started.map(drop)
    }

    fn look(&self, device: BorrowedFd<'_>) {
        let _ = self.thread.set(std::thread::current());
        let mut is_owed = false;
        while !self.trials.lock().ended {
            match Pid::from_raw(self.near.load(Ordering::Relaxed)) {
                None if is_owed => std::thread::park_timeout(RETRY),
                None => {
                    std::thread::park();
                    continue;
                }
                Some(near) => self.look_after(near, device),
            }
            // Where the supervisor is stopped, the loop is one of several meanwhile that others can do without.
            is_owed = broker::make_ordinary(None).is_err();
        }
    }

    /// Looks after the near loop for as long as that does good.
    fn look_after(&self, near: Pid, device: BorrowedFd<'_>) {
        let begun = Instant::now();
        let mut watch = Watch::new(self.counts());
        // Whoever administers the machine may have changed them.
        let cores = sched_getaffinity(Some(near)).unwrap_or_default();
        *self.cores.lock() = Some(cores);
        let begins = cores.count() > 1 && set_idle(near).is_ok();
        let mut end = (!begins).then_some(End::Harm);
        let mut looks: u32 = 0;
        let mut swept = begun;
        while end.is_none() {
            self.find_caller(&cores);
            match self.alarm.get() {
                Some(alarm) if looks >= FIRST && watch.is_calm() => alarm.wait(CALM),
                _ => std::thread::sleep(TICK),
            }
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.put_off.store(0, Ordering::Relaxed);
            looks += 1;
            if swept.elapsed() >= SWEEP {
                swept = Instant::now();
                if broker::make_ordinary(Some(near)).is_err() {
                    break;
                }
            }
            let busy = self.busy.load(Ordering::Relaxed);
            end = watch.step(Seen { counts: self.counts(), busy, waits: waits(device) });
        }
        log::debug!("no loop is near its caller any more: {end:?} after {:?}", begun.elapsed());
        self.part(near, begins.then_some(&cores));
        let mut trials = self.trials.lock();
        trials.pause = match end {
            Some(End::Over) => Duration::ZERO,
            _ if begun.elapsed() > LASTING => TICK,
            _ => (2 * trials.pause).clamp(PAUSE, LONGEST_PAUSE),
        };
        trials.not_before = Some(Instant::now() + trials.pause);
        self.over.notify_all();
    }

    /// The near loop is one of several again, on these cores.
    fn part(&self, near: Pid, cores: Option<&CpuSet>) {
        let mut companion = self.companion.lock();
        *companion = None;
        self.near.store(0, Ordering::Relaxed);
        if let Some(cores) = cores {
            // Where that fails, its thread has ended.
            let _ = sched_setaffinity(Some(near), cores);
        }
    }

    /// Finds out where the near loop's caller is to be seen, which takes the supervisor.
    fn find_caller(&self, cores: &CpuSet) {
        let caller = self.caller.load(Ordering::Relaxed);
        let is_known = |known: &Companion| known.caller == caller;
        if !self.companion.lock().as_ref().is_some_and(is_known) {
            // Who is gone is followed by another.
            let found = Companion::find(caller, *cores);
            *self.companion.lock() = found;
        }
    }

    fn counts(&self) -> Counts {
        let [requests, bulk, switches] =
            [&self.requests, &self.bulk, &self.switches].map(|count| count.load(Ordering::Relaxed));
        Counts { requests, bulk, switches }
    }

    /// The mount has ended.
    pub(super) fn finish(&self) {
        self.trials.lock().ended = true;
        self.over.notify_all();
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// True if a request waits that no loop has read.
fn waits(device: BorrowedFd<'_>) -> bool {
    let asked = &mut [PollFd::from_borrowed_fd(device, PollFlags::IN)];
    poll(asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
