//! What is remembered between calls: one memory of the machine, with the programs that follow processes.
//! Both are pinned, so that marks outlive policies, hosts and the command.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData};
use aya::programs::BtfTracePoint;
use aya::programs::links::FdLink;
use aya::{Btf, EbpfLoader};
use hsci_abi::ABI;
use hsci_abi::memory::{MEMORY_LEN, Memory};
use rustix::time::{ClockId, clock_gettime};

use crate::guard::pins;
use crate::room::{Objects, objects};
use crate::sys::Shared;
use crate::{Error, map_error};

const OBJECTS: Objects = objects!("processes");
/// The map, in objects and among the pins.
pub(crate) const NAME: &str = "MEMORY";
/// The programs, which stand at tracepoints of the same names.
const PROGRAMS: [&str; 4] =
    ["task_newtask", "sched_process_fork", "sched_process_exec", "sched_process_free"];

/// The inode number of the first pid namespace, on every Linux.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// The memory of the machine.
#[derive(Debug)]
pub struct Remembered {
    map: MapData,
    shared: Shared,
}

/// Pins of other versions stand beside ours: their hosts go on with them.
fn dir() -> PathBuf {
    above().join(format!("{PREFIX}{ABI:08x}"))
}

const PREFIX: &str = "memory-";

fn above() -> &'static Path {
    Path::new(pins::PINS).parent().unwrap_or(Path::new("/"))
}

/// Where the map is pinned.
pub(crate) fn pin() -> PathBuf {
    dir().join(NAME)
}

impl Remembered {
    /// Opens it; processes are followed from the first time on. Only root may.
    pub fn open() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let dir = dir();
        let is_there = |name: String| dir.join(name).exists();
        let mut names = PROGRAMS.iter().map(|name| format!("{}{name}", pins::LINK));
        let is_new = !is_there(NAME.to_owned()) || !names.all(is_there);
        if is_new {
            follow(&dir)?;
        }
        let data = MapData::from_pin(pin()).map_err(map_error(NAME))?;
        let Map::Array(map) = Map::from_map_data(data).map_err(map_error(NAME))? else {
            return Err(Error::Absent(NAME));
        };
        let shared = Shared::new(map.fd(), MEMORY_LEN)
            .map_err(|source| Error::File { path: format!("map `{NAME}`"), source })?;
        let remembered = Self { map, shared };
        if is_new {
            let now = clock_gettime(ClockId::Boottime);
            let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
            remembered.memory().follow_since(now);
        }
        Ok(remembered)
    }

    /// The kernel's number of the map.
    pub(crate) fn id(&self) -> Option<u32> {
        self.map.info().ok().map(|info| info.id())
    }

    /// The memory itself.
    #[must_use]
    pub fn memory(&self) -> Memory<'_, impl hsci_abi::callers::Shared> {
        Memory(&self.shared)
    }

    /// A policy with other marks is about to come into force: `known` are those of the one before, by their
    /// numbers. Nobody has a mark that is new, and all buckets are full.
    pub fn renew(&self, marks: &[String], known: &[String]) {
        let is_new = |(number, name): &(usize, &String)| known.get(*number) != Some(name);
        let new = marks.iter().enumerate().filter(is_new).map(|(number, _)| 1 << number).sum();
        // Elsewhere, numbers of processes are not the kernel's.
        let is_first = fs::metadata("/proc/self/ns/pid")
            .is_ok_and(|namespace| namespace.ino() == FIRST_PID_NAMESPACE);
        let is_alive = |process: u32| !is_first || Path::new(&format!("/proc/{process}")).exists();
        self.memory().renew(new, is_alive);
    }
}

impl AsFd for Remembered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

/// Loads the programs and pins them with the memory.
fn follow(dir: &Path) -> Result<(), Error> {
    pins::prepare()?;
    fs::create_dir_all(dir)
        .map_err(|source| Error::File { path: dir.display().to_string(), source })?;
    let btf = Btf::from_sys_fs().map_err(Error::Types)?;
    let mut loader = EbpfLoader::new();
    loader.allow_unsupported_maps().btf(Some(&btf)).map_pin_path(NAME, dir.join(NAME));
    // Of two commands that begin at once, one pins.
    let mut ebpf =
        loader.load(OBJECTS[0]).or_else(|_| loader.load(OBJECTS[0])).map_err(Error::Object)?;
    for name in PROGRAMS {
        let fail = |source| Error::Program { name, source };
        let program = ebpf.program_mut(name).ok_or(Error::Absent(name))?;
        let program: &mut BtfTracePoint = program.try_into().map_err(fail)?;
        program.load(name, &btf).map_err(fail)?;
        let link = program.attach().map_err(fail)?;
        let link: FdLink = program.take_link(link).map_err(fail)?.into();
        if !dir.join(format!("{}{name}", pins::LINK)).exists() {
            pins::pin_link(dir, name, link)?;
        }
    }
    Ok(())
}

/// Forgets everything: no policy is in force any more.
pub fn forget() -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(above()) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            pins::remove(&entry.path())?;
        }
    }
    Ok(())
}
