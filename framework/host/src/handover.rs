//! What outlives a worker: which inodes the kernel knows and how they are found again, what
//! extensions have acknowledged of files and not yet written, and which request each thread is at.
//!
//! It lies in a file in memory that the supervisor holds. A worker writes every change there
//! before it answers the request that made it, so the next worker is never behind what the
//! kernel has been told. Being ahead is harmless: a lookup that is counted twice keeps an inode
//! known for too long.
//!
//! ```text
//! 0     magic, start of the log, what the kernel offered at INIT
//! 256   for each thread, the request that it is at
//! 1024  requests that workers did not survive, and how many workers
//! 2048  what is not tried any more
//! 4096  the log
//! ```

mod record;
mod requests;
#[cfg(test)]
mod tests;
mod vault;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, memfd_create};
use rustix::io::{Errno, pread, pwrite};

use self::record::Record;

pub(crate) use self::requests::{Suspects, is_resent, number};
pub(crate) use self::vault::{Vault, VaultKeeper};

const MAGIC: [u8; 8] = *b"HSCIhnd1";
const START_AT: u64 = 8;
const OFFER_AT: u64 = 16;
const LOG_AT: u64 = 4096;
/// The log is written anew when it is twice as long as then, and this much longer.
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

/// What extensions have noted of a file: for each thing that notes are about, one note behind the
/// other.
pub(crate) type Notes = BTreeMap<u64, Vec<u8>>;

/// What a worker takes over from the one before.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// By number.
    pub(crate) inodes: HashMap<u64, KnownInode>,
    /// For requests that were about to swap names, where the first one led.
    pub(crate) swaps: HashMap<u64, u64>,
}

/// The file, as the worker that serves uses it.
pub(crate) struct Handover {
    file: OwnedFd,
    log: Mutex<Log>,
    /// Swaps that the worker before has begun.
    swaps: HashMap<u64, u64>,
}

struct Log {
    start: u64,
    end: u64,
    /// Length when it was last written anew, in bytes.
    live: u64,
    buffer: Vec<u8>,
    /// It could not be written: no other worker may rely on it.
    broken: bool,
}

/// Makes the file, for workers to come.
pub(crate) fn create() -> Result<OwnedFd, Errno> {
    let file = memfd_create("hsci-handover", MemfdFlags::CLOEXEC)?;
    let mut head = [0; LOG_AT as usize];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&LOG_AT.to_ne_bytes());
    write_all(&file, &head, 0)?;
    Ok(file)
}

impl Handover {
    /// What the workers before have left; an error says why it cannot be used.
    pub(crate) fn open(file: OwnedFd) -> Result<(Self, Remains), String> {
        let unreadable = |errno: Errno| format!("what the last worker left: {errno}");
        let mut head = [0; 16];
        read_all(&file, &mut head, 0).map_err(unreadable)?;
        if head[..8] != MAGIC {
            return Err("what the last worker left is of another version, or spoiled".to_owned());
        }
        let start = u64::from_ne_bytes(head[8..].try_into().expect("8 bytes"));
        let len = u64::try_from(fstat(&file).map_err(unreadable)?.st_size).unwrap_or_default();
        let len = len.checked_sub(start).filter(|_| start >= LOG_AT);
        let len = len.ok_or("what the last worker left is cut off")?;
        let mut bytes = vec![0; len as usize];
        read_all(&file, &mut bytes, start).map_err(unreadable)?;
        let (remains, used) = replay(&bytes);
        let end = start + used;
        let log = Log { start, end, live: used, buffer: Vec::new(), broken: false };
        let swaps = remains.swaps.clone();
        Ok((Self { file, log: Mutex::new(log), swaps }, remains))
    }

    /// What the kernel offered; `None` before the connection has begun.
    pub(crate) fn offer(&self) -> Option<Offer> {
        let mut bytes = [0; 24];
        read_all(&self.file, &mut bytes, OFFER_AT).ok()?;
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let flags = u64::from(word(12)) | u64::from(word(16)) << 32;
        let offer = Offer { major: word(0), minor: word(4), max_readahead: word(8), flags };
        (offer.major != 0).then_some(offer)
    }

    /// Writes down what the kernel offered.
    pub(crate) fn set_offer(&self, offer: &Offer) {
        let words = [
            offer.major,
            offer.minor,
            offer.max_readahead,
            offer.flags as u32,
            (offer.flags >> 32) as u32,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.write_or_break(&bytes, OFFER_AT);
    }

    /// Where the first of two names led that the worker before was about to swap for a request.
    pub(crate) fn swapped(&self, unique: u64) -> Option<u64> {
        self.swaps.get(&unique).copied()
    }

    /// Adds to the log what `add` makes, and changes under the same lock what goes with it. When the
    /// log has grown too long it is written anew from what `all` makes, which must be everything.
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
        add(&mut Entries(&mut buffer));
        let (at, len) = (log.end, buffer.len() as u64);
        log.broken = !self.write_or_break(&buffer, at);
        log.end += len;
        if log.end - log.start > 2 * log.live + SLACK && !log.broken {
            buffer.clear();
            all(&mut Entries(&mut buffer));
            self.renew(&mut log, &buffer);
            buffer = Vec::new();
        }
        log.buffer = buffer;
    }

    /// The new log goes behind the old one, which counts until a single write says otherwise.
    fn renew(&self, log: &mut Log, bytes: &[u8]) {
        let start = log.end;
        log.broken = !self.write_or_break(bytes, start)
            || !self.write_or_break(&start.to_ne_bytes(), START_AT);
        let gone = (log.start, start - log.start);
        (log.start, log.end, log.live) = (start, start + bytes.len() as u64, bytes.len() as u64);
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(errno) = fallocate(&self.file, mode, gone.0, gone.1) {
            log::debug!("memory of the old log stays in use: {errno}");
        }
    }

    /// What cannot be written down cannot be taken over: then no worker shall try.
    fn write_or_break(&self, bytes: &[u8], at: u64) -> bool {
        let Err(errno) = write_all(&self.file, bytes, at) else {
            return true;
        };
        log::error!("another worker could not go on from here, for nothing is noted: {errno}");
        let _ = write_all(&self.file, &[0; 8], 0);
        false
    }
}

/// Takes the entries of a log.
pub(crate) struct Entries<'a>(&'a mut Vec<u8>);

impl Entries<'_> {
    /// The kernel has been told of an inode `lookups` more times.
    pub(crate) fn inode(
        &mut self,
        ino: u64,
        (device, number): (u64, u64),
        lookups: u64,
        handle: &[u8],
        name: Option<(u64, &OsStr)>,
    ) {
        Record::Inode { ino, device, number, lookups, handle, name }.append(self.0);
    }

    /// The kernel has been told of a known inode once more.
    pub(crate) fn told(&mut self, ino: u64) {
        Record::Told { ino }.append(self.0);
    }

    /// The kernel has forgotten so many lookups.
    pub(crate) fn forgotten(&mut self, ino: u64, lookups: u64) {
        Record::Forgotten { ino, lookups }.append(self.0);
    }

    /// An extension notes something of a file.
    pub(crate) fn note(&mut self, ino: u64, about: u64, bytes: &[u8]) {
        Record::Note { ino, about, bytes }.append(self.0);
    }

    /// Notes of a file about something are not needed any more.
    pub(crate) fn written(&mut self, ino: u64, about: u64) {
        Record::Written { ino, about }.append(self.0);
    }

    /// A request is about to swap two names, the first of which leads to this inode.
    pub(crate) fn swap(&mut self, unique: u64, ino: u64) {
        Record::Swap { unique, ino }.append(self.0);
    }
}

/// What a log says, and how many of its bytes say it.
fn replay(log: &[u8]) -> (Remains, u64) {
    let mut remains = Remains::default();
    let mut rest = log;
    while let Some((record, behind)) = Record::first(rest) {
        rest = behind;
        let inodes = &mut remains.inodes;
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
            Record::Swap { unique, ino } => drop(remains.swaps.insert(unique, ino)),
        }
    }
    remains.inodes.retain(|_, known| known.lookups > 0 || !known.notes.is_empty());
    (remains, (log.len() - rest.len()) as u64)
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
