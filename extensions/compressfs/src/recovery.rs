//! Brings the store into order at start: images that were committed go into their files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hsci_extension::{Errno, Error, FileId, LowerFile, Result, Store, Times, protection};
use serde::{Deserialize, Serialize};

use crate::choice;
use crate::form::{Awaited, Segments, Source, Stored, Unfinished};
use crate::format;
use crate::journal::{self, Entry, Found, Seen, Writer};
use crate::mark;
use crate::notices;
use crate::summary;
use crate::transfer::{copy, restore_times};

/// How recovery ended: what the process that serves is told by the one that has parsed the journals.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Recovered {
    /// Images that are not in their files; journals keep them.
    left: Vec<Left>,
    /// What is to be said of them, and of images that nobody needs any more.
    said: Vec<(Vec<u8>, String)>,
}

/// Images that a journal keeps.
#[derive(Serialize, Deserialize)]
struct Left {
    journal: String,
    images: Vec<LeftImage>,
}

#[derive(Serialize, Deserialize)]
struct LeftImage {
    file: Vec<u8>,
    base: u64,
    len: u64,
    at: u64,
    log_len: u64,
}

impl LeftImage {
    fn entry(&self) -> Entry {
        let Self { base, len, at, log_len, .. } = *self;
        let times = Times::new(UNIX_EPOCH, UNIX_EPOCH);
        let file = FileId(self.file.clone());
        Entry { file, base, len, at, log_len, times, seen: None, left: true }
    }
}

impl Left {
    fn new(found: &Found, entries: &[Entry]) -> Self {
        let image = |entry: &Entry| {
            let Entry { base, len, at, log_len, .. } = *entry;
            LeftImage { file: entry.file.0.clone(), base, len, at, log_len }
        };
        Self { journal: found.name.clone(), images: entries.iter().map(image).collect() }
    }
}

impl Recovered {
    /// For the process that serves.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::Broken(error.to_string()))
    }

    /// What [`Recovered::to_bytes`] has made, by a process that may have been taken over.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| Error::Broken(format!("recovery: {error}")))
    }

    /// The images that could not be installed, for those who read them where they are.
    pub(crate) fn unfinished(&self, store: &dyn Store) -> Result<Unfinished> {
        let mut unfinished = Unfinished::new();
        for Left { journal, images } in &self.left {
            let file = journal::open(store, journal)?;
            let entries: Vec<Entry> = images.iter().map(LeftImage::entry).collect();
            journal::require_inside(&entries, file.len()?)?;
            for entry in entries {
                unfinished.insert(entry.file.clone(), awaited(&file, &entry));
            }
        }
        Ok(unfinished)
    }

    /// What is to be said of files.
    pub(crate) fn said(self) -> HashMap<FileId, String> {
        self.said.into_iter().map(|(file, text)| (FileId(file), text)).collect()
    }
}

/// What [`recover`] does, or [`look`], as bytes.
pub(crate) fn run(store: &Arc<dyn Store>, read_only: bool) -> Result<Vec<u8>> {
    if read_only { look(&**store)?.to_bytes() } else { recover(store)?.to_bytes() }
}

/// Carries out what committed journals say and removes all journals, and what else was never
/// finished.
pub(crate) fn recover(store: &Arc<dyn Store>) -> Result<Recovered> {
    let (committed, mut gone) = journal::find(&**store)?;
    let (mut kept, mut said) = (Vec::new(), HashMap::new());
    for found in &committed {
        let left = install(&**store, found, &mut said);
        if left.is_empty() {
            gone.push(found.name.clone());
            continue;
        }
        match shorten(store, found, &left) {
            Ok(Some(shorter)) => {
                gone.push(found.name.clone());
                kept.push(Left::new(&shorter, &shorter.entries));
            }
            Ok(None) => kept.push(Left::new(found, &left)),
            Err(error) => {
                log::error!("{}: installed images stay in it: {error}", found.name);
                kept.push(Left::new(found, &left));
            }
        }
    }
    if !committed.is_empty() {
        store.sync_all()?;
    }
    // A user's choice that was cut before it counted.
    gone.extend(store.names()?.into_iter().filter(|name| name == choice::NEW_NAME));
    for name in &gone {
        store.remove(name)?;
    }
    if !gone.is_empty() {
        store.sync_names()?;
    }
    let said = said.into_iter().map(|(FileId(file), text)| (file, text)).collect();
    Ok(Recovered { left: kept, said })
}

/// The images that recovery would install, without touching anything.
pub(crate) fn look(store: &dyn Store) -> Result<Recovered> {
    let (committed, _) = journal::find(store)?;
    let mut left = Vec::new();
    for found in &committed {
        let mut due = Vec::new();
        store.reopen(&ids(found), &mut |place, lower| {
            let entry = &found.entries[place];
            if !matches!(lower.and_then(|lower| is_due(store, found, entry, &lower)), Ok(false)) {
                due.push(entry.clone());
            }
        });
        left.push(Left::new(found, &due));
    }
    Ok(Recovered { left, said: Vec::new() })
}

fn ids(found: &Found) -> Vec<FileId> {
    found.entries.iter().map(|entry| entry.file.clone()).collect()
}

fn awaited(journal: &Arc<dyn LowerFile>, entry: &Entry) -> Awaited {
    let source = Source::new(Arc::clone(journal), entry.base);
    Awaited { source, at: entry.at, len: entry.len, log_len: entry.log_len }
}

/// Installs the images of a journal; returns the entries that are still needed.
fn install(store: &dyn Store, found: &Found, said: &mut HashMap<FileId, String>) -> Vec<Entry> {
    let mut left = Vec::new();
    store.reopen(&ids(found), &mut |place, lower| {
        let entry = &found.entries[place];
        let done = match &lower {
            Ok(lower) => redo(store, found, entry, lower),
            Err(error) => Err(error.clone()),
        };
        match done {
            Ok(true) => {}
            Ok(false) => drop(said.insert(entry.file.clone(), notices::given_up())),
            Err(error) if is_gone(&error) => {
                log::info!("{}: the image of a file that was removed goes with it", found.name);
            }
            Err(error) => {
                let file = lower.as_deref().ok();
                said.insert(entry.file.clone(), notices::waits(file, &error));
                let seen = lower.and_then(|lower| Seen::of(&*lower)).ok();
                left.push(Entry { seen, left: true, ..entry.clone() });
            }
        }
    });
    left
}

/// The file was removed, and its image is not needed.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Lower(Errno::STALE | Errno::NOENT))
}

/// Puts the entries that are left into a journal of their own, so that later starts do not install
/// the others again. None where all of the journal is left, and was at the last start.
fn shorten(store: &Arc<dyn Store>, found: &Found, left: &[Entry]) -> Result<Option<Found>> {
    if left.len() == found.entries.len() && found.entries.iter().all(|entry| entry.left) {
        return Ok(None);
    }
    // What was installed has to be durable before the journal that holds it goes.
    store.sync_all()?;
    Writer::create(store)?.take_over(&*found.file, left).map(Some)
}

/// Installs one image; doing so twice is the same as once. False if the file holds something else now, which
/// it keeps.
fn redo(
    store: &dyn Store,
    found: &Found,
    entry: &Entry,
    lower: &Arc<dyn LowerFile>,
) -> Result<bool> {
    let journal = &*found.file;
    if !is_due(store, found, entry, lower)? {
        return Ok(false);
    }
    let awaited = awaited(&found.file, entry);
    let continues = Segments::before(lower, &awaited)?;
    if protection::stands("whole-images") {
        format::require_whole(journal, entry.base, entry.len, continues)?;
    }
    // What was written to the file's log before the crash stands behind the images. Anything else
    // there is left from the form before.
    let mut stored = Stored::with_awaited(lower, &awaited)?;
    let is_unchanged = stored.log.is_empty() || stored.awaited_log.is_some();
    lower.keep_privileges(true)?;
    // Whatever it says, it is not of this image.
    summary::remove(&**lower)?;
    mark::remove(&**lower)?;
    let before = lower.times()?;
    copy(journal, entry.base, (&**lower, entry.at), entry.len)?;
    stored.install_log(&**lower)?;
    let images_end = entry.at + entry.len;
    let end = if stored.log.is_empty() { images_end } else { stored.log.end() };
    if lower.len()? > end {
        lower.set_len(end)?;
    }
    // Another log is of a caller, whose change has taken the capabilities.
    match is_unchanged {
        true => lower.restore_privileges(),
        false => lower.drop_privileges()?,
    }
    restore_times(&**lower, if is_unchanged { &entry.times } else { &before });
    Ok(true)
}

/// False if a file is not what its image replaces any more: somebody has changed it without a mount.
///
/// Where nothing written can have been lost, the file is as the host left it: untouched, cut to
/// make room for a log, with a log, or in a stored form, be it the old one or the start of the
/// image. After a power cut it may hold anything, for what its image replaces was perhaps never on
/// the disk.
fn is_due(
    store: &dyn Store,
    found: &Found,
    entry: &Entry,
    lower: &Arc<dyn LowerFile>,
) -> Result<bool> {
    let Some(seen) = &entry.seen else { return Ok(true) };
    if !entry.left && found.epoch != Some(store.epoch()) {
        return Ok(true);
    }
    let now = Seen::of(&**lower)?;
    let end = entry.at + entry.len;
    if now == *seen || (!entry.left && (now.len == end || looks_stored(&**lower)?)) {
        return Ok(true);
    }
    match Stored::with_awaited(lower, &awaited(&found.file, entry)) {
        Ok(stored) => stored.has_begun_log(&**lower),
        Err(Error::Lower(errno)) => Err(Error::Lower(errno)),
        // Without a sound image there is nothing to install.
        Err(_) => Ok(true),
    }
}

fn looks_stored(lower: &dyn LowerFile) -> Result<bool> {
    let mut head = [0; format::HEAD_LEN];
    let read = lower.read_at(0, &mut head)?;
    Ok(format::looks_sealed(&head[..read]))
}
