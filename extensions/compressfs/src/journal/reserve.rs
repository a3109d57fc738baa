//! Space that is kept for a journal, so that a full store can still be made smaller.
//!
//! It is the space of a file without content, taken while little is left and given back when there is plenty. The
//! journal that needs it becomes that file, and when it goes, as much is taken again: what it has installed has
//! made room.

use std::sync::Arc;

use hsci_extension::{Credentials, Errno, Error, LowerFile, Result, Store};

use super::Writer;
use crate::format::STORE_VERSION;

const NAME: &str = "reserve";
/// What is kept at most, and at least; an image that does not fit has to wait.
const MOST: u64 = 32 << 20;
const LEAST: u64 = 256 << 10;
/// With less than this free, a share of it is kept; with more than the other, all is given back.
const SCARCE: u64 = 2 << 30;
const PLENTY: u64 = 4 << 30;
const SHARE: u64 = 16;

/// Keeps some of the space that is free, or gives it back. Nothing depends on it.
pub(crate) fn adjust(store: &dyn Store, free: u64) {
    let adjusted = match free {
        ..SCARCE => keep(store, (free / SHARE).min(MOST)),
        PLENTY.. => give_back(store),
        _ => Ok(()),
    };
    if let Err(error) = adjusted {
        log::debug!("reserve: {error}");
    }
}

/// Keeps at least so many bytes, if there are so many.
fn keep(store: &dyn Store, len: u64) -> Result<()> {
    if len < LEAST {
        return Ok(());
    }
    let file = store.open(NAME, true)?;
    if space(&*file)? >= len {
        return Ok(());
    }
    file.reserve(Credentials::HOST, 0, len).or_else(|error| {
        if space(&*file)? < LEAST {
            store.remove(NAME)?;
        }
        Err(error)
    })
}

fn give_back(store: &dyn Store) -> Result<()> {
    // Looking changes nothing, not even where there is nothing to give back.
    if store.names()?.iter().any(|name| name == NAME) {
        store.remove(NAME)?;
    }
    Ok(())
}

fn space(file: &dyn LowerFile) -> Result<u64> {
    Ok(file.blocks()? * 512)
}

/// Bytes that a journal holds in the reserve, and which are kept again when it is gone.
pub(super) struct Taken {
    store: Arc<dyn Store>,
    len: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut len = self.len;
        // Somebody may have been faster, and left less.
        while len >= LEAST && keep(&*self.store, len).is_err() {
            len /= 2;
        }
    }
}

impl Writer {
    /// Starts an empty journal in the reserve, if that holds more than `free` bytes; returns also how many it holds.
    pub(crate) fn in_reserve(store: &Arc<dyn Store>, free: u64) -> Result<Option<(Self, u64)>> {
        if free >= MOST {
            return Ok(None);
        }
        let is_missing = |error: &Error| matches!(error, Error::Lower(Errno::NOENT));
        let file = match store.open(NAME, false) {
            Err(error) if is_missing(&error) => return Ok(None),
            opened => opened?,
        };
        let len = space(&*file)?;
        if len <= free {
            return Ok(None);
        }
        store.bring_forward(STORE_VERSION)?;
        let name = Self::new_name();
        match store.rename(NAME, &name) {
            // Another batch has it.
            Err(error) if is_missing(&error) => return Ok(None),
            renamed => renamed?,
        }
        let _taken = Some(Taken { store: Arc::clone(store), len });
        let store = Arc::clone(store);
        Ok(Some((Self { store, name, file, end: 0, synced: 0, stays: false, _taken }, len)))
    }
}
