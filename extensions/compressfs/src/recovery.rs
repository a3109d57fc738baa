//! Brings the store into order at start: images that were committed go into their files.

use std::sync::Arc;

use hsci_extension::{Errno, Error, LowerFile, Result, Store};

use crate::choice;
use crate::form::{Source, Stored, Unfinished};
use crate::journal::{self, Entry, Found};
use crate::transfer::{copy, restore_times};

/// Carries out what committed journals say and removes all journals, and what else was never
/// finished. Returns the images that could not be installed; their journals stay.
pub(crate) fn recover(store: &dyn Store) -> Result<Unfinished> {
    let (committed, mut gone) = journal::find(store)?;
    let mut unfinished = Unfinished::new();
    for Found { name, file, entries } in &committed {
        let before = unfinished.len();
        for entry in entries {
            match redo(store, file, entry) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    log::error!("{name}: an image stays in the journal: {error}");
                    unfinished.insert(entry.file.clone(), source(file, entry));
                }
            }
        }
        if unfinished.len() == before {
            gone.push(name.clone());
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
    Ok(unfinished)
}

/// The images that recovery would install, without touching anything.
pub(crate) fn look(store: &dyn Store) -> Result<Unfinished> {
    let (committed, _) = journal::find(store)?;
    let images = committed.iter().flat_map(|found| {
        found.entries.iter().map(|entry| (entry.file.clone(), source(&found.file, entry)))
    });
    Ok(images.collect())
}

fn source(journal: &Arc<dyn LowerFile>, entry: &Entry) -> Source {
    Source::new(Arc::clone(journal), entry.base)
}

/// The file was removed, and its image is not needed.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Lower(Errno::STALE | Errno::NOENT))
}

/// Installs one image; doing so twice is the same as once.
fn redo(store: &dyn Store, journal: &Arc<dyn LowerFile>, entry: &Entry) -> Result<()> {
    let lower = store.reopen(&entry.file)?;
    let before = lower.times()?;
    copy(&**journal, entry.base, &*lower, entry.len)?;
    // What was written to the file's log before the crash stands behind the image. Anything else
    // there is left from the form before.
    let stored = Stored::open(&*lower, Source::new(Arc::clone(&lower), 0))?
        .ok_or_else(|| Error::Damaged("journal: an image without header".to_owned()))?;
    let end = if stored.log.is_empty() { entry.len } else { stored.log.end() };
    if lower.len()? > end {
        lower.set_len(end)?;
    }
    restore_times(&*lower, if stored.log.is_empty() { &entry.times } else { &before });
    Ok(())
}
