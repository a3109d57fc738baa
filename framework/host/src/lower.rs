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
mod prefetch;
mod privileges;
mod proc_path;
mod reach;
mod search;
mod shares;
mod space;
mod store;
mod takeover;
mod xattrs;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use hsci_extension::{Ino, Lifetime, RESERVED_NAME, Result};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, OFlags, StatVfsMountFlags, StatxFlags, statx};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::by_name::Moves;
use self::credentials::Credentials;
use self::descriptors::Descriptors;
use self::directories::Listed;
use self::inodes::{Inode, Inodes};
pub(crate) use self::prefetch::Listing;
use self::prefetch::Prefetched;
use self::shares::Shares;
use crate::place::own_user;
use crate::sys::handle::handle_of;
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
    prefetched: Prefetched,
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

/// How many descriptors the cache may hold, whatever the limit of the process.
const MOST_DESCRIPTORS: u64 = 4096;

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
            prefetched: Prefetched::default(),
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

    /// True for a file that has lost its last name on a file system with a server. Its content is reached by the
    /// descriptor that keeps it; its attributes may be out of reach (GlusterFS).
    fn is_nameless(&self, inode: &Inode) -> bool {
        self.is_served && inode.is_nameless()
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
}

fn device_of(stat: &rustix::fs::Statx) -> u64 {
    rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

/// Whether a name in a directory is the host's own.
fn is_reserved(parent: Ino, name: &OsStr) -> bool {
    parent == Ino::ROOT && name == RESERVED_NAME
}
