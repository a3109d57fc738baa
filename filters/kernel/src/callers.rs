//! Who calls, for each call that a host is handed, found out in the kernel as the call is made.
//!
//! One program tells the callers of all mounts, each to its own host:
//!
//! ```no_run
//! # fn example(tables: hsci_engine::Tables, call: hsci_language::Operation, class: u32,
//! #     facts: hsci_language::Facts) -> Result<(), hsci_kernel::Error> {
//! use hsci_kernel::callers::CallerTracer;
//!
//! let mut tracer = CallerTracer::load(&tables)?;
//! tracer.attach(rustix::fs::stat("/mnt").expect("the mount").st_dev)?;
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

mod shared;

use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::Ordering;

use aya::maps::{Array, HashMap, HashOfMaps, IterableMap as _, Map, MapData};
use aya::programs::BtfTracePoint;
use aya::programs::links::FdLink;
use aya::{Btf, Ebpf, EbpfLoader};
use hsci_abi::callers::{self, HANDED_LEN, HandedOver, PLACES, Shared as _, TracerState};
use hsci_abi::guard::{RootKey, RootPlace};
use hsci_engine::Tables;

pub use self::shared::{forget, share};
pub use hsci_abi::callers::Caller;

use crate::guard::pins;
use crate::memory::{self, Remembered};
use crate::room::{self, Objects, objects};
use crate::roots;
use crate::sys::{Plain, Shared};
use crate::{Error, kernel_device, map_error};

/// BPF_F_MMAPABLE
const MMAPABLE: u32 = 1 << 10;

const OBJECTS: Objects = objects!("callers");
/// The same, for policies with marks or rates.
const REMEMBERING: Objects = objects!("remembering");
const PROGRAM: &str = "request_send";
const HANDED_OVER: &str = "HANDED_OVER";
const ROOTS: &str = "ROOTS";
const TRACER: &str = "TRACER";
const TRACEPOINT: &str = "fuse_request_send";
/// What is pinned of a program that is shared.
const MAPS: [&str; 4] = [room::NAME, ROOTS, HANDED_OVER, TRACER];

/// For a connection, those who made its requests.
type Places = Array<MapData, Plain<HandedOver>>;

/// A program that tells callers.
struct Program {
    policy: Map,
    roots: HashMap<MapData, Plain<RootKey>, Plain<RootPlace>>,
    handed: HashOfMaps<MapData, u32, Places>,
    state: Shared,
    memory: Option<Remembered>,
    /// The program ends with this value; otherwise it is pinned.
    own: Option<Ebpf>,
}

impl Program {
    /// Loads one that has room for tables of so many words, and attaches it. With a directory for its pins it outlives
    /// this process.
    fn load(tables: &Tables, room: usize, pins: Option<&Path>) -> Result<Self, Error> {
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
        let mut take = |name| ebpf.take_map(name).ok_or(Error::Absent(name));
        let (policy, roots) = (take(room::NAME)?, take(ROOTS)?);
        let (handed, state) = (take(HANDED_OVER)?, take(TRACER)?);
        let fail = |source| Error::Program { name: PROGRAM, source };
        let program = ebpf.program_mut(PROGRAM).ok_or(Error::Absent(PROGRAM))?;
        let program: &mut BtfTracePoint = program.try_into().map_err(fail)?;
        program.load(TRACEPOINT, &btf).map_err(fail)?;
        let link = program.attach().map_err(fail)?;
        let maps = [policy, roots, handed, state];
        let own = match pins {
            None => Some(ebpf),
            Some(dir) => {
                let link: FdLink = program.take_link(link).map_err(fail)?.into();
                for (name, map) in MAPS.iter().zip(&maps) {
                    pins::pin_map(dir, name, map)?;
                }
                pins::pin_link(dir, PROGRAM, link)?;
                None
            }
        };
        let remembers = u32::from(memory.is_some());
        let loaded = Self::of_maps(maps, memory, own)?;
        let word = |offset| loaded.state.word(offset);
        word(offset_of!(TracerState, remembers)).store(remembers, Ordering::Relaxed);
        loaded.state.word(offset_of!(TracerState, room)).store(room as u32, Ordering::Relaxed);
        Ok(loaded)
    }

    fn of_maps(
        [policy, roots, handed, state]: [Map; 4],
        memory: Option<Remembered>,
        own: Option<Ebpf>,
    ) -> Result<Self, Error> {
        let Map::Array(state) = &state else { return Err(Error::Absent(TRACER)) };
        let state = map_shared(state, TRACER, size_of::<TracerState>())?;
        let roots = roots.try_into().map_err(map_error(ROOTS))?;
        let handed = handed.try_into().map_err(map_error(HANDED_OVER))?;
        Ok(Self { policy, roots, handed, state, memory, own })
    }

    fn room(&self) -> usize {
        self.state.word(offset_of!(TracerState, room)).load(Ordering::Relaxed) as usize
    }

    fn generation(&self) -> u32 {
        self.state.word(offset_of!(TracerState, generation)).load(Ordering::Relaxed)
    }

    /// True if it can classify by such tables, which have so many words.
    fn fits(&self, tables: &Tables, words: usize) -> Result<bool, Error> {
        let is_forgetful = tables.remembers() && self.memory.is_none();
        Ok(!is_forgetful && room::fitting(words)? <= self.room())
    }

    /// Classifies by other tables from now on. Where executables lie is there first; what is known of that for the
    /// last policy stays until the next: calls are judged by it meanwhile.
    fn put(&mut self, tables: &Tables, words: Vec<u32>, generation: u32) -> Result<(), Error> {
        let (room, last) = (self.room(), self.generation());
        let roots = &mut self.roots;
        roots::remove(roots, |known| known != last).map_err(map_error(ROOTS))?;
        roots::put(roots, &roots::places(tables)?, generation).map_err(map_error(ROOTS))?;
        room::put_into_map(&mut self.policy, room, words)?;
        self.state.word(offset_of!(TracerState, generation)).store(generation, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the callers of a mount to those who have its places.
    fn tell(&mut self, device: u32, places: &Places) -> Result<(), Error> {
        self.handed.insert(device, places, 0).map_err(map_error(HANDED_OVER))
    }

    /// Tells them to nobody any more, unless the number is another mount's by now.
    fn forget(&mut self, device: u32, places: &Places) {
        let id = |places: &Places| places.map().info().ok().map(|info| info.id());
        if self.handed.get(&device, 0).is_ok_and(|known| id(&known) == id(places)) {
            let _ = self.handed.remove(&device);
        }
    }
}

/// The callers of the requests on a mount. What tells them is shared, or ends with this value.
pub struct CallerTracer {
    program: Program,
    places: Places,
    handed: Shared,
    /// The mount's, once there is one.
    device: u32,
    generation: u32,
}

impl CallerTracer {
    /// Loads a program with tables. It tells nothing before [`CallerTracer::attach`].
    pub fn load(tables: &Tables) -> Result<Self, Error> {
        let (words, generation) = room::words(tables);
        let mut program = Program::load(tables, room::fitting(words.len())?, None)?;
        program.put(tables, words, generation)?;
        Self::of(program)
    }

    /// As [`CallerTracer::load`], by the program that is [shared](shared) by all mounts if that classifies by the
    /// policy of this number.
    pub fn join(tables: &Tables, policy: u64) -> Result<Self, Error> {
        let shared = shared::open(policy).ok().flatten();
        let Some(mut program) = shared else { return Self::load(tables) };
        let generation = program.generation();
        roots::add(&mut program.roots, &roots::places(tables)?, generation);
        Self::of(program)
    }

    fn of(program: Program) -> Result<Self, Error> {
        let places = Places::create(PLACES, MMAPABLE).map_err(map_error(HANDED_OVER))?;
        let handed = map_shared(places.map(), HANDED_OVER, HANDED_LEN)?;
        let generation = program.generation();
        Ok(Self { program, places, handed, device: 0, generation })
    }

    /// Begins to tell about the calls on the mount with this device number, as `stat` says it.
    pub fn attach(&mut self, device: u64) -> Result<(), Error> {
        let device = kernel_device(device);
        // The kernel waits for programs that run with each change of what they look up.
        if self.device != device {
            self.program.tell(device, &self.places)?;
            self.device = device;
        }
        Ok(())
    }

    /// Uses the tables of another policy. Calls are classified by the old ones or by the new ones.
    pub fn put(&mut self, tables: &Tables, policy: Option<u64>) -> Result<(), Error> {
        let is_in_force = |policy| shared::is_of(&self.program, policy);
        if self.is_shared() && policy.is_some_and(is_in_force) {
            self.generation = self.program.generation();
            return Ok(());
        }
        let shared = policy.and_then(|policy| shared::open(policy).ok().flatten());
        if let Some(program) = shared {
            self.replace(program)?;
        } else {
            let (words, generation) = room::words(tables);
            if self.program.own.is_none() || !self.program.fits(tables, words.len())? {
                let room = room::fitting(words.len())?;
                self.replace(Program::load(tables, room, None)?)?;
            }
            self.program.put(tables, words, generation)?;
        }
        self.generation = self.program.generation();
        Ok(())
    }

    /// Has another program tell callers in the same places.
    fn replace(&mut self, program: Program) -> Result<(), Error> {
        let mut last = std::mem::replace(&mut self.program, program);
        if self.device == 0 {
            return Ok(());
        }
        // Of two programs, each would overwrite what the other says.
        if last.own.is_none() {
            last.forget(self.device, &self.places);
        }
        self.program.tell(self.device, &self.places)
    }

    /// Marks what was found with the present tables.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// True if the program that tells is shared by all mounts.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.program.own.is_none()
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
        self.places.map().fd().as_fd()
    }

    /// What is remembered of callers, where the kernel can follow them.
    #[must_use]
    pub fn remembered(&self) -> Option<&Remembered> {
        self.program.memory.as_ref()
    }

    /// Number of requests, of all mounts of the program, for which the kernel could not find out who calls.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.program.state.long(offset_of!(TracerState, unknown)).load(Ordering::Relaxed)
    }
}

impl Drop for CallerTracer {
    fn drop(&mut self) {
        if self.program.own.is_none() && self.device != 0 {
            self.program.forget(self.device, &self.places);
        }
    }
}

fn map_shared(map: &MapData, name: &'static str, len: usize) -> Result<Shared, Error> {
    Shared::new(map.fd(), len)
        .map_err(|source| Error::File { path: format!("map `{name}`"), source })
}
