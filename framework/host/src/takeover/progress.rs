//! Which request each thread is at, and since when: so that what takes too long ends, and what no worker
//! survives is not tried forever.
//!
//! A request at which a worker died is sent again, and is *suspect* then. Suspects run one at a time,
//! so that the next death can only be the fault of one of them. What three workers die of is
//! *quarantined*: this operation on this inode is answered with an error as long as the mount lasts.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hsci_protocol::mount::Death;
use parking_lot::{Mutex, MutexGuard};
use rustix::time::{ClockId, clock_gettime};

use super::TakeoverState;

/// Four numbers for each thread: request, operation, inode, and since when, 0 once it is answered. Each
/// has a cache line of its own.
const THREADS_AT: usize = 1024;
const THREAD_LEN: usize = 64;
/// Four numbers for each suspect: request, weight of its deaths, operation, inode.
const SUSPECTS_AT: usize = 5120;
/// Two numbers for each operation that is not tried any more: operation + 1, inode.
const QUARANTINE_AT: usize = 7168;
/// Threads of a worker that answer requests, at most.
const THREADS: usize = 64;
const QUARANTINED: usize = 128;
/// A request whose deaths weigh so much is answered with an error.
const MOST_WEIGHT: u64 = 30;

/// What a death weighs for the requests under way. Three of a worker's own doing are enough; a
/// request that is slow may be under way at many others.
fn weight(death: Death) -> u64 {
    match death {
        Death::Own => MOST_WEIGHT / 3,
        Death::Killed => 1,
    }
}

/// Set in the number of a request that is sent again.
const RESENT: u64 = 1 << 63;

thread_local! {
    static THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// What earlier workers died at.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// Requests that workers died at.
    requests: HashSet<u64>,
    /// Operations and inodes.
    quarantine: HashSet<(u64, u64)>,
    pub(super) running: Mutex<()>,
}

impl Suspects {
    /// True if an operation on an inode is not to be tried any more.
    pub(crate) fn refuse(&self, operation: u64, ino: u64) -> bool {
        !self.quarantine.is_empty() && self.quarantine.contains(&(operation, ino))
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
            self.state.set_number(row + 24, 0);
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
    /// The calling thread begins with a request.
    pub(crate) fn begin(&self, unique: u64, operation: u64, ino: u64) -> AtWork<'_> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let thread = THREAD.get().unwrap_or_else(|| {
            let thread = NEXT.fetch_add(1, Ordering::Relaxed);
            THREAD.set(Some(thread));
            thread
        });
        let row = (thread < THREADS).then_some(THREADS_AT + THREAD_LEN * thread);
        if let Some(row) = row {
            for (place, value) in [number(unique), operation, ino, now()].into_iter().enumerate() {
                self.set_number(row + 8 * place, value);
            }
        }
        AtWork { state: self, row }
    }

    /// A request that has been worked on for longer than `deadline`.
    pub(crate) fn overdue(&self, deadline: Duration) -> Option<Running> {
        let latest = now().checked_sub(deadline.as_millis() as u64)?;
        (0..THREADS).map(|thread| THREADS_AT + THREAD_LEN * thread).find_map(|row| {
            let since = self.number(row + 24);
            let (operation, ino) = (self.number(row + 8), self.number(row + 16));
            // Not another request meanwhile.
            let is_late = since != 0 && since < latest && self.number(row + 24) == since;
            is_late.then_some(Running { operation, ino })
        })
    }

    /// Counts the death of the worker before for the requests that its threads were at. A request
    /// that was answered meanwhile is not sent again, so its count does not matter.
    pub(crate) fn count(&self, death: Death) -> Suspects {
        let threads: Vec<[u64; 3]> = self.table(THREADS_AT, THREADS, THREAD_LEN);
        let before: Vec<[u64; 4]> = self.table(SUSPECTS_AT, THREADS, 32);
        let known: Vec<[u64; 2]> = self.table(QUARANTINE_AT, QUARANTINED, 16);
        let weight_of = |unique| before.iter().find(|row| row[0] == unique).map_or(0, |row| row[1]);
        let mut suspects: Vec<[u64; 4]> = threads
            .iter()
            .map(|[unique, operation, ino]| {
                [*unique, weight_of(*unique) + weight(death), *operation, *ino]
            })
            .collect();
        let mut quarantine: HashSet<(u64, u64)> =
            known.iter().map(|[operation, ino]| (operation - 1, *ino)).collect();
        for [_, weight, operation, ino] in &suspects {
            if *weight >= MOST_WEIGHT && quarantine.len() < QUARANTINED {
                quarantine.insert((*operation, *ino));
            }
        }
        // Those that waited for their turn are suspects still.
        let waited = before.iter().filter(|row| !threads.iter().any(|thread| thread[0] == row[0]));
        suspects.extend(waited);
        suspects.truncate(THREADS);
        let listed: Vec<[u64; 2]> = quarantine.iter().map(|(op, ino)| [op + 1, *ino]).collect();
        self.set_table(SUSPECTS_AT, THREADS, 32, &suspects);
        self.set_table(QUARANTINE_AT, QUARANTINED, 16, &listed);
        self.set_table::<{ THREAD_LEN / 8 }>(THREADS_AT, THREADS, THREAD_LEN, &[]);
        let requests = suspects.iter().map(|row| row[0]).collect();
        Suspects { requests, quarantine, running: Mutex::default() }
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

/// Milliseconds of the clock that never goes back, and never 0.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000 + 1
}
