//! The guard: programs at the hooks of the security modules, which judge all calls.
//!
//! Programs and maps are pinned, so that a policy outlives whoever loaded it. A loaded policy is
//! exchanged by one write: each call is judged by the old tables or by the new ones.

mod end;
mod events;
mod hooks;
mod orders;
pub(crate) mod pins;

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use aya::maps::{Array, HashMap, Map, MapData};
use aya::{Btf, EbpfLoader};
use hsci_abi::ABI;
use hsci_abi::callers::Shared as _;
use hsci_abi::guard::{GuardState, PROGRAM, RootKey, RootPlace, TARGETS};
use hsci_engine::Tables;

use crate::memory::{self, Remembered};
use crate::room::{self, Objects, objects};
use crate::roots;
use crate::sys::{Plain, Shared};
use crate::{Error, kernel_device, map_error};

pub use events::{Event, Events, Kind};
pub use hooks::UNSEEN;
pub use orders::{Unfenced, fence, unfence};
pub use pins::PINS;

const OBJECTS: Objects = objects!("guard");
const PROBE: Objects = objects!("probe");

/// What there is no guard without: it judges the most, and takes orders.
const NEEDED: [&str; 2] = ["file_open", "file_ioctl"];

/// How a policy is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Report what would be refused, and let it pass.
    pub permissive: bool,
    /// Load although the kernel lacks some of the hooks.
    pub allow_partial: bool,
}

/// What became of calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that rules were asked about.
    pub judged: u64,
    /// Calls that a rule denied.
    pub denied: u64,
    /// Calls that were refused to protect stores, hosts or the guard itself.
    pub fenced: u64,
    /// Calls that were refused because something did not fit or was not to be found out.
    pub undecidable: u64,
    /// Reports that nobody took.
    pub lost: u64,
}

/// A loaded policy.
#[derive(Debug)]
pub struct Guard {
    dir: PathBuf,
    state: Shared,
}

impl Guard {
    /// The policy that is loaded on this machine, if there is one.
    pub fn open() -> Result<Option<Self>, Error> {
        Self::open_at(Path::new(PINS))
    }

    fn open_at(dir: &Path) -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        match dir.join("GUARD").try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Error::OtherCommand);
            }
            Err(source) => return Err(Error::File { path: dir.display().to_string(), source }),
        }
        let guard = Self::map(dir)?;
        let abi = guard.state.word(offset_of!(GuardState, abi)).load(Ordering::Relaxed);
        if abi == ABI { Ok(Some(guard)) } else { Err(Error::OtherVersion) }
    }

    /// The state of the guard whose pins are in a directory, of whatever version.
    fn map(dir: &Path) -> Result<Self, Error> {
        let Map::Array(data) = pins::map(dir, "GUARD")? else { return Err(Error::Absent("GUARD")) };
        let state = Shared::new(data.fd(), size_of::<GuardState>())
            .map_err(|source| Error::File { path: "map `GUARD`".to_owned(), source })?;
        Ok(Self { dir: dir.to_owned(), state })
    }

    /// Puts a policy in force, in place of the one that is loaded or as the first. Whatever is
    /// missing here is told, line by line.
    pub fn load(
        kernel: &Kernel,
        tables: &Tables,
        options: Options,
    ) -> Result<(Self, Vec<String>), Error> {
        let (words, generation) = room::words(tables);
        let room = room::fitting(words.len())?;
        if let Some(guard) = Self::open()? {
            if guard.fits(room, tables)? {
                guard.exchange(tables, (words, generation), options)?;
                guard.set_permissive(options.permissive);
                return Ok((guard, Vec::new()));
            }
            let next = pins::next();
            let (new, mut missing) = Self::create(&next, kernel, (room, tables), options)?;
            new.take_fences(&guard)?;
            new.exchange(tables, (words, generation), options)?;
            let old = guard.own_programs()?;
            drop((guard, new));
            pins::replace(&next)?;
            // Until then, calls are judged by both.
            missing.extend(end::wait(&old).err().map(|error| error.to_string()));
            let guard = Self::open()?.ok_or(Error::NotLoaded)?;
            return Ok((guard, missing));
        }
        pins::prepare()?;
        let (guard, missing) = Self::create(Path::new(PINS), kernel, (room, tables), options)?;
        let done = guard.exchange(tables, (words, generation), options);
        if done.is_err() {
            pins::remove(Path::new(PINS))?;
        }
        done.map(|()| (guard, missing))
    }

    /// Loads and pins everything below a directory; on failure nothing remains.
    fn create(
        dir: &Path,
        kernel: &Kernel,
        fitting: (usize, &Tables),
        options: Options,
    ) -> Result<(Self, Vec<String>), Error> {
        pins::make(dir)?;
        let created = Self::fill(dir, kernel, fitting, options);
        if created.is_err() {
            pins::remove(dir)?;
        }
        created
    }

    fn fill(
        dir: &Path,
        Kernel { btf, .. }: &Kernel,
        (room, tables): (usize, &Tables),
        options: Options,
    ) -> Result<(Self, Vec<String>), Error> {
        let hits = tables.rules().max(1024).next_power_of_two();
        let mut loader = EbpfLoader::new();
        loader.allow_unsupported_maps().btf(Some(btf)).map_max_entries("HITS", hits);
        // One memory for all, which outlives this guard.
        let memory = tables.remembers().then(Remembered::open).transpose()?;
        if memory.is_some() {
            loader.map_pin_path(memory::NAME, memory::pin());
        }
        let mut ebpf = loader.load(OBJECTS[room]).map_err(Error::Object)?;
        let (mut missing, mut links, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for one in hooks::ALL {
            match hooks::attach(&mut ebpf, btf, one) {
                Ok(link) => links.extend(link.map(|link| (one.program, link))),
                Err(source) => {
                    let error = Error::Program { name: one.program, source };
                    if NEEDED.contains(&one.program) || !options.allow_partial {
                        return Err(error);
                    }
                    missing.push(not_judged(one, &error));
                }
            }
            own.extend(ebpf.program(one.program).and_then(hooks::id).map(|id| id | PROGRAM));
        }
        let names: Vec<String> = ebpf.maps().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let map = ebpf.take_map(&name).ok_or(Error::Absent("map"))?;
            match &memory {
                Some(memory) if name == memory::NAME => own.extend(memory.id()),
                _ => own.extend(pins::pin_map(dir, &name, &map)?),
            }
        }
        for (name, link) in links {
            pins::pin_link(dir, name, link)?;
        }
        let guard = Self::map(dir)?;
        guard.state.word(offset_of!(GuardState, abi)).store(ABI, Ordering::Relaxed);
        guard.state.word(offset_of!(GuardState, room)).store(room as u32, Ordering::Relaxed);
        guard.set_permissive(options.permissive);
        guard.protect(&own)?;
        Ok((guard, missing))
    }

    /// Tells the programs what is theirs, and who may change it: this program, run by root.
    fn protect(&self, own: &[u32]) -> Result<(), Error> {
        // What is remembered lies beside the guard.
        orders::claim(self.dir.parent().unwrap_or(&self.dir))?;
        let mut map: HashMap<_, u32, u32> = pins::typed(&self.dir, "OWN")?;
        own.iter().try_for_each(|id| map.insert(id, 1, 0)).map_err(map_error("OWN"))
    }

    /// Goes on with the fences and the hosts of another guard.
    fn take_fences(&self, from: &Self) -> Result<(), Error> {
        let old: HashMap<_, u64, u32> = pins::typed(&from.dir, "FENCES")?;
        let mut new: HashMap<_, u64, u32> = pins::typed(&self.dir, "FENCES")?;
        for (inode, fence) in old.iter().flatten() {
            new.insert(inode, fence, 0).map_err(map_error("FENCES"))?;
        }
        let old: HashMap<_, u32, u32> = pins::typed(&from.dir, "HOSTS")?;
        let mut new: HashMap<_, u32, u32> = pins::typed(&self.dir, "HOSTS")?;
        for (process, fence) in old.iter().flatten() {
            new.insert(process, fence, 0).map_err(map_error("HOSTS"))?;
        }
        Ok(())
    }

    /// Makes rules hold in a file system that was mounted after the policy was loaded. `tables` are those
    /// of that policy; `device` is what `stat` says of the directory.
    pub fn place(&self, tables: &Tables, dir: &Path, device: u64) -> Result<(), Error> {
        let mut map: HashMap<_, Plain<RootKey>, Plain<RootPlace>> =
            pins::typed(&self.dir, "ROOTS")?;
        let Some(known) = map.keys().flatten().next() else { return Ok(()) };
        let key = Plain(RootKey { device: kernel_device(device), ..known.0 });
        let place = roots::whole(tables, dir.as_os_str().as_encoded_bytes());
        map.insert(key, Plain(place), 0).map_err(map_error("ROOTS"))?;
        // What was looked up there meanwhile has no place.
        self.state.word(offset_of!(GuardState, epoch)).fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn fits(&self, room: usize, tables: &Tables) -> Result<bool, Error> {
        let hits: Array<_, u64> = pins::typed(&self.dir, "HITS")?;
        // A guard whose rules remember nothing has a memory of its own.
        let remembers = !self.dir.join(memory::NAME).exists();
        let fits = room <= self.room() && tables.rules() <= hits.len();
        Ok(fits && (remembers || !tables.remembers()))
    }

    fn room(&self) -> usize {
        self.state.word(offset_of!(GuardState, room)).load(Ordering::Relaxed) as usize
    }

    /// States of roots first, under the new generation; then the tables; then what is stale goes. Of a policy that only
    /// reports, hosts report what happens on their mounts: they know paths and executables.
    fn exchange(
        &self,
        tables: &Tables,
        (words, generation): (Vec<u32>, u32),
        Options { permissive, .. }: Options,
    ) -> Result<(), Error> {
        let places = if permissive { roots::places_beside_hosts } else { roots::places };
        let mut map: HashMap<_, Plain<RootKey>, Plain<RootPlace>> =
            pins::typed(&self.dir, "ROOTS")?;
        let mut policy = pins::map(&self.dir, room::NAME)?;
        let put = roots::put(&mut map, &places(tables)?, generation)
            .map_err(map_error("ROOTS"))
            .and_then(|()| room::put_into_map(&mut policy, self.room(), words));
        roots::remove(&mut map, |known| (known == generation) == put.is_err())
            .map_err(map_error("ROOTS"))?;
        put?;
        self.set_generation(generation);
        let mut hits: Array<_, u64> = pins::typed(&self.dir, "HITS")?;
        for rule in 0..tables.rules() {
            hits.set(rule, 0, 0).map_err(map_error("HITS"))?;
        }
        for target in 0..TARGETS {
            self.state
                .long(offset_of!(GuardState, targets) + 8 * target)
                .store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Objects that are no rule's business under the policy before are looked up again from now on.
    fn set_generation(&self, generation: u32) {
        self.state.word(offset_of!(GuardState, generation)).store(generation, Ordering::SeqCst);
    }

    fn set_permissive(&self, is_permissive: bool) {
        self.state
            .word(offset_of!(GuardState, permissive))
            .store(u32::from(is_permissive), Ordering::SeqCst);
    }

    /// True if it reports and lets pass.
    #[must_use]
    pub fn is_permissive(&self) -> bool {
        self.state.word(offset_of!(GuardState, permissive)).load(Ordering::Relaxed) != 0
    }

    /// What became of calls so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let count = |offset: usize| self.state.long(offset).load(Ordering::Relaxed);
        Counts {
            judged: count(offset_of!(GuardState, judged)),
            denied: count(offset_of!(GuardState, denied)),
            fenced: count(offset_of!(GuardState, fenced)),
            undecidable: count(offset_of!(GuardState, undecidable)),
            lost: count(offset_of!(GuardState, lost)),
        }
    }

    /// Calls to a target, by its index; the guard counts the first 256.
    #[must_use]
    pub fn calls(&self, target: usize) -> Option<u64> {
        let place = (target < TARGETS).then_some(offset_of!(GuardState, targets) + 8 * target)?;
        Some(self.state.long(place).load(Ordering::Relaxed))
    }

    /// How often each of the first `rules` rules decided or reported a call.
    pub fn hits(&self, rules: usize) -> Result<Vec<u64>, Error> {
        let hits: Array<MapData, u64> = pins::typed(&self.dir, "HITS")?;
        (0..rules as u32).map(|rule| hits.get(&rule, 0).map_err(map_error("HITS"))).collect()
    }

    /// Bytes that the tables take in the kernel.
    #[must_use]
    pub fn table_len(&self) -> usize {
        room::len(self.room())
    }

    /// Reports, as they come. Each is told to one reader.
    pub fn events(&self) -> Result<Events, Error> {
        pins::map(&self.dir, "EVENTS")?.try_into().map(Events::new).map_err(map_error("EVENTS"))
    }

    /// Names of the programs that are in force.
    pub fn programs(&self) -> Result<Vec<String>, Error> {
        pins::links(&self.dir)
    }

    /// The kernel's numbers of its programs.
    fn own_programs(&self) -> Result<HashSet<u32>, Error> {
        let map: HashMap<MapData, u32, u32> = pins::typed(&self.dir, "OWN")?;
        let own = map.keys().flatten().filter(|id| id & PROGRAM != 0);
        Ok(own.map(|id| id & !PROGRAM).collect())
    }

    /// Ends it: nothing is judged any more, and no program of it answers.
    pub fn unload(self) -> Result<(), Error> {
        let programs = self.own_programs()?;
        self.set_permissive(true);
        self.set_generation(0);
        room::put_into_map(&mut pins::map(&self.dir, room::NAME)?, self.room(), Vec::new())?;
        pins::remove(&self.dir)?;
        end::wait(&programs)
    }
}

/// A kernel that takes programs of the guard.
#[derive(Debug)]
pub struct Kernel {
    btf: Btf,
    missing: Vec<String>,
}

impl Kernel {
    /// What a guard would not judge here, for the kernel has no place for it: a line each.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

/// Whether this kernel takes programs of the guard: one is loaded, and attached nowhere.
pub fn probe() -> Result<Kernel, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    // Programs at hooks that nobody calls would be taken all the same.
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    if modules.is_ok_and(|modules| modules.trim_end().split(',').all(|module| module != "bpf")) {
        return Err(Error::NotAsked);
    }
    hooks::ask()?;
    let btf = Btf::from_sys_fs().map_err(Error::Types)?;
    let mut ebpf = EbpfLoader::new().btf(Some(&btf)).load(PROBE[0]).map_err(Error::Object)?;
    hooks::probe(&mut ebpf, &btf)?;
    let missing = hooks::missing(&btf).into_iter();
    let missing =
        missing.map(|(one, source)| not_judged(one, &Error::Program { name: one.program, source }));
    Ok(Kernel { missing: missing.collect(), btf })
}

fn not_judged(one: &hooks::Guarding, why: &Error) -> String {
    format!("not judged: {}: {why}", one.purpose)
}
