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
//! `docs/src/reference/format-bytes.md` has the bytes.

mod record;
mod reserve;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hsci_extension::{Credentials, Errno, Error, LowerFile, Result, Store};
use parking_lot::{Condvar, Mutex};

pub(crate) use record::{Entry, Seen, require_inside};
pub(crate) use reserve::adjust as adjust_reserve;

use crate::format::STORE_VERSION;
use crate::transfer::copy;

const PREFIX: &str = "journal-";
/// Images start at multiples of this.
const ALIGNMENT: u64 = 4096;

/// A journal that is being written.
pub(crate) struct Writer {
    store: Arc<dyn Store>,
    name: String,
    file: Arc<dyn LowerFile>,
    end: u64,
    /// Up to there it is durable.
    synced: u64,
    /// Whether the file stays when the writer goes: it may count, or is removed already.
    stays: bool,
    /// What it has taken of the reserve, to go after the file.
    _taken: Option<reserve::Taken>,
}

impl Writer {
    /// Starts an empty journal, under a name that none had before: one that is still needed is
    /// never written over.
    pub(crate) fn create(store: &Arc<dyn Store>) -> Result<Self> {
        store.bring_forward(STORE_VERSION)?;
        loop {
            let name = Self::new_name();
            match store.create(&name) {
                Ok(file) => {
                    let store = Arc::clone(store);
                    return Ok(Self {
                        store,
                        name,
                        file,
                        end: 0,
                        synced: 0,
                        stays: false,
                        _taken: None,
                    });
                }
                Err(Error::Lower(Errno::EXIST)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn new_name() -> String {
        format!("{PREFIX}{:016x}", RandomState::new().hash_one(0))
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
        self.file.write_at(Credentials::HOST, self.end, bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Leaves a hole of so many bytes.
    pub(crate) fn skip(&mut self, len: u64) {
        self.end += len;
    }

    /// Takes everything from `end` on back.
    pub(crate) fn rewind(&mut self, end: u64) -> Result<()> {
        self.end = end;
        self.synced = self.synced.min(end);
        self.file.set_len(end)
    }

    /// Makes durable what was appended, so that the commit is quick.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.file.sync(true)?;
        self.synced = self.end;
        Ok(())
    }

    /// Commits the given images. From success on, they are what the files hold.
    pub(crate) fn commit(&mut self, entries: &[Entry]) -> Result<()> {
        // A power cut may leave the record of what is synced together with it, and not that.
        if self.synced != self.end {
            self.sync()?;
        }
        self.stays = true;
        let record = record::encode(self.store.epoch(), entries, self.end);
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

    /// Commits images that another journal holds; returns what recovery would find.
    pub(crate) fn take_over(mut self, from: &dyn LowerFile, entries: &[Entry]) -> Result<Found> {
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let base = self.align();
            copy(from, entry.base, (&*self.file, base), entry.total_len())?;
            self.end += entry.total_len();
            taken.push(Entry { base, ..entry.clone() });
        }
        self.sync()?;
        self.commit(&taken)?;
        let (name, file) = (self.name.clone(), Arc::clone(&self.file));
        Ok(Found { name, file, epoch: Some(self.store.epoch()), entries: taken })
    }

    /// Makes sure that a journal never counts which may hold a commit record, or a part of one.
    fn void(&mut self) -> Result<()> {
        self.file.set_len(0)?;
        self.file.sync(false)?;
        self.stays = false;
        Ok(())
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
    pub(crate) epoch: Option<u64>,
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
            Some(record) => {
                let (epoch, entries) = (record.epoch, record.entries);
                committed.push(Found { name, file, epoch, entries });
            }
            None => torn.push(name),
        }
    }
    Ok((committed, torn))
}

/// Opens a journal that somebody names.
pub(crate) fn open(store: &dyn Store, name: &str) -> Result<Arc<dyn LowerFile>> {
    match name.starts_with(PREFIX) {
        true => store.open(name, false),
        false => Err(Error::Broken(format!("{name}: is no journal"))),
    }
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
    /// The commit failed, and whether the journal counts at the next start is not known: nobody may
    /// change the files, which hold the same either way.
    Doubtful,
    /// The batch failed; the files are what they were.
    Aborted,
    /// The images are installed and durable; the journal is gone.
    Done,
}

/// A batch, shared by its files and the thread that settles them.
pub(crate) struct Batch {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// Which files are still in it.
    stayed: Vec<bool>,
    /// The journal, while it is doubtful.
    journal: Option<Writer>,
}

impl Batch {
    pub(crate) fn new(files: usize) -> Arc<Self> {
        Self::in_phase(Phase::Open, files)
    }

    /// A batch that was committed long ago, and whose journal stays for now.
    pub(crate) fn committed() -> Arc<Self> {
        Self::in_phase(Phase::Committed, 0)
    }

    fn in_phase(phase: Phase, files: usize) -> Arc<Self> {
        let state = State { phase, stayed: vec![true; files], journal: None };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// A file is about to change: takes it out of the batch. False if it is too late, and the
    /// file's new image holds. Waits while that is being decided; an error if it cannot be.
    pub(crate) fn withdraw(&self, file: usize) -> Result<bool> {
        let mut state = self.state.lock();
        while state.phase == Phase::Committing {
            self.changed.wait(&mut state);
        }
        match state.phase {
            Phase::Open => state.stayed[file] = false,
            Phase::Doubtful => state.void()?,
            Phase::Aborted => {}
            Phase::Committing | Phase::Committed | Phase::Done => return Ok(false),
        }
        Ok(true)
    }

    /// Closes the batch; returns which files are still in it.
    pub(crate) fn close(&self) -> Vec<bool> {
        let mut state = self.state.lock();
        state.phase = Phase::Committing;
        state.stayed.clone()
    }

    /// Commits the batch, which is closed, with the images of its files. If that fails, they are what
    /// they were.
    pub(crate) fn commit(&self, mut journal: Writer, entries: &[Entry]) -> Result<Writer> {
        let committed = journal.commit(entries);
        let mut state = self.state.lock();
        self.changed.notify_all();
        if let Err(error) = committed {
            (state.phase, state.journal) = (Phase::Doubtful, Some(journal));
            if let Err(again) = state.void() {
                log::error!("files cannot be written until a journal can be voided: {again}");
            }
            return Err(error);
        }
        state.phase = Phase::Committed;
        Ok(journal)
    }

    /// The journal is gone.
    pub(crate) fn finish(&self) {
        self.state.lock().phase = Phase::Done;
    }

    /// True while a crash would make recovery overwrite the batch's files with their images.
    pub(crate) fn holds_files(&self) -> bool {
        !matches!(self.state.lock().phase, Phase::Done | Phase::Aborted)
    }
}

impl State {
    /// Ends the doubt.
    fn void(&mut self) -> Result<()> {
        if let Some(journal) = &mut self.journal {
            journal.void()?;
        }
        (self.phase, self.journal) = (Phase::Aborted, None);
        Ok(())
    }
}
