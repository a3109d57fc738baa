//! The forms of a file, a module for each, and the file in use that moves between them.
//!
//! * [`raw`]: the lower bytes are the logical bytes;
//! * [`image`]: *sealed*, compressed chunks;
//! * [`log`]: what was written since behind an image. [`stored`] is an image with its log.
//!
//! `docs/format-why.md` draws what moves a file from one to the next.

mod file;
mod image;
mod log;
pub(crate) mod raw;
mod stored;

use std::collections::HashMap;
use std::sync::Arc;

use hsci_extension::{Error, FileId, LowerFile, Result};

pub(crate) use self::file::{File, Form, Pending};
pub(crate) use self::image::{Image, Source};
pub(crate) use self::stored::Stored;
use crate::journal::Batch;
use crate::mark::Marks;

/// Images that are committed but not yet in their files, by file.
pub(crate) type Unfinished = HashMap<FileId, Source>;

/// Finds out how a file is stored.
pub(crate) fn open(
    lower: &Arc<dyn LowerFile>,
    unfinished: &Unfinished,
    marks: &Marks,
) -> Result<File> {
    let in_journal = match unfinished.is_empty() {
        true => None,
        false => unfinished.get(&lower.id()?).cloned(),
    };
    // Recovery will install the image some day: until then the file has to keep it.
    let batch = in_journal.is_some().then(Batch::committed);
    let source = in_journal.unwrap_or_else(|| Source::new(Arc::clone(lower), 0));
    let head = source.head()?;
    // An image that recovery will install takes the mark away.
    if batch.is_none() && marks.has(&**lower)? {
        return Ok(File::new(Arc::clone(lower), Form::Raw, false).marked());
    }
    let form = match Stored::of_head(&**lower, source, &head) {
        Ok(Some(stored)) => Form::Stored(Box::new(Stored { batch, ..stored })),
        Ok(None) => Form::Raw,
        Err(Error::Lower(errno)) => return Err(Error::Lower(errno)),
        Err(error) => Form::Unreadable(error),
    };
    Ok(File::new(Arc::clone(lower), form, head.is_empty()))
}
