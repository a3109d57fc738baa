//! The journal: how files change their form and keep their inode.
//!
//! New images of a batch of files are written to a journal file first. One record behind them
//! commits the batch; only then is each lower file overwritten with its image. Whatever happens
//! meanwhile, either the record is whole and the images can be written once more, or no lower
//! file was touched.
//!
//! ```text
//! image, image, ...        each one aligned to 4096 bytes
//! record                   one entry for each image
//! footer (40 bytes)        where the record lies, and checksums: the last bytes of the file
//! ```
//! `docs/format-bytes.md` has the bytes.

mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_extension::{LowerFile, Result, Store};
use parking_lot::{Condvar, Mutex};

pub(crate) use record::Entry;

const PREFIX: &str = "journal-";
/// Images start at multiples of this.
const ALIGNMENT: u64 = 4096;

/// A journal that is being written.
pub(crate) struct Writer {
    store: Arc<dyn Store>,
    name: String,
    file: Arc<dyn LowerFile>,
    end: u64,
    /// Whether the file stays when the writer goes: it may count, or is removed already.
    stays: bool,
}

impl Writer {
    /// Starts an empty journal.
    pub(crate) fn create(store: &Arc<dyn Store>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let file = store.open(&name, true)?;
        let writer = Self { store: Arc::clone(store), name, file, end: 0, stays: false };
        writer.file.set_len(0)?;
        Ok(writer)
    }

    pub(crate) fn file(&self) -> &Arc<dyn LowerFile> {
        &self.file
    }

    /// Where the next byte goes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Begins an image; returns where it starts.
    pub(crate) fn align(&mut self) -> u64 {
        self.end = self.end.next_multiple_of(ALIGNMENT);
        self.end
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(self.end, bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Takes everything from `end` on back.
    pub(crate) fn rewind(&mut self, end: u64) -> Result<()> {
        self.end = end;
        self.file.set_len(end)
    }

    /// Makes the images durable, so that the commit is quick.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync(true)
    }

    /// Commits the given images. From success on, they are what the files hold.
    pub(crate) fn commit(&mut self, entries: &[Entry]) -> Result<()> {
        self.stays = true;
        let record = record::encode(entries, self.end);
        self.append(&record)?;
        self.file.sync(false)?;
        // The record counts only if the name that leads to it survives as well.
        self.store.sync_names()
    }

    /// Removes the journal: its images are installed and durable, or nobody wants them.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.stays = true;
        self.store.remove(&self.name)?;
        self.store.sync_names()
    }

    /// Removes a journal that may hold a part of a commit record, so that it never counts.
    pub(crate) fn abandon(self) -> Result<()> {
        self.file.set_len(0)?;
        self.file.sync(false)?;
        self.remove()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = self.store.remove(&self.name)
        {
            log::warn!("a journal that nobody needs stays until the next start: {error}");
        }
    }
}

/// A committed journal, found at start.
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn LowerFile>,
    pub(crate) entries: Vec<Entry>,
}

/// All journals in the store: the committed ones, and the names of those that never were.
pub(crate) fn find(store: &dyn Store) -> Result<(Vec<Found>, Vec<String>)> {
    let (mut committed, mut torn) = (Vec::new(), Vec::new());
    let mut names = store.names()?;
    names.retain(|name| name.starts_with(PREFIX));
    names.sort();
    for name in names {
        let file = store.open(&name, false)?;
        match record::read(&*file)? {
            Some(entries) => committed.push(Found { name, file, entries }),
            None => torn.push(name),
        }
    }
    Ok((committed, torn))
}

/// How far a batch of files on its way to another form has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Images are being written; every file may still step back.
    Open,
    /// The commit record is on its way; whoever wants to change a file of the batch waits.
    Committing,
    /// The images are what the files hold; the journal is needed.
    Committed,
    /// The batch failed; the files are what they were.
    Aborted,
    /// The images are installed and durable; the journal is gone.
    Done,
}

/// A batch, shared by its files and the thread that settles them.
pub(crate) struct Batch {
    state: Mutex<(Phase, Vec<bool>)>,
    changed: Condvar,
}

impl Batch {
    pub(crate) fn new(files: usize) -> Arc<Self> {
        let state = Mutex::new((Phase::Open, vec![true; files]));
        Arc::new(Self { state, changed: Condvar::new() })
    }

    /// A batch that was committed long ago, and whose journal stays for now.
    pub(crate) fn committed() -> Arc<Self> {
        let state = Mutex::new((Phase::Committed, Vec::new()));
        Arc::new(Self { state, changed: Condvar::new() })
    }

    /// A file is about to change: takes it out of the batch. False if it is too late, and the
    /// file's new image holds. Waits while that is being decided.
    pub(crate) fn withdraw(&self, file: usize) -> bool {
        let mut state = self.state.lock();
        while state.0 == Phase::Committing {
            self.changed.wait(&mut state);
        }
        match state.0 {
            Phase::Open => state.1[file] = false,
            Phase::Aborted => {}
            _ => return false,
        }
        true
    }

    /// Closes the batch; returns which files are still in it.
    pub(crate) fn close(&self) -> Vec<bool> {
        let mut state = self.state.lock();
        state.0 = Phase::Committing;
        state.1.clone()
    }

    /// Tells whether the commit went well.
    pub(crate) fn decide(&self, committed: bool) {
        self.state.lock().0 = if committed { Phase::Committed } else { Phase::Aborted };
        self.changed.notify_all();
    }

    /// The journal is gone.
    pub(crate) fn finish(&self) {
        self.state.lock().0 = Phase::Done;
    }

    /// True while a crash would make recovery overwrite the batch's files with their images.
    pub(crate) fn holds_files(&self) -> bool {
        !matches!(self.state.lock().0, Phase::Done | Phase::Aborted)
    }
}
