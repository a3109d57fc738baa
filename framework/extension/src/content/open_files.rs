//! The files in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, DashSet};
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};

use super::open_file::{Hold, Shared};
use super::peeked::Peeked;
use crate::content::Context;
use crate::{Content, Ino, OpenFile, Result};

/// How many files stay in use although nobody uses them.
pub(super) const MOST_IDLE: usize = 1024;
const STRIPES: usize = 64;

/// The open files of a layer: at most one for each inode.
pub(super) struct OpenFiles<C: Content> {
    pub(super) content: Arc<C>,
    pub(super) shared: Arc<Shared>,
    open: DashMap<Ino, Arc<OpenFile<C>>, RandomState>,
    count: AtomicUsize,
    /// Files that were in use, as far as they are known, whose lower attributes users see.
    plain: DashSet<Ino, RandomState>,
    /// What users see of others that are not.
    pub(super) peeked: Peeked,
    /// With more open files than this, idle ones have to go.
    sweep_at: AtomicUsize,
    /// Held while a file starts to be used, and by whoever needs that it does not.
    opening: [Mutex<()>; STRIPES],
}

/// Whether a file is in use.
pub(super) enum Use<'a, C: Content> {
    /// It is.
    Open(Arc<OpenFile<C>>),
    /// It is not, and does not come into use while the guard is kept.
    AtRest(MutexGuard<'a, ()>),
}

impl<C: Content> OpenFiles<C> {
    pub(super) fn new(content: Arc<C>, shared: Arc<Shared>) -> Self {
        Self {
            content,
            shared,
            open: DashMap::default(),
            count: AtomicUsize::new(0),
            plain: DashSet::default(),
            peeked: Peeked::new(),
            sweep_at: AtomicUsize::new(MOST_IDLE),
            opening: [const { Mutex::new(()) }; STRIPES],
        }
    }

    pub(super) fn find(&self, ino: Ino) -> Use<'_, C> {
        if let Some(open) = self.open.get(&ino) {
            return Use::Open(Arc::clone(&open));
        }
        let guard = self.opening[ino.0 as usize % STRIPES].lock();
        match self.open.get(&ino) {
            Some(open) => Use::Open(Arc::clone(&open)),
            None => Use::AtRest(guard),
        }
    }

    /// The open file of a regular file, which is in use from now on.
    pub(super) fn get(&self, ino: Ino) -> Result<Arc<OpenFile<C>>> {
        let open = match self.find(ino) {
            Use::Open(open) => {
                open.note_use();
                return Ok(open);
            }
            Use::AtRest(_guard) => {
                let hold = Hold::new(&self.shared, ino)?;
                let context = Context::new(&self.shared, ino)?;
                let state = self.content.open(&context)?;
                let open = Arc::new(OpenFile::new(hold, context, state));
                self.open.insert(ino, Arc::clone(&open));
                open
            }
        };
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if count > self.sweep_at.load(Ordering::Relaxed) {
            self.sweep();
        }
        Ok(open)
    }

    /// Takes a file out of use if nobody uses it and nothing would be lost.
    pub(super) fn release(&self, ino: Ino) {
        let Some(open) = self.open.get(&ino).map(|open| Arc::clone(&open)) else { return };
        // Besides this one, the map has a reference.
        let unused = |open: &Arc<OpenFile<C>>| Arc::strong_count(open) == 2;
        if !unused(&open) || !self.close(&open) {
            return;
        }
        let removed = self.open.remove_if(&ino, |_, known| {
            // Another open file may have taken the place meanwhile.
            let goes = |state: &C::File| {
                let goes = self.content.is_idle(state);
                if goes {
                    self.note_plain(ino, self.content.is_plain(state));
                }
                goes
            };
            Arc::ptr_eq(known, &open)
                && unused(known)
                && known.try_read().is_some_and(|state| goes(&state))
        });
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// In the moment in which the file is not in use any more, so that what is noted last is right.
    fn note_plain(&self, ino: Ino, is_plain: bool) {
        if is_plain {
            self.plain.insert(ino);
        } else {
            self.plain.remove(&ino);
        }
    }

    /// True if users see the lower attributes of a file that is not in use.
    pub(super) fn is_plain(&self, ino: Ino) -> bool {
        self.plain.contains(&ino)
    }

    /// An inode is not known any more.
    pub(super) fn forget(&self, ino: Ino) {
        self.plain.remove(&ino);
    }

    fn close(&self, open: &OpenFile<C>) -> bool {
        let Some(mut state) = open.try_write() else { return false };
        if self.shared.read_only {
            // What was found beside the last commit is found again.
            return true;
        }
        let closed = self.content.close(&mut state);
        if let Err(error) = &closed {
            log::warn!("{} stays in use: {error}", open.path().display());
        }
        closed.is_ok()
    }

    /// Takes the files out of use that were used longest ago, until a quarter of the places is
    /// free.
    fn sweep(&self) {
        // Nobody else starts to sweep meanwhile.
        self.sweep_at.store(usize::MAX, Ordering::Relaxed);
        let mut by_use: Vec<_> =
            self.open.iter().map(|open| (open.last_use(), *open.key())).collect();
        by_use.sort_unstable();
        for (_, ino) in by_use {
            if self.count.load(Ordering::Relaxed) <= MOST_IDLE - MOST_IDLE / 4 {
                break;
            }
            self.release(ino);
        }
        // If most of them are really in use, the next sweep can wait for as many again.
        let left = self.count.load(Ordering::Relaxed);
        self.sweep_at.store((left + left / 8).max(MOST_IDLE), Ordering::Relaxed);
    }

    /// Commits all files; returns those that cannot be, and why.
    pub(super) fn commit_all(&self) -> Vec<String> {
        let open: Vec<_> = self.open.iter().map(|open| Arc::clone(&open)).collect();
        let failed = open.into_iter().filter_map(|open| {
            let error = self.content.commit(&mut open.write()).err()?;
            Some(format!("{}: {error}", open.path().display()))
        });
        failed.collect()
    }

    /// Closes all files, when nobody uses them any more.
    pub(super) fn close_all(&self) {
        for open in &self.open {
            self.close(&open);
        }
        self.open.clear();
        self.count.store(0, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }
}
