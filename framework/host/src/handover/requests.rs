//! Which request each thread is at, so that what no worker survives is not tried for ever.
//!
//! A request at which a worker died is sent again, and is *suspect* then. Suspects run one at a time,
//! so that the next death can only be the fault of one of them. What three workers die of is
//! *quarantined*: this operation on this inode is answered with an error as long as the mount lasts.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsci_protocol::mount::Death;
use parking_lot::{Mutex, MutexGuard};

use super::{Handover, read_all};

/// Three numbers for each thread: request, operation, inode.
const THREADS_AT: u64 = 256;
/// Four numbers for each suspect: request, weight of its deaths, operation, inode.
const SUSPECTS_AT: u64 = 1024;
/// Two numbers for each operation that is not tried any more: operation + 1, inode.
const QUARANTINE_AT: u64 = 2048;
/// Threads of a worker that answer requests, at most.
const THREADS: usize = 32;
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

impl Handover {
    /// The calling thread begins with a request.
    pub(crate) fn begin(&self, unique: u64, operation: u64, ino: u64) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let thread = THREAD.get().unwrap_or_else(|| {
            let thread = NEXT.fetch_add(1, Ordering::Relaxed);
            THREAD.set(Some(thread));
            thread
        });
        if thread < THREADS {
            let at = THREADS_AT + 24 * thread as u64;
            self.write_or_break(&bytes_of(&[number(unique), operation, ino]), at);
        }
    }

    /// Counts the death of the worker before for the requests that its threads were at. A request
    /// that was answered meanwhile is not sent again, so its count does not matter.
    pub(crate) fn count(&self, death: Death) -> Suspects {
        let (Some(threads), Some(before), Some(known)) = (
            self.table::<3>(THREADS_AT, THREADS),
            self.table::<4>(SUSPECTS_AT, THREADS),
            self.table::<2>(QUARANTINE_AT, QUARANTINED),
        ) else {
            return Suspects::default();
        };
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
        self.set_table(SUSPECTS_AT, THREADS, &suspects);
        self.set_table(QUARANTINE_AT, QUARANTINED, &listed);
        self.set_table::<3>(THREADS_AT, THREADS, &[]);
        let requests = suspects.iter().map(|row| row[0]).collect();
        Suspects { requests, quarantine, running: Mutex::default() }
    }

    /// The rows of a table that are in use: their first number is not 0.
    fn table<const N: usize>(&self, at: u64, rows: usize) -> Option<Vec<[u64; N]>> {
        let mut bytes = vec![0; rows * N * 8];
        read_all(&self.file, &mut bytes, at).ok()?;
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
        let row = |bytes: &[u8]| std::array::from_fn(|place| word(&bytes[8 * place..][..8]));
        Some(bytes.chunks_exact(8 * N).map(row).filter(|row: &[u64; N]| row[0] != 0).collect())
    }

    fn set_table<const N: usize>(&self, at: u64, rows: usize, used: &[[u64; N]]) {
        let mut bytes = bytes_of(used.as_flattened());
        bytes.resize(rows * N * 8, 0);
        self.write_or_break(&bytes, at);
    }
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
