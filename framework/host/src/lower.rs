//! The base layer: a lower directory, reached through the descriptor that was opened before
//! anything was mounted over it.

mod access_time;
mod accounts;
mod attributes;
mod by_name;
mod content;
mod credentials;
mod descriptors;
mod directories;
mod filesystem;
mod inodes;
pub(crate) mod lifetime;
mod listings;
mod names;
mod opens;
mod privileges;
mod search;
mod shares;
mod store;
mod takeover;
mod xattrs;

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use hsci_extension::{Errno, Error, Ino, Lifetime, RESERVED_NAME, Result};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, StatxFlags, statx};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::by_name::Moves;
use self::credentials::Credentials;
use self::descriptors::{Access, Descriptors};
use self::directories::Listed;
use self::inodes::{Inode, Inodes};
use self::shares::Shares;
use crate::place::own_user;
use crate::sys::handle::{Handle, handle_of};
use crate::takeover::Inherited;

pub(crate) use self::attributes::timespec_of;
pub(crate) use self::content::anybody_links;
pub(crate) use self::credentials::{is_member, keeps_set_id};
pub(crate) use self::opens::Opens;
pub use self::store::LowerStore;
pub(crate) use self::takeover::Takeover;

/// A lower directory as a file system.
pub struct LowerTree {
    itself: Weak<Self>,
    root: OwnedFd,
    inodes: Inodes,
    descriptors: Descriptors,
    moves: Moves,
    listed: Listed,
    /// Of the descriptors that unlinked files take.
    shares: Arc<Shares>,
    credentials: Credentials,
    /// Inodes can be opened by handle, which needs `CAP_DAC_READ_SEARCH` and a file system that
    /// makes handles.
    by_handle: bool,
    lifetime: Lifetime,
    /// How long a file can be, once somebody has asked.
    max_len: OnceLock<u64>,
    /// Whether leases say who has a file open, once somebody has asked.
    leases_tell: OnceLock<bool>,
    /// The mount is to leave times of access alone.
    keeps_access_times: bool,
    /// When the space of a deleted file last began to come back.
    released: Mutex<Option<Instant>>,
    /// Held while what the store says of itself is changed.
    store_file: Mutex<()>,
    /// Directories in it may ignore the case of names: those are not served.
    folds: bool,
    /// A server decides when a file is gone.
    is_served: bool,
    /// Nothing can be written, times of access among it.
    is_read_only: bool,
    /// How often it was asked for names and contents, where no worker serves it.
    asked: AtomicU64,
    /// Absent where no other worker will go on from here.
    takeover: Option<Takeover>,
}

/// True if the calling process can open inodes of a directory's file system by handle.
#[must_use]
pub fn opens_by_handle(directory: impl AsFd) -> bool {
    let directory = directory.as_fd();
    handle_of(directory).is_ok_and(|handle| handle.open(directory, OFlags::PATH).is_ok())
}

/// True if inodes of a directory's file system can be identified.
#[must_use]
pub fn has_handles(directory: impl AsFd) -> bool {
    handle_of(directory).is_ok()
}

/// How long the space of a deleted file may take to come back, and how often it is looked for.
const TIME_TO_RELEASE: Duration = Duration::from_millis(300);
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(10);

/// How many descriptors the cache may hold, whatever the limit of the process.
const MOST_DESCRIPTORS: u64 = 4096;

/// Held while a mode is changed: what is given back after [`LowerTree::with_owners_rights`] is what the file had.
static MODES: Mutex<()> = Mutex::new(());

/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

/// File systems with a server, which may let go of a file that nobody has open once it has no name: FUSE (GlusterFS), NFS,
/// SMB in its three forms, 9p, Ceph, AFS, Lustre.
const SERVED: [rustix::fs::FsWord; 9] = [
    0x6573_5546,
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x0bd0_0bd0,
];

/// Raises the soft limit of descriptors to the hard one; returns what holds then.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

impl LowerTree {
    /// Serves the directory that `root` is open on. To be called before other threads start, for
    /// it changes the credentials of the process, and its limit of descriptors.
    pub fn open(root: OwnedFd) -> Result<Arc<Self>> {
        Self::open_with(root, None, true, u64::MAX, false)
    }

    /// As [`LowerTree::open`], for a mount that outlives the process: goes on from what the process
    /// before has left, descriptors of unlinked files included. The inodes that the kernel knows may take so much
    /// `memory`.
    pub(crate) fn inherit(
        root: OwnedFd,
        takeover: Takeover,
        inherited: &Inherited,
        pins: HashMap<u64, OwnedFd>,
        keeps_access_times: bool,
        memory: u64,
        folds: bool,
    ) -> Result<Arc<Self>> {
        let tree = Self::open_with(root, Some(takeover), keeps_access_times, memory, folds)?;
        tree.take_over(inherited, pins);
        Ok(tree)
    }

    fn open_with(
        root: OwnedFd,
        takeover: Option<Takeover>,
        keeps_access_times: bool,
        memory: u64,
        folds: bool,
    ) -> Result<Arc<Self>> {
        let stat = statx(&root, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let device = device_of(&stat);
        let handle = handle_of(&root).ok();
        let by_handle = opens_by_handle(&root);
        // Others have no mount of the lower directory to themselves.
        let kind = rustix::fs::fstatfs(&root).map_or(0, |stat| stat.f_type);
        let is_layered = own_user() == 0 && kind == OVERLAY;
        let lifetime = lifetime::of(&root);
        // Also where it is the mount that is read-only, which a worker's is not: it may become another.
        let is_read_only = takeover.is_none()
            && rustix::fs::fstatvfs(&root)
                .is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
        let limit = raise_descriptor_limit().unwrap_or(u64::MAX);
        Ok(Arc::new_cyclic(|itself| Self {
            itself: Weak::clone(itself),
            inodes: Inodes::new(
                Inode::new(Ino::ROOT, device, stat.stx_ino, handle),
                is_layered,
                memory,
            ),
            root,
            descriptors: Descriptors::new((limit / 4).min(MOST_DESCRIPTORS) as usize),
            moves: Moves::default(),
            listed: Listed::default(),
            shares: Shares::new(limit),
            credentials: Credentials::prepare(),
            by_handle,
            folds,
            is_served: SERVED.contains(&kind),
            is_read_only,
            lifetime,
            max_len: OnceLock::new(),
            leases_tell: OnceLock::new(),
            keeps_access_times,
            released: Mutex::new(None),
            store_file: Mutex::new(()),
            asked: AtomicU64::new(0),
            takeover,
        }))
    }

    /// The corner of the store that belongs to an extension; with `create` it is made if it is
    /// missing, otherwise that is ENOENT.
    pub fn store(&self, extension: &str, create: bool) -> Result<Arc<LowerStore>> {
        LowerStore::open(self.me(), extension, create).map(Arc::new)
    }

    /// Inodes of which something was acknowledged that is noted, and not in their files yet.
    pub(crate) fn noted(&self) -> Vec<Ino> {
        let mut noted = Vec::new();
        self.inodes.for_each(|inode| {
            if inode.notes().is_some_and(|notes| !notes.is_empty()) {
                noted.push(inode.ino);
            }
        });
        noted
    }

    /// Number of inodes known and of descriptors kept open for them.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.inodes.count(), self.descriptors.count())
    }

    /// How often names and contents were asked for: who reads a store and hangs, asks no more.
    pub(crate) fn times_asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn count_question(&self) {
        if self.takeover.is_none() {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn me(&self) -> Arc<Self> {
        self.itself.upgrade().expect("a method runs on a live value")
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// True if an inode is on the file system of the root.
    fn is_at_home(&self, ino: Ino) -> bool {
        self.inodes.find(ino).is_some_and(|inode| self.inodes.is_at_home(&inode))
    }

    /// A descriptor of an inode that is good for `O_PATH` at least.
    fn path(&self, ino: Ino) -> Result<Arc<OwnedFd>> {
        self.path_of(&*self.inodes.get(ino)?)
    }

    fn path_of(&self, inode: &Inode) -> Result<Arc<OwnedFd>> {
        self.reach(inode).map(|reached| reached.descriptor)
    }

    /// The best descriptor of an inode that there is, at least an `O_PATH` one.
    fn reach(&self, inode: &Inode) -> Result<Reached> {
        let by_path = |descriptor| Reached { descriptor, is_open: false };
        if let Some((access, descriptor)) = inode.pinned() {
            return Ok(Reached { descriptor, is_open: access > Access::Path });
        }
        if !self.inodes.has(inode) {
            return Ok(by_path(Arc::new(self.open_again(inode)?)));
        }
        if let Some((access, descriptor)) = self.descriptors.find(inode.ino) {
            return Ok(Reached { descriptor, is_open: access > Access::Path });
        }
        let opened = Arc::new(self.open_again(inode)?);
        self.remember(inode, Access::Path, &opened);
        Ok(by_path(opened))
    }

    /// True for a file that has lost its last name on a file system with a server. Its content is reached by the
    /// descriptor that keeps it; its attributes may be out of reach (GlusterFS).
    fn is_nameless(&self, inode: &Inode) -> bool {
        self.is_served && inode.is_nameless()
    }

    /// Puts a descriptor into the cache, which goes by numbers: only what is in the table may be
    /// there. Looking after putting leaves no gap: a forget in between is seen, and a later one
    /// removes the descriptor itself.
    fn remember(&self, inode: &Inode, access: Access, opened: &Arc<OwnedFd>) {
        self.descriptors.put(inode.ino, access, opened);
        if !self.inodes.has(inode) {
            self.descriptors.remove(inode.ino);
        }
    }

    /// Closes the descriptors of inodes that are not known any more.
    fn close(&self, gone: &[Ino]) {
        for ino in gone {
            self.descriptors.remove(*ino);
            if self.release_kept(*ino) {
                self.note_release();
            }
        }
    }

    /// A file is being deleted.
    fn note_release(&self) {
        *self.released.lock() = Some(Instant::now());
    }

    /// Waits until the space of files that were deleted by now has come back.
    fn wait_for_release(&self) {
        let since = self.released.lock().map(|released| released.elapsed());
        if let Some(left) = since.and_then(|since| TIME_TO_RELEASE.checked_sub(since)) {
            std::thread::sleep(left);
        }
    }

    /// Tries again what has found the disk full, as long as the space of deleted files is coming back:
    /// the kernel tells of their end, and the supervisor lets go of them, after `unlink` has returned.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Err(Error::Lower(Errno::NOSPC)) if self.is_space_coming(begun) => {
                    std::thread::sleep(PAUSE_WHEN_FULL);
                }
                outcome => return outcome,
            }
        }
    }

    /// True if a file was deleted just now, and nobody has waited since `begun` for too long.
    fn is_space_coming(&self, begun: Instant) -> bool {
        let recent = |released: Instant| released.elapsed() < TIME_TO_RELEASE;
        begun.elapsed() < TIME_TO_RELEASE && self.released.lock().is_some_and(recent)
    }

    fn open_again(&self, inode: &Inode) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if inode.ino == Ino::ROOT {
            return Ok(self.root.try_clone()?);
        }
        if let Some(handle) = self.usable_handle(inode) {
            return Ok(handle.open(self.root(), flags)?);
        }
        self.open_by_name(inode, &*self.open_parent(inode)?)
    }

    /// The directory of an inode that is opened by name. Those on the way to it that are not open are opened from above,
    /// one after the other: there may be more of them than a stack holds.
    fn open_parent(&self, inode: &Inode) -> Result<Arc<OwnedFd>> {
        let mut way = Vec::new();
        let mut ino = inode.parent().ok_or(Errno::STALE)?;
        let mut open = loop {
            let directory = self.inodes.get(ino)?;
            let is_at_hand = directory.pinned().is_some()
                || self.descriptors.find(ino).is_some()
                || self.usable_handle(&directory).is_some();
            if ino == Ino::ROOT || is_at_hand {
                break self.path_of(&directory)?;
            }
            // What is moved below may leave names that lead in a circle.
            if way.len() > self.inodes.count() {
                return Err(Errno::STALE.into());
            }
            ino = directory.parent().ok_or(Errno::STALE)?;
            way.push(directory);
        };
        while let Some(directory) = way.pop() {
            open = Arc::new(self.open_by_name(&directory, &open)?);
            self.remember(&directory, Access::Path, &open);
        }
        Ok(open)
    }

    /// Opens an inode by its name, which another one may have by now.
    fn open_by_name(&self, inode: &Inode, parent: &OwnedFd) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (_, name) = inode.name().ok_or(Errno::STALE)?;
        let opened = rustix::fs::openat(parent, name.c_str()?, flags, Mode::empty())?;
        let stat = statx(&opened, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
        let same = stat.stx_ino == inode.number
            && device_of(&stat) == inode.device
            && handle_of(&opened).ok() == inode.handle;
        if same { Ok(opened) } else { Err(Errno::STALE.into()) }
    }

    /// A descriptor on an inode's content. Where writing is refused although the inode may be
    /// read (a read-only file system, a program that runs, a lease of its owner), reading still works.
    fn content(&self, inode: &Inode, access: Access) -> Result<Arc<OwnedFd>> {
        let known = self.inodes.has(inode);
        if known && let Some(open) = self.descriptors.get(inode.ino, access) {
            return Ok(open);
        }
        if !known && let Some(kept) = inode.kept() {
            return Ok(kept);
        }
        if let Some((_, pinned)) = inode.pinned().filter(|(granted, _)| *granted >= access) {
            return Ok(pinned);
        }
        let (opened, access) = match self.reopen_to_write(inode) {
            Err(Error::Lower(
                Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY | Errno::AGAIN,
            )) if access == Access::Read => {
                (self.reopen_quietly(inode, OFlags::RDONLY), Access::Read)
            }
            other => (other, Access::Write),
        };
        let (opened, access) = match opened {
            Err(Error::Lower(Errno::ACCESS)) => (self.reopen_as_owner(inode)?, Access::Write),
            other => (other?, access),
        };
        let opened = Arc::new(opened);
        if known {
            self.remember(inode, access, &opened);
        } else if access == Access::Write {
            inode.keep(&opened);
        }
        Ok(opened)
    }

    fn reopen_to_write(&self, inode: &Inode) -> Result<OwnedFd> {
        if self.is_read_only {
            return Err(Errno::ROFS.into());
        }
        self.reopen_quietly(inode, OFlags::RDWR)
    }

    /// Opens an inode so that reading leaves its time of access alone, as far as this process may.
    fn reopen_quietly(&self, inode: &Inode, flags: OFlags) -> Result<OwnedFd> {
        if self.is_read_only {
            return self.reopen(inode, flags);
        }
        match self.reopen(inode, flags | OFlags::NOATIME) {
            Err(Error::Lower(Errno::PERM)) => self.reopen(inode, flags),
            opened => opened,
        }
    }

    /// Opens an inode for more than `O_PATH`.
    fn reopen(&self, inode: &Inode, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::LARGEFILE;
        match self.usable_handle(inode) {
            Some(handle) if inode.pinned().is_none() => Ok(handle.open(self.root(), flags)?),
            _ => Ok(rustix::fs::open(&*proc_path(&*self.path_of(inode)?), flags, Mode::empty())?),
        }
    }

    /// Opens a file whose mode denies its owner what the owner may do to a file that is already
    /// open: the callers' permissions were checked when they opened it.
    fn reopen_as_owner(&self, inode: &Inode) -> Result<OwnedFd> {
        self.with_owners_rights(inode, || self.reopen(inode, OFlags::RDWR))
    }

    /// Does to a file what its mode denies its owner. Only hosts without `CAP_DAC_OVERRIDE`, which serve their own
    /// user alone, get here. A host that is killed meanwhile leaves the owner's rights added.
    fn with_owners_rights<T>(
        &self,
        inode: &Inode,
        attempt: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = self.path_of(inode)?;
        let _changing = MODES.lock();
        let mode = Mode::from_raw_mode(u32::from(attributes::stat_of(&path)?.stx_mode) & 0o7777);
        rustix::fs::chmod(&*proc_path(&path), mode | Mode::RUSR | Mode::WUSR)?;
        let done = attempt();
        rustix::fs::chmod(&*proc_path(&path), mode)?;
        done
    }

    /// The handle of an inode, if it can be opened by it. Handles hold for one file system: that of
    /// the root, not of others mounted below.
    fn usable_handle<'a>(&self, inode: &'a Inode) -> Option<&'a Handle> {
        inode.handle.as_ref().filter(|_| self.by_handle && self.inodes.is_at_home(inode))
    }
}

/// A descriptor of an inode, and whether it is more than `O_PATH`: then system calls take it as it is,
/// which is faster than the way through `/proc`.
struct Reached {
    descriptor: Arc<OwnedFd>,
    is_open: bool,
}

impl Reached {
    fn set_mode(&self, mode: u32) -> Result<(), rustix::io::Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self.is_open {
            true => rustix::fs::fchmod(&*self.descriptor, mode),
            false => rustix::fs::chmod(&*proc_path(&self.descriptor), mode),
        }
    }
}

/// The path by which system calls without a descriptor argument reach an inode. Good for as long as
/// the descriptor is open: its number may be another file's afterwards.
struct ProcPath<'a> {
    text: [u8; PROC_PATH_LEN],
    _descriptor: BorrowedFd<'a>,
}

/// Holds the longest one, and the 0 at its end.
const PROC_PATH_LEN: usize = 32;

impl std::ops::Deref for ProcPath<'_> {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.text).expect("a 0 at the end")
    }
}

fn proc_path(path: &OwnedFd) -> ProcPath<'_> {
    let mut text = [0; PROC_PATH_LEN];
    write!(&mut text[..PROC_PATH_LEN - 1], "/proc/self/fd/{}", path.as_raw_fd()).expect("room");
    ProcPath { text, _descriptor: path.as_fd() }
}

fn device_of(stat: &rustix::fs::Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// Whether a name in a directory is the host's own.
fn is_reserved(parent: Ino, name: &OsStr) -> bool {
    parent == Ino::ROOT && name == RESERVED_NAME
}
