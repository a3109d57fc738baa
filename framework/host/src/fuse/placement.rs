//! One caller at a time: the loop that serves it stays on its core.
//!
//! A round trip takes three to four times as long when caller and loop sleep on cores of their own, for each must be
//! woken from the other. The scheduler keeps them apart where it can: who is woken goes to an idle core. So while one
//! caller makes many requests, one after the other,
//!
//! * one loop alone reads from the device, so that it is always the same that is woken;
//! * this *near* loop has the policy `SCHED_IDLE`: a core on which nothing else runs counts as idle, so the caller that
//!   it wakes stays where it is;
//! * it is held on its caller's core for a while when the two are found apart.
//!
//! A thread of ordinary priority looks after them each millisecond. When the calls become few, when one takes long,
//! when requests wait that the near loop does not come to, or when there are other callers, all is as before, and for
//! some time nothing is tried. So nobody waits longer for these than a few such looks. Who has given up its ordinary
//! priority may not take it back: the supervisor gives it, and to threads that layers have started meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::sandbox::broker;
use crate::sys::scheduling::set_idle;

/// So many requests in a row of one thread, each time in at most such a time, begin it.
const RUN: u32 = 256;
const RUN_TIME: Duration = Duration::from_millis(40);
/// So many bytes take longer to copy than a core takes to wake.
const BULK: usize = 64 << 10;
const TICK: Duration = Duration::from_millis(1);
/// How long a loop that waits lets nobody look after the near one.
const UNWATCHED: Duration = Duration::from_millis(20);
/// Looks until threads that layers have started get ordinary priority.
const SWEEP: u32 = 50;
/// How many looks the near loop is held where its caller is.
const HOLD: u32 = 200;
/// What has lasted so long was worth it, and is tried again at once.
const LASTING: Duration = Duration::from_millis(10);
/// When the supervisor is asked again that has not answered.
const RETRY: Duration = Duration::from_secs(1);
/// How long nothing is tried after it did harm at once, first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    static SELF: Pid = gettid();
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
    /// Of the near loop: its requests, those of many bytes, those of another thread than the one before, and where it was.
    requests: AtomicU64,
    bulk: AtomicU64,
    switches: AtomicU64,
    core: AtomicU32,
    /// The near loop is at a request.
    busy: AtomicBool,
    /// How often somebody has looked after it.
    looks: AtomicU32,
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
            self.core.store(sched_getcpu() as u32, Ordering::Relaxed);
        }
    }

    fn is_near(&self) -> bool {
        SELF.with(|this| this.as_raw_pid()) == self.near.load(Ordering::Relaxed)
    }

    /// This loop has given its answer. Another one than the near loop waits here until it is needed again.
    pub(super) fn end(&self) {
        match self.near.load(Ordering::Relaxed) {
            0 => {}
            _ if self.is_near() => self.busy.store(false, Ordering::Relaxed),
            _ => self.wait(),
        }
    }

    /// Waits until the near loop is one of several again, or nobody looks after it.
    fn wait(&self) {
        let mut trials = self.trials.lock();
        let mut looks = None;
        while self.near.load(Ordering::Relaxed) != 0 && !trials.ended {
            if self.over.wait_for(&mut trials, UNWATCHED).timed_out() {
                let before = looks.replace(self.looks.load(Ordering::Relaxed));
                if before == looks {
                    return;
                }
            }
        }
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
        let mut found = Found::default();
        // Whoever administers the machine may have changed them.
        let cores = sched_getaffinity(Some(near)).unwrap_or_default();
        let begins = cores.count() > 1 && set_idle(near).is_ok();
        let mut end = (!begins).then_some(End::Harm);
        while end.is_none() {
            std::thread::sleep(TICK);
            let looks = self.looks.fetch_add(1, Ordering::Relaxed);
            if looks.is_multiple_of(SWEEP) && broker::make_ordinary(Some(near)).is_err() {
                break;
            }
            let busy = self.busy.load(Ordering::Relaxed);
            let seen = Seen { counts: self.counts(), busy, waits: waits(device) };
            end = watch.step(seen).or_else(|| self.follow(near, &mut found, &cores).err());
        }
        if begins {
            let _ = [Some(near), None].map(|thread| sched_setaffinity(thread, &cores));
        }
        log::debug!("no loop is near its caller any more: {end:?} after {:?}", begun.elapsed());
        let mut trials = self.trials.lock();
        trials.pause = match end {
            Some(End::Over) => Duration::ZERO,
            _ if begun.elapsed() > LASTING => TICK,
            _ => (2 * trials.pause).clamp(PAUSE, LONGEST_PAUSE),
        };
        trials.not_before = Some(Instant::now() + trials.pause);
        self.near.store(0, Ordering::SeqCst);
        self.over.notify_all();
    }

    fn counts(&self) -> Counts {
        let [requests, bulk, switches] =
            [&self.requests, &self.bulk, &self.switches].map(|count| count.load(Ordering::Relaxed));
        Counts { requests, bulk, switches }
    }

    /// Holds the near loop where its caller has last run for some looks, if it was elsewhere: it is asleep most of the
    /// time, and goes there when it is woken.
    fn follow(&self, near: Pid, found: &mut Found, cores: &CpuSet) -> Result<(), End> {
        let place = |cores: &CpuSet| sched_setaffinity(Some(near), cores).map_err(|_| End::Harm);
        let caller = self.caller.load(Ordering::Relaxed);
        if found.companion.as_ref().is_none_or(|known| known.caller != caller) {
            found.companion = Companion::find(caller);
        }
        // Who is gone is followed by another.
        let core = found.companion.as_ref().and_then(Companion::core);
        match core.filter(|core| *core != self.core.load(Ordering::Relaxed) as usize) {
            Some(core) => {
                found.held = HOLD;
                let (mut only, mut others) = (CpuSet::new(), *cores);
                only.set(core);
                others.unset(core);
                // Where this thread wakes, the core counts as busy: it stays out of the way, if there is another one.
                let _ = sched_setaffinity(None, &others);
                place(&only)
            }
            None if found.held == 1 => {
                found.held = 0;
                place(cores)
            }
            None => {
                found.held = found.held.saturating_sub(1);
                Ok(())
            }
        }
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

/// What the looks after a near loop have found, and done.
#[derive(Default)]
struct Found {
    companion: Option<Companion>,
    /// For so many looks the near loop is held on one core.
    held: u32,
}

/// A caller, and where it is to be seen on which core it has last run.
struct Companion {
    caller: u32,
    status: OwnedFd,
}

impl Companion {
    fn find(caller: u32) -> Option<Self> {
        Some(Self { caller, status: broker::process_status(caller)? })
    }

    fn core(&self) -> Option<usize> {
        let mut text = [0; 1024];
        let len = rustix::io::pread(&self.status, &mut text, 0).ok()?;
        core_of(&text[..len])
    }
}

/// The field `processor` of `/proc/PID/stat`, the 39th; the second stands in brackets and may have any bytes in it.
fn core_of(status: &[u8]) -> Option<usize> {
    let from = status.iter().rposition(|byte| *byte == b')')?;
    let field = status[from..].split(|byte| *byte == b' ').nth(39 - 2)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Why the near loop is one of many again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is not much to do.
    Over,
    /// It kept somebody waiting.
    Harm,
}

/// Requests that the near loop has read, those of them that are of many bytes, and of another thread than the one before.
#[derive(Clone, Copy, Default)]
struct Counts {
    requests: u64,
    bulk: u64,
    switches: u64,
}

/// What a look has shown.
#[derive(Clone, Copy)]
struct Seen {
    counts: Counts,
    /// It is at one.
    busy: bool,
    /// One waits that it has not read.
    waits: bool,
}

/// What the looks before have shown.
struct Watch {
    counts: Counts,
    /// So many looks in a row have found few requests; none although there was one; callers in turns.
    quiet: u32,
    stuck: u32,
    crowded: u32,
}

impl Watch {
    /// Requests between two looks, of which fewer are few.
    const FEW: u64 = 4;
    const QUIET: u32 = 10;
    const STUCK: u32 = 3;
    const CROWDED: u32 = 2;

    fn new(counts: Counts) -> Self {
        Self { counts, quiet: 0, stuck: 0, crowded: 0 }
    }

    fn step(&mut self, seen: Seen) -> Option<End> {
        let before = std::mem::replace(&mut self.counts, seen.counts);
        let more = seen.counts.requests - before.requests;
        let bulk = seen.counts.bulk - before.bulk;
        let switches = seen.counts.switches - before.switches;
        let count = |looks: &mut u32, is_so: bool, enough: u32| {
            *looks = if is_so { *looks + 1 } else { 0 };
            *looks >= enough
        };
        let stuck = count(&mut self.stuck, more == 0 && (seen.busy || seen.waits), Self::STUCK);
        let crowded = count(&mut self.crowded, 16 * switches > more, Self::CROWDED);
        let quiet = count(&mut self.quiet, more < bulk + Self::FEW, Self::QUIET);
        match (stuck || crowded, quiet) {
            (true, _) => Some(End::Harm),
            (false, true) => Some(End::Over),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of looks of which each finds so many more requests, switches of callers, and a request under
    /// way or waiting.
    fn looks(seen: &[(u64, u64, bool, bool)]) -> Option<End> {
        let mut watch = Watch::new(Counts::default());
        let mut counts = Counts::default();
        seen.iter().find_map(|&(requests, switches, busy, waits)| {
            counts.requests += requests;
            counts.switches += switches;
            watch.step(Seen { counts, busy, waits })
        })
    }

    #[test]
    fn a_caller_that_is_served_at_once_is_stayed_with() {
        let one_by_one = [(60, 1, false, false), (50, 3, true, true), (55, 0, false, true)];
        assert_eq!(looks(&one_by_one.repeat(100)), None);
    }

    #[test]
    fn what_keeps_somebody_waiting_ends_it() {
        let long =
            [(60, 0, true, false), (0, 0, true, false), (0, 0, true, false), (0, 0, true, false)];
        assert_eq!(looks(&long), Some(End::Harm));
        assert_eq!(looks(&long[..3]), None);
        assert_eq!(looks(&[(0, 0, false, true); 3]), Some(End::Harm));
        let two_callers = [(40, 20, false, true); 2];
        assert_eq!(looks(&two_callers), Some(End::Harm));
        assert_eq!(looks(&two_callers[..1]), None);
    }

    #[test]
    fn a_rush_that_is_over_ends_it_without_harm() {
        assert_eq!(looks(&[(0, 0, false, false); 10]), Some(End::Over));
        assert_eq!(looks(&[(0, 0, false, false); 9]), None);
        assert_eq!(looks(&[(3, 0, false, false); 10]), Some(End::Over));
    }

    #[test]
    fn the_core_is_found_behind_any_name() {
        let named = |name: &str| {
            let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
            format!("77 ({name}) {}\n", fields.join(" "))
        };
        assert_eq!(core_of(named("tar").as_bytes()), Some(39));
        assert_eq!(core_of(named("a) b (c) 1 2").as_bytes()), Some(39));
        assert_eq!(core_of(b"77 (tar) R 1"), None);
        assert_eq!(core_of(b""), None);
    }

    #[test]
    fn this_thread_is_where_its_status_says() {
        let mut all = CpuSet::new();
        let before = sched_getaffinity(None).expect("cores");
        for core in (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)) {
            all.clear();
            all.set(core);
            sched_setaffinity(None, &all).expect("another core");
            let status = std::fs::read("/proc/thread-self/stat").expect("a status");
            assert_eq!(core_of(&status), Some(core));
            assert_eq!(sched_getcpu(), core);
        }
    }
}
