//! Whether a file is worth a new image, and which one.

use std::sync::Arc;

use hsci_extension::{Error, LowerFile, OpenFile, Result, Settled, Whence};

use parking_lot::RwLockReadGuard;

use crate::algorithm::Algorithm;
use crate::choice::{self, ATTRIBUTE, Origin};
use crate::compress::Compress;
use crate::form::{File, Form, Stored};
use crate::format::MAX_CHUNKS;
use crate::ruled;
use crate::summary::Summary;

/// No file of at most this many bytes can be stored in less than it takes.
pub(super) const BLOCK: u64 = 4096;
/// Space beyond its data that a small file may take for its block map and attributes.
const MAP_SPACE: u64 = 64 << 10;
/// Files with more chunks than this get larger chunks, so that the index stays small.
const MANY_CHUNKS: u64 = 1 << 18;
const MAX_CHUNK_LEN: u32 = 1 << 20;
/// A log of more than this share of its image is compacted; a small image always is.
const LOG_SHARE: u64 = 8;
const SMALL_IMAGE: u64 = 64 << 20;

/// A new image to be made.
pub(super) struct Plan<'a> {
    pub(super) open: &'a Arc<OpenFile<Compress>>,
    /// The number of the file among those that are settled.
    pub(super) number: usize,
    /// The state of the file that the image is to show.
    pub(super) changes: u64,
    pub(super) len: u64,
    pub(super) algorithm: Algorithm,
    pub(super) chunk_len: u32,
    /// Space that the file takes now, in bytes; a raw file stays raw unless the image takes less.
    pub(super) raw_space: Option<u64>,
}

/// Looks at a file; an answer instead of a plan if there is nothing to do.
pub(super) fn plan<'a>(
    compress: &Compress,
    open: &'a Arc<OpenFile<Compress>>,
    number: usize,
) -> Result<Plan<'a>, Settled> {
    match try_plan(compress, open, number) {
        Ok(plan) => plan.ok_or(Settled::Unchanged),
        Err(error) => Err(super::answer(error)),
    }
}

fn try_plan<'a>(
    compress: &Compress,
    open: &'a Arc<OpenFile<Compress>>,
    number: usize,
) -> Result<Option<Plan<'a>>> {
    let file = open.read();
    // What the kernel writes by itself changes without a word; so it waits until nobody has it open.
    let unseen =
        || Ok::<_, Error>(compress.settings.passthrough && file.lower.is_open_elsewhere()?);
    if file.is_held() || unseen()? {
        return Err(Error::Busy);
    }
    // On a file system that is mounted below, a journal could not name it; others cannot be written.
    if file.lower.id().is_err() || file.lower.is_fixed()? {
        return Ok(None);
    }
    let len = file.len()?;
    let raw_space = match &file.form {
        Form::Raw if len <= BLOCK => {
            file.summarize(None);
            return Ok(None);
        }
        Form::Raw => Some(file.lower.blocks()? * 512),
        Form::Stored(_) => None,
        Form::Unreadable(_) => return Ok(None),
    };
    let algorithm = algorithm_of(compress, open, &file)?;
    let chunk_len = chunk_len(compress, len);
    if len.div_ceil(chunk_len.into()) > MAX_CHUNKS {
        return Ok(None);
    }
    let tried = tried(open, &file)?;
    let wanted = match &file.form {
        Form::Stored(stored) => file.renew || needs_image(stored, algorithm),
        _ => tried != Some(algorithm) && raw_is_worth_it(&*file.lower, len, algorithm)?,
    };
    if !wanted {
        file.summarize(tried);
        return Ok(None);
    }
    if file.lower.is_open_elsewhere()? {
        return Err(in_use());
    }
    let changes = file.changes;
    let plan = Plan { open, number, changes, len, algorithm, chunk_len, raw_space };
    Ok(Some(plan))
}

/// A program that has the lower file open would go on with the bytes of the old form.
pub(super) fn in_use() -> Error {
    Error::InUse("a program has had it open since before the mount".to_owned())
}

/// What rules for a file. One whose writer nobody remembers keeps what it has: the choice of its
/// writer ruled when it was made.
fn algorithm_of(compress: &Compress, open: &OpenFile<Compress>, file: &File) -> Result<Algorithm> {
    let attribute = |value: Option<Vec<u8>>| value.map(|value| choice::parse(&value)).transpose();
    let said = |origin| match (origin, &file.form) {
        (Origin::File, _) => attribute(open.xattr(ATTRIBUTE)?),
        (Origin::Directory, _) => attribute(open.inherited_xattr(ATTRIBUTE)?),
        (Origin::Policy, _) => match (file.ruled, file.writer) {
            (None, None) => ruled::read(open),
            (ruled, _) => Ok(ruled),
        },
        (Origin::User, Form::Stored(_)) => {
            Ok(file.writer.and_then(|writer| compress.choices.of(writer)))
        }
        (Origin::User, _) => {
            let writer = match file.writer {
                Some(writer) => writer,
                None => open.lower_attr()?.uid,
            };
            Ok(compress.choices.of(writer))
        }
        (Origin::Stored, Form::Stored(stored)) if file.writer.is_none() => {
            Ok(Some(stored.image.algorithm()))
        }
        (Origin::Stored, _) => Ok(None),
    };
    let chosen = choice::decide(said)?;
    Ok(chosen.map_or(compress.settings.algorithm, |(algorithm, _)| algorithm))
}

fn chunk_len(compress: &Compress, len: u64) -> u32 {
    let usual = compress.settings.chunk_len;
    if len.div_ceil(usual.into()) > MANY_CHUNKS { MAX_CHUNK_LEN.max(usual) } else { usual }
}

fn needs_image(stored: &Stored, algorithm: Algorithm) -> bool {
    if stored.image.algorithm() != algorithm {
        return true;
    }
    let (log, image) = (stored.log.stored_len(), stored.image.stored_len());
    !stored.log.is_empty() && (image <= SMALL_IMAGE || log > image / LOG_SHARE)
}

/// The algorithm by which a raw file was not worth an image.
fn tried(open: &OpenFile<Compress>, file: &File) -> Result<Option<Algorithm>> {
    if !file.summary.is_possible() {
        return Ok(None);
    }
    match Summary::read(&*file.lower)? {
        Some(summary) if matches!(file.form, Form::Raw) && summary.fits(&open.lower_attr()?) => {
            Ok(summary.tried)
        }
        _ => Ok(None),
    }
}

fn raw_is_worth_it(lower: &dyn LowerFile, len: u64, algorithm: Algorithm) -> Result<bool> {
    Ok(algorithm != Algorithm::None && !is_preallocated(lower, len)?)
}

/// True if somebody asked for space that holds no data yet. They would lose it.
fn is_preallocated(lower: &dyn LowerFile, len: u64) -> Result<bool> {
    let space = lower.blocks()? * 512;
    let whole = len.next_multiple_of(BLOCK);
    let behind = space > whole + MAP_SPACE.max(whole / 64);
    Ok(behind || (space >= whole && lower.seek(0, Whence::Hole)? < len))
}

impl Plan<'_> {
    /// Logical length of a chunk of the new image in bytes.
    pub(super) fn len_of_chunk(&self, chunk: u64) -> usize {
        let chunk_len = u64::from(self.chunk_len);
        (self.len - chunk * chunk_len).min(chunk_len) as usize
    }

    /// The file, if it is still what the plan was made for. A writer who waits is about to change
    /// that, and at the end of the mount nothing new is begun.
    pub(super) fn read(&self) -> Result<RwLockReadGuard<'_, File>> {
        if self.open.is_wanted() {
            return Err(Error::Busy);
        }
        let file = self.open.read();
        if file.changes == self.changes { Ok(file) } else { Err(Error::Busy) }
    }
}

/// Remembers that a file is not worth an image.
pub(super) fn remember_tried(plan: &Plan<'_>) -> Result<()> {
    plan.read()?.summarize(Some(plan.algorithm));
    Ok(())
}
