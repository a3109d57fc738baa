//! The takeover state, all that the next worker needs of the last: which inodes the kernel knows and
//! how they are found again, what extensions have acknowledged of files and not yet written, and which
//! request each thread is at.
//!
//! It lies in a file in memory that the supervisor holds. Its head is mapped by the worker: a request
//! is noted by storing four numbers. A log after the head takes what grows, and its end is mapped as well:
//! what is added takes no system call. A worker writes every
//! change there before it answers the request that made it, so the next worker is never behind what
//! the kernel has been told. Being ahead is harmless: a lookup that is counted twice keeps an inode
//! known for too long.
//!
//! ```text
//! 0      magic, version, start of the log, what the kernel offered at INIT
//! 1024   requests that workers did not survive, and how many workers
//! 6144   what is not tried any more
//! 12288  for each thread, the request that it is at
//! 45056  the log
//! ```
//! Numbers take eight bytes, in native order.

mod descriptor_store;
mod progress;
mod record;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, memfd_create};
use rustix::io::{Errno, pread, pwrite};

use self::record::Record;
use self::tail::Tail;
use crate::sys::shared::Shared;

pub(crate) use self::descriptor_store::{DescriptorSender, DescriptorStore};
pub(crate) use self::progress::{Subject, Suspects, THREADS, is_resent, number};

const MAGIC: u64 = u64::from_ne_bytes(*b"HSCItake");
const VERSION: u64 = 2;
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 8;
const START_AT: usize = 16;
/// Version of the protocol, readahead, flags.
const OFFER_AT: usize = 24;
const LOG_AT: u64 = 45056;
/// The log is rewritten when it is twice as long as it needs to be, and this much longer.
const SLACK: u64 = 1 << 20;

/// What the kernel offered when the connection began: every worker has to agree to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Version of the protocol.
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Bytes.
    pub(crate) max_readahead: u32,
    /// `FUSE_*` flags of INIT, both words.
    pub(crate) flags: u64,
}

/// An inode that is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownInode {
    pub(crate) device: u64,
    pub(crate) number: u64,
    /// Empty where the lower file system makes none.
    pub(crate) handle: Vec<u8>,
    pub(crate) name: Option<(u64, OsString)>,
    /// Lookups of which the kernel has been told and that it has not forgotten.
    pub(crate) lookups: u64,
    pub(crate) notes: Notes,
}

/// What extensions have noted of a file: for each thing that notes are about, one note after the
/// other.
pub(crate) type Notes = BTreeMap<u64, Vec<u8>>;

/// What a worker takes over from the one before.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// By number.
    pub(crate) inodes: HashMap<u64, KnownInode>,
    /// For requests that were about to swap names, where the first one led.
    pub(crate) swaps: HashMap<u64, u64>,
}

/// The file, as the worker that serves uses it.
pub(crate) struct TakeoverState {
    file: OwnedFd,
    head: Shared,
    log: Mutex<Log>,
    /// Swaps that the worker before has begun.
    swaps: HashMap<u64, u64>,
}

struct Log {
    start: u64,
    end: u64,
    /// Bytes of it that a rewritten log would have, as far as they are counted: all of them just after it was rewritten;
    /// plus the records of inodes that the kernel learns of, minus those of inodes that it forgets.
    live: u64,
    buffer: Vec<u8>,
    tail: Tail,
    /// It could not be written: no other worker may rely on it.
    broken: bool,
}

/// Makes the file, for workers to come.
pub(crate) fn create() -> Result<OwnedFd, Errno> {
    let file = memfd_create("hsci-takeover", MemfdFlags::CLOEXEC)?;
    let mut head = vec![0; LOG_AT as usize];
    for (at, number) in [(MAGIC_AT, MAGIC), (VERSION_AT, VERSION), (START_AT, LOG_AT)] {
        head[at..at + 8].copy_from_slice(&number.to_ne_bytes());
    }
    write_all(&file, &head, 0)?;
    Ok(file)
}

impl TakeoverState {
    /// What the workers before have left; an error says why it cannot be used.
    pub(crate) fn open(file: OwnedFd) -> Result<(Self, Inherited), String> {
        let unreadable = |errno: Errno| format!("what the last worker left: {errno}");
        let len = u64::try_from(fstat(&file).map_err(unreadable)?.st_size).unwrap_or_default();
        // Before it is mapped: memory behind the end of a file cannot be looked at.
        if len < LOG_AT {
            return Err("what the last worker left is cut off".to_owned());
        }
        let head = Shared::writable(&file, 0, LOG_AT as usize)
            .map_err(|error| format!("what the last worker left: {error}"))?;
        let number = |at| head.long(at).load(Ordering::Acquire);
        if number(MAGIC_AT) != MAGIC || number(VERSION_AT) != VERSION {
            return Err("what the last worker left is of another version, or spoiled".to_owned());
        }
        let start = number(START_AT);
        let len = len.checked_sub(start).filter(|_| start >= LOG_AT);
        let len = len.ok_or("what the last worker left is cut off")?;
        let mut bytes = vec![0; len as usize];
        read_all(&file, &mut bytes, start).map_err(unreadable)?;
        let (inherited, used) = read_log(&bytes);
        let end = start + used;
        // Torn bytes must not be taken for the end of what is written over them.
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if used < len {
            fallocate(&file, mode, end, len - used).map_err(unreadable)?;
        }
        let (buffer, tail) = (Vec::new(), Tail::default());
        let log = Log { start, end, live: used, buffer, tail, broken: false };
        let swaps = inherited.swaps.clone();
        Ok((Self { file, head, log: Mutex::new(log), swaps }, inherited))
    }

    fn number(&self, at: usize) -> u64 {
        self.head.long(at).load(Ordering::Acquire)
    }

    fn set_number(&self, at: usize, number: u64) {
        self.head.long(at).store(number, Ordering::Release);
    }

    /// What the kernel offered; `None` before the connection has begun.
    pub(crate) fn offer(&self) -> Option<Offer> {
        let [version, max_readahead, flags] = [0, 8, 16].map(|at| self.number(OFFER_AT + at));
        let (major, minor) = ((version >> 32) as u32, version as u32);
        let offer = Offer { major, minor, max_readahead: max_readahead as u32, flags };
        (offer.major != 0).then_some(offer)
    }

    /// Writes down what the kernel offered; the version last, for it tells that the rest is there.
    pub(crate) fn set_offer(&self, offer: &Offer) {
        self.set_number(OFFER_AT + 16, offer.flags);
        self.set_number(OFFER_AT + 8, offer.max_readahead.into());
        self.set_number(OFFER_AT, u64::from(offer.major) << 32 | u64::from(offer.minor));
    }

    /// Where the first of two names led that the worker before was about to swap for a request.
    pub(crate) fn swapped(&self, unique: u64) -> Option<u64> {
        self.swaps.get(&unique).copied()
    }

    /// Adds to the log what `add` makes, and changes under the same lock what goes with it. When the
    /// log has grown too long it is rewritten from what `all` makes, which must be everything.
    pub(crate) fn log(
        &self,
        add: impl FnOnce(&mut Entries<'_>),
        all: impl FnOnce(&mut Entries<'_>),
    ) {
        let mut log = self.log.lock();
        if log.broken {
            return;
        }
        let mut buffer = std::mem::take(&mut log.buffer);
        buffer.clear();
        let mut entries = Entries { bytes: &mut buffer, came: 0, went: 0 };
        add(&mut entries);
        log.live = (log.live + entries.came).saturating_sub(entries.went);
        let (at, len) = (log.end, buffer.len() as u64);
        log.broken = !self.write_or_break(&mut log.tail, &buffer, at);
        log.end += len;
        if log.end - log.start > 2 * log.live + SLACK && !log.broken {
            buffer.clear();
            all(&mut Entries { bytes: &mut buffer, came: 0, went: 0 });
            self.renew(&mut log, &buffer);
            buffer = Vec::new();
        }
        log.buffer = buffer;
    }

    /// The new log goes after the old one, which counts until a single write says otherwise.
    fn renew(&self, log: &mut Log, bytes: &[u8]) {
        let start = log.end;
        log.broken = !self.write_or_break(&mut log.tail, bytes, start);
        if !log.broken {
            self.set_number(START_AT, start);
        }
        let gone = (log.start, start - log.start);
        (log.start, log.end, log.live) = (start, start + bytes.len() as u64, bytes.len() as u64);
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(errno) = fallocate(&self.file, mode, gone.0, gone.1) {
            log::debug!("memory of the old log stays in use: {errno}");
        }
    }

    /// What cannot be written down cannot be taken over: then no worker shall try.
    fn write_or_break(&self, tail: &mut Tail, bytes: &[u8], at: u64) -> bool {
        let Err(errno) = tail.write(&self.file, bytes, at) else {
            return true;
        };
        log::error!("another worker could not go on from here, for nothing is noted: {errno}");
        self.set_number(MAGIC_AT, 0);
        false
    }
}

/// Takes the entries of a log.
pub(crate) struct Entries<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bytes that would stay if the log were rewritten, and bytes of earlier records that would not.
    came: u64,
    went: u64,
}

impl Entries<'_> {
    /// The kernel has been told of an inode `lookups` more times; with none, that it has another name now.
    pub(crate) fn inode(
        &mut self,
        ino: u64,
        (device, number): (u64, u64),
        lookups: u64,
        handle: &[u8],
        name: Option<(u64, &OsStr)>,
    ) {
        let before = self.bytes.len();
        Record::Inode { ino, device, number, lookups, handle, name }.append(self.bytes);
        if lookups > 0 {
            self.came += (self.bytes.len() - before) as u64;
        }
    }

    /// The kernel has been told of a known inode once more.
    pub(crate) fn told(&mut self, ino: u64) {
        Record::Told { ino }.append(self.bytes);
    }

    /// The kernel has forgotten so many lookups.
    pub(crate) fn forgotten(&mut self, ino: u64, lookups: u64) {
        Record::Forgotten { ino, lookups }.append(self.bytes);
    }

    /// Those were the last lookups of an inode with such a handle and name.
    pub(crate) fn gone(&mut self, handle: &[u8], name: Option<(u64, &OsStr)>) {
        self.went += record::inode_len(handle, name) as u64;
    }

    /// An extension notes something of a file.
    pub(crate) fn note(&mut self, ino: u64, about: u64, bytes: &[u8]) {
        Record::Note { ino, about, bytes }.append(self.bytes);
    }

    /// Notes of a file about something are not needed any more.
    pub(crate) fn written(&mut self, ino: u64, about: u64) {
        Record::Written { ino, about }.append(self.bytes);
    }

    /// A request is about to swap two names, the first of which leads to this inode.
    pub(crate) fn swap(&mut self, unique: u64, ino: u64) {
        Record::Swap { unique, ino }.append(self.bytes);
    }
}

/// What a log says, and how many of its bytes say it.
fn read_log(log: &[u8]) -> (Inherited, u64) {
    let mut inherited = Inherited::default();
    let mut rest = log;
    while let Some((record, behind)) = Record::first(rest) {
        rest = behind;
        let inodes = &mut inherited.inodes;
        match record {
            Record::Inode { ino, device, number, lookups, handle, name } => {
                let known = inodes.entry(ino).or_default();
                if known.handle != handle {
                    // The number is another inode's now.
                    *known = KnownInode { handle: handle.to_vec(), ..KnownInode::default() };
                }
                (known.device, known.number) = (device, number);
                known.name = name.map(|(parent, name)| (parent, name.to_os_string()));
                known.lookups += lookups;
            }
            Record::Told { ino } => inodes.entry(ino).or_default().lookups += 1,
            Record::Forgotten { ino, lookups } => {
                let known = inodes.entry(ino).or_default();
                known.lookups = known.lookups.saturating_sub(lookups);
                if known.lookups == 0 && known.notes.is_empty() {
                    inodes.remove(&ino);
                }
            }
            Record::Note { ino, about, bytes } => {
                let known = inodes.entry(ino).or_default();
                known.notes.entry(about).or_default().extend(bytes);
            }
            Record::Written { ino, about } => {
                if let Some(known) = inodes.get_mut(&ino) {
                    known.notes.remove(&about);
                }
            }
            Record::Swap { unique, ino } => drop(inherited.swaps.insert(unique, ino)),
        }
    }
    inherited.inodes.retain(|_, known| known.lookups > 0 || !known.notes.is_empty());
    (inherited, (log.len() - rest.len()) as u64)
}

fn write_all(file: impl AsFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(&file, bytes, at) {
            Ok(written) => (bytes, at) = (&bytes[written..], at + written as u64),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn read_all(file: impl AsFd, mut bytes: &mut [u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pread(&file, &mut *bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(read) => (bytes, at) = (&mut bytes[read..], at + read as u64),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
