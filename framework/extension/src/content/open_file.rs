//! One file in use: its state behind the inode's lock.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::content::Context;
use crate::{Content, Environment, FileSystem, Ino, Result, Store};

/// What all open files of a layer have in common.
pub(super) struct Shared {
    pub(super) lower: Arc<dyn FileSystem>,
    pub(super) store: Arc<dyn Store>,
    /// Nothing may be written.
    pub(super) read_only: bool,
    /// Times of use count from here.
    start: Instant,
    /// The mount ends: nobody starts long work any more.
    stopping: AtomicBool,
}

impl Shared {
    pub(super) fn new(environment: &Environment) -> Arc<Self> {
        Arc::new(Self {
            lower: Arc::clone(&environment.lower),
            store: Arc::clone(&environment.store),
            read_only: environment.read_only,
            start: Instant::now(),
            stopping: AtomicBool::new(false),
        })
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Milliseconds since the start, never 0.
    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }
}

/// One lookup of a lower inode, taken back when it is dropped: the inode stays known, and its
/// number stays its own.
pub(super) struct Hold {
    pub(super) shared: Arc<Shared>,
    pub(super) ino: Ino,
}

impl Hold {
    /// Counts a lookup of an inode that the caller knows.
    pub(super) fn new(shared: &Arc<Shared>, ino: Ino) -> Result<Self> {
        shared.lower.retain(ino)?;
        Ok(Self::counted(shared, ino))
    }

    /// Takes over a lookup that has been counted.
    pub(super) fn counted(shared: &Arc<Shared>, ino: Ino) -> Self {
        Self { shared: Arc::clone(shared), ino }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lower.forget(self.ino, 1);
    }
}

/// A file in use: its state behind the inode's lock, and, by dereference, its [`Context`].
pub struct OpenFile<C: Content> {
    context: Context,
    _hold: Hold,
    state: RwLock<C::File>,
    waiting: AtomicUsize,
    /// When it was last used and last written, in milliseconds since the start; 0 for never.
    used: AtomicU64,
    written: AtomicU64,
    /// It waits to be settled, or is about to.
    queued: AtomicBool,
    /// It waits to be committed.
    uncommitted: AtomicBool,
}

impl<C: Content> OpenFile<C> {
    pub(super) fn new(hold: Hold, context: Context, state: C::File) -> Self {
        let used = AtomicU64::new(context.shared.now());
        Self {
            context,
            _hold: hold,
            state: RwLock::new(state),
            waiting: AtomicUsize::new(0),
            used,
            written: AtomicU64::new(0),
            queued: AtomicBool::new(false),
            uncommitted: AtomicBool::new(false),
        }
    }

    pub(super) fn note_use(&self) {
        self.used.store(self.context.shared.now(), Ordering::Relaxed);
    }

    pub(super) fn last_use(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Notes that it was written; true if it has yet to be queued for settling.
    pub(super) fn note_write(&self) -> bool {
        self.written.store(self.context.shared.now(), Ordering::Relaxed);
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// Notes that it was changed; true if it has yet to be queued for a commit.
    pub(super) fn note_uncommitted(&self) -> bool {
        !self.uncommitted.swap(true, Ordering::AcqRel)
    }

    /// Later changes queue it again.
    pub(super) fn take_uncommitted(&self) {
        self.uncommitted.store(false, Ordering::Release);
    }

    /// Notes that it is not queued any more; returns how long ago it was last written, `None` if it
    /// was not since it came into use. Later writes queue it again.
    pub(super) fn take_from_queue(&self) -> Option<Duration> {
        self.queued.swap(false, Ordering::AcqRel);
        let written = self.written.load(Ordering::Relaxed);
        let now = self.context.shared.now();
        (written > 0).then(|| Duration::from_millis(now.saturating_sub(written)))
    }

    pub(super) fn try_read(&self) -> Option<impl Deref<Target = C::File>> {
        self.state.try_read()
    }

    pub(super) fn try_write(&self) -> Option<impl DerefMut<Target = C::File>> {
        self.state.try_write()
    }

    /// The state, shared with other readers.
    pub fn read(&self) -> impl Deref<Target = C::File> {
        self.state.read()
    }

    /// The state, for this thread alone.
    pub fn write(&self) -> impl DerefMut<Target = C::File> {
        if let Some(guard) = self.state.try_write() {
            return guard;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.state.write();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// True when the mount ends: no long work is begun.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.context.shared.is_stopping()
    }

    /// True while somebody waits for [`OpenFile::write`], and when the mount ends: long work should
    /// be left for later.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0 || self.context.shared.is_stopping()
    }
}

impl<C: Content> Deref for OpenFile<C> {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
