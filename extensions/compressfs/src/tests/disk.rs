//! A disk in memory: a tree of files and an extension's store, which fails when told to, and loses
//! what was not synced when its power is cut.

mod change;
mod file;
mod platter;
mod store;
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_extension::{Attr, Errno, Error, FileKind, Ino, Lifetime, LowerFile, Result};
use parking_lot::Mutex;

pub(super) use self::change::{Change, Covers, Event};
use self::file::DiskFile;
pub(super) use self::platter::{Part, Platter, SECTOR};
use super::pages::{PAGE, Pages};
use super::random::Random;

/// The extension's store is a directory that no name leads to.
pub(super) const STORE: u64 = 0;
const ROOT: u64 = Ino::ROOT.0;

/// How much of a failing write is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Carried {
    Nothing,
    #[default]
    Half,
    All,
}

/// What is going to happen to calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// This call, counted from 0, fails with the error, and so does each later one if `forever`.
    pub(super) fail_at: Option<u64>,
    pub(super) errno: Option<Errno>,
    pub(super) carried: Carried,
    pub(super) forever: bool,
    /// Calls that only look count and fail as well.
    pub(super) looks: bool,
    /// Calls are neither counted nor fail for now.
    pub(super) paused: bool,
    /// Pages that the disk holds; 0: as many as anybody likes.
    pub(super) capacity: u64,
}

#[derive(Clone)]
pub(super) struct Inode {
    kind: FileKind,
    now: Pages,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    accessed: u64,
    modified: u64,
    uid: u32,
}

/// A directory, and a name in it.
pub(super) type Name = (u64, OsString);

/// Everything on the disk, as those see it who use it.
#[derive(Clone)]
pub(super) struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<Name, u64>,
    lifetime: Lifetime,
    next_ino: u64,
    clock: u64,
    /// How often the power was cut.
    cuts: u64,
    pub(super) calls: u64,
    /// Reads of content.
    pub(super) reads: u64,
    pub(super) fate: Fate,
    record: Option<Record>,
}

/// What was done since the recording began, and what the platter held then.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) base: Arc<State>,
    pub(super) events: Vec<Event>,
}

/// The disk.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Inode {
    fn new(kind: FileKind, uid: u32) -> Self {
        let (now, xattrs) = (Pages::default(), BTreeMap::new());
        Self { kind, now, xattrs, accessed: 0, modified: 0, uid }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            inodes: BTreeMap::from([(ROOT, Inode::new(FileKind::Directory, 0))]),
            names: BTreeMap::new(),
            lifetime: Lifetime { machine: 1, mount: 1 },
            next_ino: ROOT + 1,
            clock: 0,
            cuts: 0,
            calls: 0,
            reads: 0,
            fate: Fate::default(),
            record: None,
        }
    }
}

impl State {
    /// True if the call that is being made fails.
    fn count(&mut self) -> Result<()> {
        if self.fate.paused {
            return Ok(());
        }
        let call = self.calls;
        self.calls += 1;
        let fails =
            self.fate.fail_at.is_some_and(|at| call == at || (call > at && self.fate.forever));
        match fails {
            true => Err(Error::Lower(self.fate.errno.unwrap_or(Errno::IO))),
            false => Ok(()),
        }
    }

    /// Every call that changes something begins here.
    fn begin(&mut self) -> Result<()> {
        self.clock += 1;
        self.count()
    }

    /// Every call that only looks begins here.
    fn look(&mut self) -> Result<()> {
        if self.fate.looks { self.count() } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(|inode| inode.now.count()).sum()
    }

    /// Whether there is room for pages that a range does not have yet.
    fn check_room(&self, ino: u64, offset: u64, len: u64) -> Result<()> {
        if self.fate.capacity == 0 {
            return Ok(());
        }
        let pages = offset / PAGE as u64..(offset + len).div_ceil(PAGE as u64);
        let missing = pages.filter(|page| !self.inodes[&ino].now.has(*page)).count() as u64;
        let fits = self.used() + missing <= self.fate.capacity;
        if fits { Ok(()) } else { Err(Error::Lower(Errno::NOSPC)) }
    }

    fn inode(&mut self, ino: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(Error::Lower(Errno::STALE))
    }

    fn find(&self, dir: u64, name: &OsString) -> Result<u64> {
        let found = self.names.get(&(dir, name.clone())).copied();
        found.ok_or(Error::Lower(Errno::NOENT))
    }

    fn names_in(&self, dir: u64) -> impl Iterator<Item = (&OsString, u64)> {
        let names = self.names.range((dir, OsString::new())..);
        names.take_while(move |((of, _), _)| *of == dir).map(|((_, name), ino)| (name, *ino))
    }

    fn links(&self, ino: u64) -> u32 {
        self.names.values().filter(|known| **known == ino).count() as u32
    }

    fn record(&mut self, event: Event) {
        if let Some(record) = &mut self.record {
            record.events.push(event);
        }
    }

    fn apply(&mut self, change: Change) -> Result<()> {
        if let Some(ino) = change.file() {
            self.inode(ino)?;
        }
        change.apply(self, self.clock);
        self.record(Event::Change { clock: self.clock, change });
        Ok(())
    }

    /// Makes a new inode with a name.
    fn create(&mut self, dir: u64, name: OsString, kind: FileKind, uid: u32) -> Result<u64> {
        if self.find(dir, &name).is_ok() {
            return Err(Error::Lower(Errno::EXIST));
        }
        self.next_ino += 1;
        let (ino, inode) = (self.next_ino, Inode::new(kind, uid));
        let entries = vec![((dir, name), Some(ino))];
        self.apply(Change::Names { new: Some((ino, Box::new(inode))), entries })?;
        Ok(ino)
    }
}

impl Disk {
    fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock())
    }

    /// A disk with the same content that goes its own way.
    pub(super) fn copy(&self) -> Self {
        Self::of(self.0.lock().clone())
    }

    /// Makes an empty file in the root directory.
    pub(super) fn create(&self, name: &str, uid: u32) -> Ino {
        let made = self.0.lock().create(ROOT, name.into(), FileKind::Regular, uid);
        Ino(made.expect("the name is free"))
    }

    /// Calls so far that changed something, and from now on.
    pub(super) fn set_fate(&self, fate: Fate) {
        let mut state = self.0.lock();
        state.calls = 0;
        state.fate = fate;
    }

    pub(super) fn lower(&self, ino: Ino) -> Arc<dyn LowerFile> {
        Arc::new(DiskFile { disk: self.clone(), ino: ino.0 })
    }

    /// From now on changes wait for a sync; what there is now is durable.
    pub(super) fn start_record(&self) {
        let mut state = self.0.lock();
        state.record = None;
        let base = Arc::new(state.clone());
        state.record = Some(Record { base, events: Vec::new() });
    }

    pub(super) fn recorded(&self) -> usize {
        self.0.lock().record.as_ref().map_or(0, |record| record.events.len())
    }

    /// Ends the recording and returns it.
    pub(super) fn take_record(&self) -> Record {
        self.0.lock().record.take().expect("a recording was started")
    }

    /// What is found when the power comes back, and recorded anew: of what was not synced, some
    /// reached the platter and some did not.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Self {
        let Record { base, events } = self.take_record();
        let mut platter = Platter::new(&base);
        for event in &events {
            platter.take(event);
        }
        let disk = platter.crash(&Part::draw(&platter, random));
        disk.start_record();
        disk
    }

    /// Tells starts of the machine apart.
    pub(super) fn machine(&self) -> u64 {
        self.0.lock().lifetime.machine
    }

    /// Space in use, in pages.
    pub(super) fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Names in the store.
    pub(super) fn store_names(&self) -> Vec<String> {
        let state = self.0.lock();
        let names = state.names_in(STORE).map(|(name, _)| name.to_string_lossy().into_owned());
        names.collect()
    }

    /// All names outside of the store, and what they lead to.
    pub(super) fn tree(&self) -> BTreeMap<Name, u64> {
        let mut names = self.0.lock().names.clone();
        names.retain(|(dir, _), _| *dir != STORE);
        names
    }

    /// Tells disks apart by what is on them; names in the store count by their order.
    pub(super) fn digest(&self) -> u64 {
        let state = self.0.lock();
        let mut digest = DefaultHasher::new();
        for ((dir, name), ino) in &state.names {
            let inode = &state.inodes[ino];
            if *dir != STORE {
                (name, ino).hash(&mut digest);
            }
            (dir, inode.now.digest(), &inode.xattrs).hash(&mut digest);
        }
        digest.finish()
    }

    fn attr(&self, ino: Ino) -> Result<Attr> {
        let mut state = self.0.lock();
        let (links, ctime) = (state.links(ino.0), time(state.clock));
        let inode = state.inode(ino.0)?;
        let mut attr = Attr::new(ino, inode.kind, 0o644);
        (attr.nlink, attr.uid, attr.gid) = (links, inode.uid, inode.uid);
        attr.size = inode.now.len;
        attr.blocks = inode.now.count() * (PAGE as u64 / 512);
        attr.block_size = PAGE as u32;
        (attr.atime, attr.mtime, attr.ctime) = (time(inode.accessed), time(inode.modified), ctime);
        Ok(attr)
    }
}

fn time(clock: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(clock)
}

fn clock(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
