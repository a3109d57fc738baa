//! The program that all mounts share: loaded by the command that puts a policy in force, pinned, and found by hosts that
//! have the same policy. All others load one of their own.

use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use hsci_abi::ABI;
use hsci_abi::callers::{Shared as _, TracerState};
use hsci_engine::Tables;

use super::{MAPS, PROGRAM, Program, TRACER};
use crate::Error;
use crate::guard::pins;
use crate::memory::Remembered;
use crate::room;

const PREFIX: &str = "callers-";
/// Where the kernel lists what has a device number of its own, mounts among them, in all namespaces.
const DEVICES: &str = "/sys/class/bdi";

fn above() -> &'static Path {
    Path::new(pins::PINS).parent().unwrap_or(Path::new("/"))
}

/// Hosts of other versions do not use it.
fn dir() -> PathBuf {
    above().join(format!("{PREFIX}{ABI:08x}"))
}

/// Executables are found by their place in the mount namespace of who puts the tables in force.
fn own_namespace() -> u64 {
    fs::metadata("/proc/self/ns/mnt").map_or(0, |namespace| namespace.ino())
}

/// The one that is pinned, if it classifies by a policy.
pub(super) fn open(policy: u64) -> Result<Option<Program>, Error> {
    let dir = dir();
    if !rustix::process::geteuid().is_root() || !is_roots_own(&dir) {
        return Ok(None);
    }
    Ok(pinned(&dir)?.filter(|program| is_of(program, policy)))
}

/// True if a program classifies by a policy, with the executables of this process's mount namespace.
pub(super) fn is_of(program: &Program, policy: u64) -> bool {
    let long = |offset| program.state.long(offset).load(Ordering::Acquire);
    long(offset_of!(TracerState, policy)) == policy
        && long(offset_of!(TracerState, namespace)) == own_namespace()
}

/// Nobody else can have put anything there.
fn is_roots_own(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|dir| dir.is_dir() && dir.uid() == 0 && dir.mode() & 0o022 == 0)
}

/// Nothing if there is none, or if only a part of it is left.
fn pinned(dir: &Path) -> Result<Option<Program>, Error> {
    // Pinned last: what was cut off in between tells nothing.
    if !dir.join(format!("{}{PROGRAM}", pins::LINK)).exists() {
        return Ok(None);
    }
    let mut maps = Vec::new();
    for name in MAPS {
        maps.push(pins::map(dir, name)?);
    }
    let maps = maps.try_into().map_err(|_| Error::Absent(TRACER))?;
    let mut program = Program::of_maps(maps, None, None)?;
    let remembers = program.state.word(offset_of!(TracerState, remembers)).load(Ordering::Relaxed);
    program.memory = (remembers != 0).then(Remembered::open).transpose()?;
    Ok(Some(program))
}

/// Has the callers of all mounts told by one program from now on, by the tables of a policy. Only the command that puts
/// it in force calls this, before mounts hear of the policy.
pub fn share(tables: &Tables, policy: u64) -> Result<(), Error> {
    let (words, generation) = room::words(tables);
    let dir = dir();
    remove_others(&dir)?;
    let known = if is_roots_own(&dir) { pinned(&dir).ok().flatten() } else { None };
    let mut program = match known {
        Some(program) if program.fits(tables, words.len())? => program,
        _ => load(&dir, tables, room::fitting(words.len())?)?,
    };
    let number = |program: &Program, number| {
        program.state.long(offset_of!(TracerState, policy)).store(number, Ordering::Release);
    };
    number(&program, 0);
    program.put(tables, words, generation)?;
    program
        .state
        .long(offset_of!(TracerState, namespace))
        .store(own_namespace(), Ordering::Relaxed);
    number(&program, policy);
    program.sweep();
    Ok(())
}

/// Loads and pins one, in place of what is there; on failure nothing remains.
fn load(dir: &Path, tables: &Tables, room: usize) -> Result<Program, Error> {
    if dir.exists() {
        pins::remove(dir)?;
    }
    // With the last pins goes the directory above.
    pins::prepare()?;
    pins::make(dir)?;
    let loaded = Program::load(tables, room, Some(dir));
    if loaded.is_err() {
        pins::remove(dir)?;
    }
    loaded
}

fn remove_others(own: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(above()) else { return Ok(()) };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if is_ours && entry.path() != own {
            pins::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Ends it: no policy is in force any more.
pub fn forget() -> Result<(), Error> {
    remove_others(Path::new(""))
}

impl Program {
    /// Lets go of mounts that are gone, whose supervisors were killed.
    fn sweep(&mut self) {
        if !Path::new(DEVICES).is_dir() {
            return;
        }
        let devices: Vec<u32> = self.handed.keys().flatten().collect();
        for device in devices {
            let name = format!("{}:{}", device >> 20, device & 0xF_FFFF);
            if !Path::new(DEVICES).join(name).exists() {
                let _ = self.handed.remove(&device);
            }
        }
    }
}
