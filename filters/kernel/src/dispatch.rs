//! Who calls, for each call that a host is handed, found out in the kernel as the call is made.
//!
//! A host loads the program for its own connection and keeps it as long as it serves:
//!
//! ```no_run
//! # fn example(tables: hsci_engine::Tables, call: hsci_language::Operation, class: u32,
//! #     facts: hsci_language::Facts) -> Result<(), hsci_kernel::Error> {
//! use hsci_kernel::dispatch::Dispatch;
//!
//! let dispatch = Dispatch::load(&tables)?;
//! dispatch.attach(rustix::fs::stat("/mnt").expect("the mount").st_dev);
//! // For each request, with what its header says:
//! # let (unique, tid) = (2, 1);
//! if let Some(caller) = dispatch.caller(unique, tid)
//!     && caller.generation == dispatch.generation()
//! {
//!     let verdict = tables.verdict(call, class, &caller.subject, &facts);
//! }
//! // Otherwise the host finds out for itself who calls.
//! # Ok(())
//! # }
//! ```
//!
//! The verdict itself is the host's: only the host knows path, type, owner and size of what a request
//! is about.

use std::sync::atomic::{Ordering, fence};

use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};
use hsci_engine::Tables;
use hsci_engine::layout::{Record as _, SubjectClass, hash};

use crate::Error;
use crate::room::{self, Objects, objects};
use crate::sys::Shared;

const OBJECTS: Objects = objects!("dispatch");
const PROGRAM: &str = "request_send";
const TRACEPOINT: &str = "fuse_request_send";

// As in `bpf/dispatch.bpf.c`.
const PLACES: u32 = 4096;
const PLACE_LEN: usize = 64;
const SUBJECT: usize = 16;
const OPCODES: usize = 64;
const BY_THREAD: u64 = 1 << 62;
const RESENT: u64 = 1 << 63;
const UNKNOWN: usize = 8;
const REQUESTS: usize = 16;

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which tables the classes are from.
    pub generation: u32,
    /// Operation code of the request.
    pub opcode: u32,
    /// The classes.
    pub subject: SubjectClass,
}

/// The program of one host. It ends with this value.
#[derive(Debug)]
pub struct Dispatch {
    ebpf: Ebpf,
    room: usize,
    generation: u32,
    handed: Shared,
    state: Shared,
}

impl Dispatch {
    /// Loads the program with tables. It tells nothing before [`Dispatch::attach`].
    pub fn load(tables: &Tables) -> Result<Self, Error> {
        let words = room::words(tables);
        Self::load_words(words)
    }

    fn load_words((words, generation): (Vec<u32>, u32)) -> Result<Self, Error> {
        let room = room::fitting(words.len())?;
        let mut ebpf = crate::load(OBJECTS[room])?;
        room::put(&mut ebpf, room, words)?;
        let handed = share(&ebpf, "HANDED_OVER", PLACES as usize * PLACE_LEN)?;
        let state = share(&ebpf, "DISPATCH", REQUESTS + OPCODES * size_of::<u64>())?;
        let btf = Btf::from_sys_fs().map_err(Error::Types)?;
        let fail = |source| Error::Program { name: PROGRAM, source };
        let program = ebpf.program_mut(PROGRAM).ok_or(Error::Absent(PROGRAM))?;
        let program: &mut BtfTracePoint = program.try_into().map_err(fail)?;
        program.load(TRACEPOINT, &btf).map_err(fail)?;
        program.attach().map_err(fail)?;
        Ok(Self { ebpf, room, generation, handed, state })
    }

    /// Begins to tell about the calls on the mount with this device number, as `stat` says it.
    pub fn attach(&self, device: u64) {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        self.state.word(0).store(major << 20 | minor, Ordering::Relaxed);
    }

    /// Uses other tables. Calls are classified by the old ones or by the new ones.
    pub fn put(&mut self, tables: &Tables) -> Result<(), Error> {
        let (words, generation) = room::words(tables);
        if room::fitting(words.len())? > self.room {
            let device = self.state.word(0).load(Ordering::Relaxed);
            *self = Self::load_words((words, generation))?;
            self.state.word(0).store(device, Ordering::Relaxed);
            return Ok(());
        }
        room::put(&mut self.ebpf, self.room, words)?;
        self.generation = generation;
        Ok(())
    }

    /// Marks what was found with the present tables.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Who made a request: found by its number, or on kernels that number requests later by the
    /// thread that made it. Makes no system call. Nothing if the kernel could not find out, or if too
    /// many requests were made since.
    #[must_use]
    pub fn caller(&self, unique: u64, tid: u32) -> Option<Caller> {
        let by_thread = || self.handed_over(BY_THREAD | u64::from(tid));
        self.handed_over(unique & !RESENT).or_else(by_thread)
    }

    fn handed_over(&self, key: u64) -> Option<Caller> {
        let place = hash(key as u32, PLACES - 1) as usize * PLACE_LEN;
        if self.handed.long(place).load(Ordering::Acquire) != key {
            return None;
        }
        let word = |offset: usize| self.handed.word(place + offset).load(Ordering::Relaxed);
        let mut bytes = [0; size_of::<SubjectClass>()];
        for (index, part) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
            *part = word(SUBJECT + 4 * index).to_le_bytes();
        }
        let (generation, opcode) = (word(8), word(12));
        let subject = SubjectClass::read(&bytes);
        // What was read belongs to the key if the key is still there.
        fence(Ordering::Acquire);
        let is_whole = self.handed.long(place).load(Ordering::Relaxed) == key;
        is_whole.then_some(Caller { generation, opcode, subject })
    }

    /// Who made the latest requests, in no order; at most as many as there are places.
    #[must_use]
    pub fn recent(&self) -> Vec<Caller> {
        let places = 0..PLACES as usize;
        let key = |place: usize| self.handed.long(place * PLACE_LEN).load(Ordering::Acquire);
        places
            .filter_map(|place| self.handed_over(key(place)).filter(|_| key(place) != 0))
            .collect()
    }

    /// Number of requests so far of each operation code; the last place holds those beyond.
    #[must_use]
    pub fn requests(&self) -> [u64; OPCODES] {
        std::array::from_fn(|opcode| {
            self.state.long(REQUESTS + opcode * size_of::<u64>()).load(Ordering::Relaxed)
        })
    }

    /// Number of requests for which the kernel could not find out who calls.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.state.long(UNKNOWN).load(Ordering::Relaxed)
    }
}

fn share(ebpf: &Ebpf, name: &'static str, len: usize) -> Result<Shared, Error> {
    let map = ebpf.map(name).ok_or(Error::Absent(name))?;
    let aya::maps::Map::Array(data) = map else { return Err(Error::Absent(name)) };
    Shared::new(data.fd(), len)
        .map_err(|source| Error::File { path: format!("map `{name}`"), source })
}
