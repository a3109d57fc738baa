//! Files whose bytes are the user's own, whatever they look like.
//!
//! What the host writes never looks like an image ([`settle::escape`](crate::settle)). What the kernel writes by itself
//! may: a file that it serves carries a mark, from before its first byte on until it gets an image. Only stores in which
//! that ever happened are asked for marks, so others pay nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use hsci_extension::{Errno, Error, LowerFile, Result, Store};

use crate::format::STORE_VERSION;

/// The extended attribute. `docs/src/reference/format-bytes.md` names it.
const NAME: &str = "user.hsci.raw";
/// The file in the store that says that there may be marks.
const IN_USE: &str = "marks";

/// Whether files of a store may have marks.
pub(crate) struct Marks(AtomicBool);

impl Marks {
    pub(crate) fn load(store: &dyn Store) -> Result<Self> {
        Ok(Self(AtomicBool::new(store.names()?.iter().any(|name| name == IN_USE))))
    }

    /// From now on files may have marks.
    fn begin(&self, store: &dyn Store) -> Result<()> {
        if !self.0.load(Ordering::Acquire) {
            store.bring_forward(STORE_VERSION)?;
            match store.create(IN_USE) {
                Ok(_) | Err(Error::Lower(Errno::EXIST)) => store.sync_names()?,
                Err(error) => return Err(error),
            }
            self.0.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(crate) fn set(&self, store: &dyn Store, lower: &dyn LowerFile) -> Result<()> {
        self.begin(store)?;
        lower.set_attribute(NAME, b"1")
    }

    pub(crate) fn has(&self, lower: &dyn LowerFile) -> Result<bool> {
        Ok(self.0.load(Ordering::Acquire) && lower.attribute(NAME)?.is_some())
    }
}

/// The file gets an image, and looks like what it is again.
pub(crate) fn remove(lower: &dyn LowerFile) -> Result<()> {
    match lower.remove_attribute(NAME) {
        Err(Error::NoAttribute | Error::Unsupported) => Ok(()),
        done => done,
    }
}
