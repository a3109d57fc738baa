//! What the work on all files of a mount has in common.

use std::sync::Arc;
use std::time::Duration;

use hsci_extension::Store;

use crate::algorithm::Algorithm;
use crate::cache::Cache;
use crate::choice::Choices;
use crate::form::Unfinished;

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
    /// Threads that compress.
    pub(crate) threads: usize,
}

/// The compressing content extension.
pub(crate) struct Compress {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) settings: Settings,
    pub(crate) choices: Arc<Choices>,
    pub(crate) cache: Cache,
    /// Images that recovery could not install; they are served from their journals.
    pub(crate) unfinished: Unfinished,
}

impl Compress {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        settings: Settings,
        choices: Arc<Choices>,
        unfinished: Unfinished,
    ) -> Self {
        Self { store, settings, choices, cache: Cache::new(), unfinished }
    }
}
