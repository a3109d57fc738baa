//! Which request each thread is at, and since when: so that what takes too long ends, and what no worker
//! survives is not tried forever.
//!
//! A request at which a worker died is sent again, and is *suspect* then. Suspects run one at a time,
//! so that the next death can only be the fault of one of them; those of a worker that was killed do so only when that
//! has happened to them often, for slow ones would wait long for each other. What three workers die of is
//! *quarantined*: this operation on this inode, and this name in it, is answered with an error until another
//! program is installed or the mount ends.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hsci_protocol::mount::Death;
use parking_lot::{Mutex, MutexGuard};

use super::TakeoverState;
use crate::clock;

/// Five numbers for each thread: request, operation, inode, name, and since when, 0 once it is answered. Each
/// has a cache line of its own.
const THREADS_AT: usize = 12288;
const THREAD_LEN: usize = 64;
const SINCE: usize = 32;
/// Five numbers for each suspect: request, weight of its deaths, operation, inode, name.
const SUSPECTS_AT: usize = 1024;
const SUSPECT_LEN: usize = 40;
const SUSPECTS: usize = 128;
/// Three numbers for what is not tried any more: operation + 1, inode, name.
const QUARANTINE_AT: usize = 6144;
const QUARANTINE_LEN: usize = 24;
const QUARANTINED: usize = 128;
/// Threads of a worker that answer requests, at most.
pub(crate) const THREADS: usize = 512;
/// So many requests under way are few.
const FEW: u64 = 4;
/// A request whose deaths weigh so much is answered with an error.
const MOST_WEIGHT: u64 = 30;

/// What a death weighs for each of `under_way` requests. Three of a worker's own doing are enough, unless
/// many requests share the blame; a request that is slow may be under way at many others.
fn weight(death: Death, under_way: usize) -> u64 {
    match death {
        Death::Own => MOST_WEIGHT / 3 * FEW / FEW.max(under_way as u64),
        // Each costs its callers the whole deadline.
        Death::Hung => MOST_WEIGHT / 2,
        Death::Killed => 1,
        Death::Upgrade => 0,
    }
}

/// Set in the number of a request that is sent again.
const RESENT: u64 = 1 << 63;

/// Threads that have begun with a request so far.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// What a request is about: by this, requests are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) operation: u64,
    pub(crate) ino: u64,
    /// A number made of the name in the directory `ino`; 0 if there is none.
    name: u64,
}

impl Subject {
    pub(crate) fn new(operation: u64, ino: u64, name: Option<&OsStr>) -> Self {
        let number = |name: &OsStr| 1 << 32 | u64::from(crc32fast::hash(name.as_bytes()));
        Self { operation, ino, name: name.map_or(0, number) }
    }
}

/// What earlier workers died at.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// Requests that workers died at, which run one at a time.
    requests: HashSet<u64>,
    quarantine: HashSet<Subject>,
    /// The names in it that were asked for since.
    names: Mutex<HashMap<Subject, OsString>>,
    pub(super) running: Mutex<()>,
}

impl Suspects {
    /// True if something is not to be tried any more.
    pub(crate) fn refuse(&self, subject: Subject, name: Option<&OsStr>) -> bool {
        let refused = !self.quarantine.is_empty() && self.quarantine.contains(&subject);
        if refused && let Some(name) = name {
            self.names.lock().entry(subject).or_insert_with(|| name.to_owned());
        }
        refused
    }

    /// What is not tried any more, with names as far as anybody has asked for them since.
    pub(crate) fn quarantined(&self) -> Vec<(Subject, Option<OsString>)> {
        let names = self.names.lock();
        let listed = self.quarantine.iter().map(|subject| (*subject, names.get(subject).cloned()));
        listed.collect()
    }

    /// Waits for other suspects, if the request is one.
    pub(crate) fn turn(&self, unique: u64) -> Option<MutexGuard<'_, ()>> {
        let is_suspect = is_resent(unique) && self.requests.contains(&number(unique));
        is_suspect.then(|| self.running.lock())
    }
}

/// The number of a request without the mark that it is sent again.
pub(crate) fn number(unique: u64) -> u64 {
    unique & !RESENT
}

/// True if a worker before this one may have carried a request out.
pub(crate) fn is_resent(unique: u64) -> bool {
    unique & RESENT != 0
}

/// A request that a thread is at, until this is dropped.
pub(crate) struct AtWork<'a> {
    state: &'a TakeoverState,
    row: Option<usize>,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if let Some(row) = self.row {
            self.state.set_number(row + SINCE, 0);
        }
    }
}

/// A request that is being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) operation: u64,
    pub(crate) ino: u64,
}

impl TakeoverState {
    /// The calling thread has begun with a request at that time.
    pub(crate) fn begin(&self, unique: u64, subject: Subject, since: Duration) -> AtWork<'_> {
        let thread = THREAD.get().unwrap_or_else(|| {
            let thread = NEXT.fetch_add(1, Ordering::Relaxed);
            THREAD.set(Some(thread));
            thread
        });
        let row = (thread < THREADS).then_some(THREADS_AT + THREAD_LEN * thread);
        if let Some(row) = row {
            let Subject { operation, ino, name } = subject;
            let values = [number(unique), operation, ino, name, milliseconds(since)];
            for (place, value) in values.into_iter().enumerate() {
                self.set_number(row + 8 * place, value);
            }
        }
        AtWork { state: self, row }
    }

    /// A request that has been worked on for longer than `deadline`.
    pub(crate) fn overdue(&self, deadline: Duration) -> Option<Running> {
        let latest = milliseconds(clock::now()).checked_sub(deadline.as_millis() as u64)?;
        (0..THREADS).map(|thread| THREADS_AT + THREAD_LEN * thread).find_map(|row| {
            let since = self.number(row + SINCE);
            let (operation, ino) = (self.number(row + 8), self.number(row + 16));
            // Not another request meanwhile.
            let is_late = since != 0 && since < latest && self.number(row + SINCE) == since;
            is_late.then_some(Running { operation, ino })
        })
    }

    /// How many threads have been at one request for longer than `patience`.
    pub(crate) fn waiting(&self, patience: Duration) -> usize {
        let latest = milliseconds(clock::now()).saturating_sub(patience.as_millis() as u64);
        let used = NEXT.load(Ordering::Relaxed).min(THREADS);
        let since = |thread| self.number(THREADS_AT + THREAD_LEN * thread + SINCE);
        (0..used).map(since).filter(|since| *since != 0 && *since < latest).count()
    }

    /// Counts the death of the worker before for the requests that its threads were at. A request
    /// that was answered meanwhile is not sent again, so its count does not matter.
    pub(crate) fn count(&self, death: Death) -> Suspects {
        let threads: Vec<[u64; 5]> = self.table(THREADS_AT, THREADS, THREAD_LEN);
        let under_way = threads.iter().filter(|row| row[4] != 0).count();
        let weight = weight(death, under_way);
        let mut before: Vec<[u64; 5]> = self.table(SUSPECTS_AT, SUSPECTS, SUSPECT_LEN);
        let mut known: Vec<[u64; 3]> = self.table(QUARANTINE_AT, QUARANTINED, QUARANTINE_LEN);
        if death == Death::Upgrade {
            // Another program may do better.
            (before, known) = (Vec::new(), Vec::new());
        }
        let weight_of = |unique| before.iter().find(|row| row[0] == unique).map_or(0, |row| row[1]);
        let mut suspects: Vec<[u64; 5]> = threads
            .iter()
            .map(|&[unique, operation, ino, name, _]| {
                [unique, weight_of(unique) + weight, operation, ino, name]
            })
            .collect();
        let subject = |operation, ino, name| Subject { operation, ino, name };
        let mut quarantine: HashSet<Subject> =
            known.iter().map(|&[number, ino, name]| subject(number - 1, ino, name)).collect();
        for &[_, weight, operation, ino, name] in &suspects {
            if weight >= MOST_WEIGHT && quarantine.len() < QUARANTINED {
                quarantine.insert(subject(operation, ino, name));
            }
        }
        // The heaviest ones, where there are too many.
        suspects.sort_by_key(|row| std::cmp::Reverse(row[1]));
        // Those that waited for their turn are suspects still.
        let waited = before.iter().filter(|row| !threads.iter().any(|thread| thread[0] == row[0]));
        suspects.extend(waited);
        suspects.truncate(SUSPECTS);
        let listed: Vec<[u64; 3]> =
            quarantine.iter().map(|one| [one.operation + 1, one.ino, one.name]).collect();
        self.set_table(SUSPECTS_AT, SUSPECTS, SUSPECT_LEN, &suspects);
        self.set_table(QUARANTINE_AT, QUARANTINED, QUARANTINE_LEN, &listed);
        self.set_table::<{ THREAD_LEN / 8 }>(THREADS_AT, THREADS, THREAD_LEN, &[]);
        let least = if matches!(death, Death::Own | Death::Hung) { 0 } else { MOST_WEIGHT / 3 };
        let one_by_one = suspects.iter().filter(|row| row[1] >= least);
        let requests = one_by_one.map(|row| row[0]).collect();
        Suspects { requests, quarantine, ..Suspects::default() }
    }

    /// The rows of a table that are in use: their first number is not 0.
    fn table<const N: usize>(&self, at: usize, rows: usize, row_len: usize) -> Vec<[u64; N]> {
        let row = |row| std::array::from_fn(|place| self.number(at + row_len * row + 8 * place));
        (0..rows).map(row).filter(|row: &[u64; N]| row[0] != 0).collect()
    }

    fn set_table<const N: usize>(&self, at: usize, rows: usize, row_len: usize, used: &[[u64; N]]) {
        for row in 0..rows {
            let values = used.get(row).copied().unwrap_or([0; N]);
            for (place, value) in values.into_iter().enumerate() {
                self.set_number(at + row_len * row + 8 * place, value);
            }
        }
    }
}

/// Never 0.
fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64 + 1
}
