//! The forms of a file, a module for each, and the file in use that moves between them.
//!
//! * [`raw`]: the lower bytes are the logical bytes;
//! * [`image`]: *sealed*, compressed chunks; [`segments`] are several, one after another;
//! * [`log`]: what was written since behind an image. [`stored`] is an image with its log.
//!
//! `docs/format-why.md` draws what moves a file from one to the next.

mod awaited_log;
mod file;
mod growth;
mod image;
mod log;
pub(crate) mod raw;
mod segments;
mod stored;

use std::collections::HashMap;
use std::sync::Arc;

use hsci_extension::{Error, FileId, LowerFile, Result};

pub(crate) use self::awaited_log::AwaitedLog;
pub(crate) use self::file::{File, Form, Pending};
pub(crate) use self::image::Source;
pub(crate) use self::segments::{Awaited, Segments};
pub(crate) use self::stored::Stored;
use crate::journal::Batch;
use crate::mark::Marks;
use crate::summary::Summary;

/// Images that are committed but not yet in their files, by file.
pub(crate) type Unfinished = HashMap<FileId, Awaited>;

/// What is wrong with a file that was sealed, and does not look like it any more.
pub(crate) fn lost_head() -> Error {
    Error::Damaged("header: it is lost".to_owned())
}

fn is_blank(head: &[u8]) -> bool {
    !head.is_empty() && head.iter().all(|byte| *byte == 0)
}

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
    // An image that recovery will install takes the mark away.
    if in_journal.is_none() && marks.has(&**lower)? {
        return Ok(File::new(Arc::clone(lower), Form::Raw, false).marked());
    }
    let head = Source::new(Arc::clone(lower), 0).head()?;
    let found = match in_journal {
        Some(awaited) => Stored::with_awaited(lower, &awaited).map(Some),
        None => Stored::of_head(lower, &head),
    };
    let form = match found {
        Ok(Some(stored)) => Form::Stored(Box::new(Stored { batch, ..stored })),
        // Asked where it costs no other file a call: a sector that a disk has lost reads as zeros.
        Ok(None) if is_blank(&head) && Summary::tells_of_image(&**lower)? => {
            Form::Unreadable(lost_head())
        }
        Ok(None) => Form::Raw,
        Err(Error::Lower(errno)) => return Err(Error::Lower(errno)),
        Err(error) => Form::Unreadable(error),
    };
    Ok(File::new(Arc::clone(lower), form, head.is_empty()))
}
