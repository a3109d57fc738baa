//! Open descriptors of lower inodes, bounded, the least recently used given up first.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::Ino;
use lru::LruCache;
use parking_lot::Mutex;
use rustix::fs::OFlags;

/// What a descriptor is good for; each one also for what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// `O_PATH`: attributes, names, extended attributes through `/proc`.
    Path,
    /// Reading content.
    Read,
    /// Reading and writing content.
    Write,
}

impl Access {
    /// What an open descriptor is good for.
    pub(super) fn of(descriptor: &OwnedFd) -> Self {
        match rustix::fs::fcntl_getfl(descriptor) {
            Ok(flags) if flags.contains(OFlags::PATH) => Self::Path,
            Ok(flags) if flags & OFlags::RWMODE == OFlags::RDWR => Self::Write,
            Ok(flags) if flags & OFlags::RWMODE == OFlags::RDONLY => Self::Read,
            _ => Self::Path,
        }
    }
}

type Shard = Mutex<LruCache<Ino, (Access, Arc<OwnedFd>)>>;

/// A cache of descriptors, one for an inode. One that is in use when it falls out closes when its user is done.
pub(super) struct Descriptors(Vec<Shard>);

const SHARDS: usize = 8;

impl Descriptors {
    pub(super) fn new(bound: usize) -> Self {
        let each = NonZeroUsize::new(bound / SHARDS).unwrap_or(NonZeroUsize::MIN);
        Self((0..SHARDS).map(|_| Mutex::new(LruCache::new(each))).collect())
    }

    /// A descriptor that is good for `access`.
    pub(super) fn get(&self, ino: Ino, access: Access) -> Option<Arc<OwnedFd>> {
        let mut shard = self.shard(ino).lock();
        let (granted, descriptor) = shard.get(&ino)?;
        (*granted >= access).then(|| Arc::clone(descriptor))
    }

    /// The descriptor of an inode, whatever it is good for.
    pub(super) fn find(&self, ino: Ino) -> Option<(Access, Arc<OwnedFd>)> {
        self.shard(ino).lock().get(&ino).map(|(granted, open)| (*granted, Arc::clone(open)))
    }

    pub(super) fn put(&self, ino: Ino, access: Access, descriptor: &Arc<OwnedFd>) {
        let evicted = self.shard(ino).lock().push(ino, (access, Arc::clone(descriptor)));
        // Closed after the lock is released: closing the last descriptor of a file can be slow.
        drop(evicted);
    }

    pub(super) fn remove(&self, ino: Ino) {
        let removed = self.shard(ino).lock().pop(&ino);
        drop(removed);
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, ino: Ino) -> &Shard {
        &self.0[(ino.0 % SHARDS as u64) as usize]
    }
}
