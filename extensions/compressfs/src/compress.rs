//! What the work on all files of a mount has in common.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_extension::{Kernel, Result, Store};
use parking_lot::Mutex;

use crate::algorithm::Algorithm;
use crate::cache::Cache;
use crate::choice::Choices;
use crate::form::Unfinished;
use crate::journal;
use crate::kept_ctime::Keeping;
use crate::mark::Marks;
use crate::notices::Notices;

/// How often it is asked how much space there is, at most, while files are written.
const MIND_AFTER: Duration = Duration::from_secs(1);

/// What the options of the mount say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) algorithm: Algorithm,
    /// Bytes per chunk of new images.
    pub(crate) chunk_len: u32,
    /// How long a file must be quiet before it is compressed.
    pub(crate) quiet: Duration,
    /// How long a change may wait to be committed.
    pub(crate) commit: Duration,
    /// Bytes of a file that grows that are worth a segment.
    pub(crate) segment: u64,
    /// Threads that compress.
    pub(crate) threads: usize,
    /// The kernel may serve files that are stored as they are.
    pub(crate) passthrough: bool,
}

/// The compressing content extension.
pub(crate) struct Compress {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) settings: Settings,
    pub(crate) choices: Arc<Choices>,
    pub(crate) cache: Cache,
    /// Images that recovery could not install; they are served from their journals.
    pub(crate) unfinished: Unfinished,
    pub(crate) marks: Marks,
    pub(crate) notices: Arc<Notices>,
    pub(crate) keeping: Keeping,
    /// Bytes of the disk that batches under way may still take.
    promised: Mutex<u64>,
    /// When the reserve was last adjusted.
    minded: Mutex<Option<Instant>>,
}

/// The most bytes that a batch may take; others may have them when this is dropped.
pub(crate) struct Budget<'a> {
    compress: &'a Compress,
    pub(crate) bytes: u64,
}

impl Compress {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        kernel: Arc<dyn Kernel>,
        settings: Settings,
        choices: Arc<Choices>,
        unfinished: Unfinished,
        marks: Marks,
    ) -> Self {
        Self {
            store,
            kernel,
            settings,
            choices,
            cache: Cache::new(),
            unfinished,
            marks,
            notices: Arc::default(),
            keeping: Keeping::new(),
            promised: Mutex::new(0),
            minded: Mutex::new(None),
        }
    }

    /// Keeps space for the time when none is free; returns what is.
    pub(crate) fn mind_reserve(&self) -> Result<u64> {
        let free = self.store.free_space()?;
        journal::adjust_reserve(&*self.store, free);
        Ok(free)
    }

    /// The same, once in a while.
    pub(crate) fn mind_reserve_sometimes(&self) {
        if let Some(mut minded) = self.minded.try_lock()
            && minded.is_none_or(|minded| minded.elapsed() > MIND_AFTER)
        {
            *minded = Some(Instant::now());
            if let Err(error) = self.mind_reserve() {
                log::debug!("reserve: {error}");
            }
        }
    }

    /// What a batch may take of the disk. Half of what is free is left to those who write meanwhile, and to
    /// other batches.
    pub(crate) fn budget(&self) -> Result<Budget<'_>> {
        let free = self.mind_reserve()?;
        let mut promised = self.promised.lock();
        let bytes = free.saturating_sub(*promised) / 2;
        *promised += bytes;
        Ok(Budget { compress: self, bytes })
    }
}

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        *self.compress.promised.lock() -= self.bytes;
    }
}
