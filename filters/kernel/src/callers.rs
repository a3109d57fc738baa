//! Who calls, for each call that a host is handed, found out in the kernel as the call is made.
//!
//! A host loads the program for its own connection and keeps it as long as it serves:
//!
//! ```no_run
//! # fn example(tables: hsci_engine::Tables, call: hsci_language::Operation, class: u32,
//! #     facts: hsci_language::Facts) -> Result<(), hsci_kernel::Error> {
//! use hsci_kernel::callers::CallerTracer;
//!
//! let tracer = CallerTracer::load(&tables)?;
//! tracer.attach(rustix::fs::stat("/mnt").expect("the mount").st_dev);
//! // For each request, with what its header says:
//! # let (unique, tid) = (2, 1);
//! if let Some(caller) = tracer.caller(unique, tid)
//!     && caller.generation == tracer.generation()
//! {
//!     let verdict = tables.verdict(call, class, (&caller.subject, 0), &facts);
//! }
//! // Otherwise the host finds out for itself who calls.
//! # Ok(())
//! # }
//! ```
//!
//! The verdict itself is the host's: only the host knows path, type, owner and size of what a request
//! is about.

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use aya::maps::HashMap;
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};
use hsci_abi::callers::{self, HANDED_LEN, OPCODES, Shared as _, TracerState};
use hsci_abi::guard::{RootKey, RootPlace};
use hsci_engine::Tables;

pub use hsci_abi::callers::Caller;

use crate::memory::{self, Remembered};
use crate::room::{self, Objects, objects};
use crate::roots;
use crate::sys::{Plain, Shared};
use crate::{Error, kernel_device, map_error};

const OBJECTS: Objects = objects!("callers");
/// The same, for policies with marks or rates.
const REMEMBERING: Objects = objects!("remembering");
const PROGRAM: &str = "request_send";
const HANDED_OVER: &str = "HANDED_OVER";
const TRACEPOINT: &str = "fuse_request_send";

/// The program of one host. It ends with this value.
#[derive(Debug)]
pub struct CallerTracer {
    ebpf: Ebpf,
    room: usize,
    generation: u32,
    handed: Shared,
    state: Shared,
    memory: Option<Remembered>,
}

impl CallerTracer {
    /// Loads the program with tables. It tells nothing before [`CallerTracer::attach`].
    pub fn load(tables: &Tables) -> Result<Self, Error> {
        let words = room::words(tables);
        Self::load_words(tables, words)
    }

    fn load_words(tables: &Tables, (words, generation): (Vec<u32>, u32)) -> Result<Self, Error> {
        let room = room::fitting(words.len())?;
        // Read once: there are many types.
        let btf = Btf::from_sys_fs().map_err(Error::Types)?;
        let mut loader = EbpfLoader::new();
        loader.allow_unsupported_maps().btf(Some(&btf));
        let memory = tables.remembers().then(Remembered::open).transpose()?;
        if memory.is_some() {
            loader.map_pin_path(memory::NAME, memory::pin());
        }
        let objects = if memory.is_some() { REMEMBERING } else { OBJECTS };
        let mut ebpf = loader.load(objects[room]).map_err(Error::Object)?;
        put_roots(&mut ebpf, tables, generation, generation)?;
        room::put(&mut ebpf, room, words)?;
        let handed = share(&ebpf, HANDED_OVER, HANDED_LEN)?;
        let state = share(&ebpf, "TRACER", size_of::<TracerState>())?;
        let fail = |source| Error::Program { name: PROGRAM, source };
        let program = ebpf.program_mut(PROGRAM).ok_or(Error::Absent(PROGRAM))?;
        let program: &mut BtfTracePoint = program.try_into().map_err(fail)?;
        program.load(TRACEPOINT, &btf).map_err(fail)?;
        program.attach().map_err(fail)?;
        Ok(Self { ebpf, room, generation, handed, state, memory })
    }

    /// Begins to tell about the calls on the mount with this device number, as `stat` says it.
    pub fn attach(&self, device: u64) {
        self.state
            .word(offset_of!(TracerState, device))
            .store(kernel_device(device), Ordering::Relaxed);
    }

    /// Uses other tables. Calls are classified by the old ones or by the new ones.
    pub fn put(&mut self, tables: &Tables) -> Result<(), Error> {
        let (words, generation) = room::words(tables);
        let is_forgetful = tables.remembers() && self.memory.is_none();
        if is_forgetful || room::fitting(words.len())? > self.room {
            let device = self.state.word(offset_of!(TracerState, device)).load(Ordering::Relaxed);
            *self = Self::load_words(tables, (words, generation))?;
            self.state.word(offset_of!(TracerState, device)).store(device, Ordering::Relaxed);
            return Ok(());
        }
        put_roots(&mut self.ebpf, tables, generation, self.generation)?;
        room::put(&mut self.ebpf, self.room, words)?;
        self.generation = generation;
        Ok(())
    }

    /// Marks what was found with the present tables.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Who made a request, as [`callers::caller`] has it. Makes no system call.
    #[must_use]
    pub fn caller(&self, unique: u64, tid: u32) -> Option<Caller> {
        callers::caller(&self.handed, unique, tid)
    }

    /// Who made the latest requests, in no order.
    #[must_use]
    pub fn recent(&self) -> Vec<Caller> {
        callers::recent(&self.handed)
    }

    /// The map that holds [`HANDED_LEN`] bytes for whoever asks [`callers::caller`].
    #[must_use]
    pub fn memory(&self) -> BorrowedFd<'_> {
        map_of(&self.ebpf, HANDED_OVER).expect("it was shared as the program was loaded")
    }

    /// What is remembered of callers, where the kernel can follow them.
    #[must_use]
    pub fn remembered(&self) -> Option<&Remembered> {
        self.memory.as_ref()
    }

    /// Number of requests so far of each operation code; the last place holds those beyond.
    #[must_use]
    pub fn requests(&self) -> [u64; OPCODES] {
        std::array::from_fn(|opcode| {
            self.state
                .long(offset_of!(TracerState, requests) + opcode * size_of::<u64>())
                .load(Ordering::Relaxed)
        })
    }

    /// Number of requests for which the kernel could not find out who calls.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.state.long(offset_of!(TracerState, unknown)).load(Ordering::Relaxed)
    }
}

/// Where executables lie, for a policy that is about to be put in force. Those of the last one stay until the
/// next: calls are judged by it meanwhile.
fn put_roots(ebpf: &mut Ebpf, tables: &Tables, generation: u32, last: u32) -> Result<(), Error> {
    const NAME: &str = "ROOTS";
    let map = ebpf.map_mut(NAME).ok_or(Error::Absent(NAME))?;
    let mut map: HashMap<_, Plain<RootKey>, Plain<RootPlace>> =
        map.try_into().map_err(map_error(NAME))?;
    roots::remove(&mut map, |known| known != last).map_err(map_error(NAME))?;
    roots::put(&mut map, &roots::places(tables)?, generation).map_err(map_error(NAME))
}

fn map_of<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, Error> {
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(data)) => Ok(data.fd().as_fd()),
        _ => Err(Error::Absent(name)),
    }
}

fn share(ebpf: &Ebpf, name: &'static str, len: usize) -> Result<Shared, Error> {
    Shared::new(map_of(ebpf, name)?, len)
        .map_err(|source| Error::File { path: format!("map `{name}`"), source })
}
