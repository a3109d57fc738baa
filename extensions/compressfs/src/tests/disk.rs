//! A disk in memory: a flat directory of files and a plug-in's store, which fails when told to,
//! and loses what was not synced when its power is cut.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_extension::{
    Attr, Call, DirEntry, Entry, Errno, Error, FileId, FileKind, FileSystem, Ino, LowerFile,
    Result, SetAttr, SetTime, Store, Times, Whence, XattrFlags,
};
use parking_lot::Mutex;

use super::pages::{PAGE, Pages};
use super::random::Random;

/// Files in the directory have these numbers on; those of the store lie elsewhere.
pub(super) const FIRST_INO: u64 = 2;

/// What is going to happen to calls that change something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    /// This call, counted from 0, fails with the error, and so does each later one if `forever`.
    pub(super) fail_at: Option<u64>,
    pub(super) errno: Option<Errno>,
    pub(super) forever: bool,
    /// Pages that the disk holds; 0: as many as anybody likes.
    pub(super) capacity: u64,
}

/// What was done to a file and may not have reached the platter.
#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Punch(u64, u64),
    Reserve(u64, u64),
}

#[derive(Clone, Default)]
struct Inode {
    now: Pages,
    durable: Pages,
    unsynced: Vec<Change>,
    xattrs: BTreeMap<OsString, Vec<u8>>,
    accessed: u64,
    modified: u64,
    uid: u32,
}

#[derive(Clone)]
enum Renaming {
    Add(String, u64),
    Rename(String, String),
    Remove(String),
}

/// The platter and what floats above it.
#[derive(Clone, Default)]
pub(super) struct State {
    inodes: BTreeMap<u64, Inode>,
    /// Files of the directory.
    names: BTreeMap<OsString, u64>,
    store: BTreeMap<String, u64>,
    durable_store: BTreeMap<String, u64>,
    unsynced_store: Vec<Renaming>,
    /// By file and what they are about.
    notes: BTreeMap<(u64, u64), Vec<u8>>,
    next_ino: u64,
    clock: u64,
    pub(super) calls: u64,
    pub(super) fate: Fate,
}

/// The disk.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl State {
    /// Every call that changes something begins here.
    fn change(&mut self) -> Result<()> {
        let call = self.calls;
        self.calls += 1;
        self.clock += 1;
        let fails =
            self.fate.fail_at.is_some_and(|at| call == at || (call > at && self.fate.forever));
        match fails {
            true => Err(Error::Lower(self.fate.errno.unwrap_or(Errno::IO))),
            false => Ok(()),
        }
    }

    /// True if a process that made all these calls is dead by now.
    fn is_over(&self) -> bool {
        self.fate.forever && self.fate.fail_at.is_some_and(|at| self.calls > at)
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

    fn apply(&mut self, ino: u64, change: Change) -> Result<()> {
        let clock = self.clock;
        let inode = self.inode(ino)?;
        inode.modified = clock;
        change.apply(&mut inode.now);
        inode.unsynced.push(change);
        Ok(())
    }

    fn sync(&mut self, ino: u64) -> Result<()> {
        let inode = self.inode(ino)?;
        inode.durable = inode.now.clone();
        inode.unsynced.clear();
        Ok(())
    }

    fn sync_names(&mut self) {
        self.durable_store = self.store.clone();
        self.unsynced_store.clear();
    }
}

impl Change {
    fn apply(&self, pages: &mut Pages) {
        match self {
            Self::Write(offset, data) => pages.write(*offset, data),
            Self::SetLen(len) => pages.set_len(*len),
            Self::Punch(offset, len) => pages.punch(*offset, *len),
            Self::Reserve(offset, len) => pages.reserve(*offset, *len),
        }
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Add(name, ino) => drop(names.insert(name.clone(), *ino)),
            Self::Rename(from, to) => {
                if let Some(ino) = names.remove(from) {
                    names.insert(to.clone(), ino);
                }
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl Disk {
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock())
    }

    /// Makes an empty file in the directory.
    pub(super) fn create(&self, name: &str, uid: u32) -> Ino {
        let mut state = self.0.lock();
        state.next_ino += 1;
        let ino = FIRST_INO + state.next_ino;
        state.inodes.insert(ino, Inode { uid, ..Inode::default() });
        state.names.insert(name.into(), ino);
        Ino(ino)
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

    /// What is found when the power comes back: of what was not synced, some reached the platter
    /// and some did not, page by page; renamings did so in order.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Self {
        let mut state = self.0.lock().clone();
        for inode in state.inodes.values_mut() {
            let share = random.below(5);
            // A file system keeps changes of length in order, and what was written behind a length
            // that never came about has no place to be.
            let mut lost_at = u64::MAX;
            for change in std::mem::take(&mut inode.unsynced) {
                let possible = match change {
                    Change::Write(offset, _) => offset < lost_at,
                    _ => lost_at == u64::MAX,
                };
                if possible && random.below(4) < share {
                    change.apply(&mut inode.durable);
                } else if let Change::SetLen(len) = change {
                    lost_at = lost_at.min(len);
                }
            }
            inode.now = inode.durable.clone();
        }
        let kept = random.below(state.unsynced_store.len() as u64 + 1) as usize;
        for renaming in std::mem::take(&mut state.unsynced_store).into_iter().take(kept) {
            renaming.apply(&mut state.durable_store);
        }
        state.store = state.durable_store.clone();
        (state.calls, state.fate) = (0, Fate::default());
        state.notes.clear();
        Self(Arc::new(Mutex::new(state)))
    }

    /// Space in use, in pages.
    pub(super) fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// Names in the store.
    pub(super) fn store_names(&self) -> Vec<String> {
        self.0.lock().store.keys().cloned().collect()
    }

    fn attr(&self, ino: Ino) -> Result<Attr> {
        let mut state = self.0.lock();
        let is_root = ino == Ino::ROOT;
        let root = Inode::default();
        let inode = if is_root { &root } else { state.inode(ino.0)? };
        Ok(Attr {
            ino: ino.0,
            kind: if is_root { FileKind::Directory } else { FileKind::Regular },
            mode: 0o644,
            nlink: 1,
            uid: inode.uid,
            gid: inode.uid,
            rdev: 0,
            size: inode.now.len,
            blocks: inode.now.count() * (PAGE as u64 / 512),
            block_size: PAGE as u32,
            atime: time(inode.accessed),
            mtime: time(inode.modified),
            ctime: time(state.clock),
        })
    }
}

fn time(clock: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(clock)
}

fn clock(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

struct DiskFile {
    disk: Disk,
    ino: u64,
}

impl LowerFile for DiskFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.disk.0.lock().inode(self.ino)?.now.read(offset, buffer))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.disk.0.lock();
        let mut at = offset;
        let failed = state.change().err();
        // A write that fails may have been carried out in part.
        let usable = if failed.is_some() { data.len() / 2 } else { data.len() };
        let mut rest = &data[..usable];
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(PAGE - at as usize % PAGE));
            state.check_room(self.ino, at, part.len() as u64)?;
            state.apply(self.ino, Change::Write(at, part.to_vec()))?;
            at += part.len() as u64;
            rest = behind;
        }
        failed.map_or(Ok(()), Err)
    }

    fn len(&self) -> Result<u64> {
        Ok(self.disk.0.lock().inode(self.ino)?.now.len)
    }

    fn blocks(&self) -> Result<u64> {
        Ok(self.disk.attr(Ino(self.ino))?.blocks)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        state.apply(self.ino, Change::SetLen(len))
    }

    fn sync(&self, _: bool) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        state.sync(self.ino)
    }

    fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        state.check_room(self.ino, offset, len)?;
        state.apply(self.ino, Change::Reserve(offset, len))
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        let end = (offset + len).min(state.inode(self.ino)?.now.len);
        state.apply(self.ino, Change::Punch(offset, end.saturating_sub(offset)))
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        let found = self.disk.0.lock().inode(self.ino)?.now.seek(offset, whence == Whence::Data);
        found.ok_or(Error::Lower(Errno::NXIO))
    }

    fn times(&self) -> Result<Times> {
        let mut state = self.disk.0.lock();
        let inode = state.inode(self.ino)?;
        Ok(Times { accessed: time(inode.accessed), modified: time(inode.modified) })
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        let inode = state.inode(self.ino)?;
        (inode.accessed, inode.modified) = (clock(times.accessed), clock(times.modified));
        Ok(())
    }

    fn note(&self, about: u64, note: &[u8]) {
        let mut state = self.disk.0.lock();
        if !state.is_over() {
            state.notes.entry((self.ino, about)).or_default().extend_from_slice(note);
        }
    }

    fn notes(&self, about: u64) -> Vec<u8> {
        let state = self.disk.0.lock();
        state.notes.get(&(self.ino, about)).cloned().unwrap_or_default()
    }

    fn drop_notes(&self, about: u64) {
        let mut state = self.disk.0.lock();
        if !state.is_over() {
            state.notes.remove(&(self.ino, about));
        }
    }

    fn id(&self) -> Result<FileId> {
        Ok(FileId(self.ino.to_le_bytes().to_vec()))
    }
}

impl Store for Disk {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>> {
        let mut state = self.0.lock();
        if let Some(&ino) = state.store.get(name) {
            return Ok(self.lower(Ino(ino)));
        }
        if !create {
            return Err(Error::Lower(Errno::NOENT));
        }
        state.change()?;
        state.next_ino += 1;
        let ino = FIRST_INO + state.next_ino;
        state.inodes.insert(ino, Inode::default());
        state.store.insert(name.to_owned(), ino);
        state.unsynced_store.push(Renaming::Add(name.to_owned(), ino));
        Ok(self.lower(Ino(ino)))
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.store_names())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        let renaming = Renaming::Rename(from.to_owned(), to.to_owned());
        renaming.apply(&mut state.store);
        state.unsynced_store.push(renaming);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        let ino = state.store.remove(name).ok_or(Error::Lower(Errno::NOENT))?;
        state.unsynced_store.push(Renaming::Remove(name.to_owned()));
        // Its space is free, though a power cut may bring it back.
        state.inode(ino)?.now = Pages::default();
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.sync_names();
        Ok(())
    }

    fn sync_all(&self) -> Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        let inodes: Vec<u64> = state.inodes.keys().copied().collect();
        for ino in inodes {
            state.sync(ino)?;
        }
        state.sync_names();
        Ok(())
    }

    fn free_space(&self) -> Result<u64> {
        let state = self.0.lock();
        Ok(match state.fate.capacity {
            0 => 1 << 40,
            capacity => capacity.saturating_sub(state.used()) * PAGE as u64,
        })
    }

    fn reopen(&self, id: &FileId) -> Result<Arc<dyn LowerFile>> {
        let ino = u64::from_le_bytes(id.0[..].try_into().expect("ids of this disk have 8 bytes"));
        self.0.lock().inode(ino)?;
        Ok(self.lower(Ino(ino)))
    }
}

impl FileSystem for Disk {
    fn lower(&self) -> &dyn FileSystem {
        self
    }

    fn lookup(&self, _: &Call, _: Ino, name: &OsStr) -> Result<Entry> {
        let found = self.0.lock().names.get(name).copied();
        let ino = Ino(found.ok_or(Error::Lower(Errno::NOENT))?);
        Ok(Entry { ino, generation: 0, attr: self.attr(ino)? })
    }

    fn retain(&self, _: Ino) -> Result<()> {
        Ok(())
    }

    fn forget(&self, _: Ino, _: u64) -> bool {
        false
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        let state = self.0.lock();
        let name = state.names.iter().find(|(_, known)| **known == ino.0);
        name.map(|(name, _)| (Ino::ROOT, name.clone())).ok_or(Error::Lower(Errno::NOENT))
    }

    fn getattr(&self, _: &Call, ino: Ino) -> Result<Attr> {
        self.attr(ino)
    }

    fn setattr(&self, _: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        let mut state = self.0.lock();
        state.change()?;
        let now = state.clock;
        let clock_of = |set| match set {
            SetTime::Now => now,
            SetTime::At(time) => clock(time),
        };
        let inode = state.inode(ino.0)?;
        inode.modified = changes.mtime.map_or(inode.modified, clock_of);
        inode.accessed = changes.atime.map_or(inode.accessed, clock_of);
        drop(state);
        self.attr(ino)
    }

    fn act_as(&self, _: &Call) {}

    fn drop_privileges(&self, _: Ino) -> Result<()> {
        Ok(())
    }

    fn readdir(&self, _: &Call, _: Ino, cookie: u64, _: usize) -> Result<Vec<DirEntry>> {
        let state = self.0.lock();
        let entry = |(next, (name, ino)): (u64, (&OsString, &u64))| DirEntry {
            name: name.clone(),
            ino: *ino,
            kind: Some(FileKind::Regular),
            next,
        };
        Ok((1..).zip(&state.names).skip(cookie as usize).map(entry).collect())
    }

    fn getxattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        if ino == Ino::ROOT {
            return Err(Error::NoAttribute);
        }
        let mut state = self.0.lock();
        state.inode(ino.0)?.xattrs.get(name).cloned().ok_or(Error::NoAttribute)
    }

    fn listxattr(&self, _: &Call, ino: Ino) -> Result<Vec<OsString>> {
        Ok(self.0.lock().inode(ino.0)?.xattrs.keys().cloned().collect())
    }

    fn setxattr(
        &self,
        _: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        _: XattrFlags,
    ) -> Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.inode(ino.0)?.xattrs.insert(name.to_owned(), value.to_vec());
        Ok(())
    }

    fn removexattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.inode(ino.0)?.xattrs.remove(name).map(drop).ok_or(Error::NoAttribute)
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        Ok(DiskFile { disk: self.clone(), ino: ino.0 })
            .map(|file| Arc::new(file) as Arc<dyn LowerFile>)
    }

    fn shutdown(&self) {}
}
