//! Whether a file is worth a new image, and which one.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hsci_extension::{Error, LowerFile, OpenFile, Result, Settled, Whence};

use super::install::shown_ctime;
use crate::algorithm::Algorithm;
use crate::choice::{self, ATTRIBUTE, Origin};
use crate::codec;
use crate::compress::Compress;
use crate::form::{File, Form};
use crate::format::HEAD_LEN;
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
/// A share of a file: once so much is past, it is sealed.
const GROWN_SHARE: u64 = 16;
/// A file that grows is sealed at its start when nothing but its end was written for so many quiet times.
const STEADY_TIMES: u32 = 12;
/// The most bytes that one segment of it gets.
const MAX_GROWN: u64 = 1 << 30;
/// A file of fewer bytes that has grown gets one image.
const MIN_SPLIT: u64 = 1 << 20;
/// Segments of fewer bytes, or of less than such a share of the file, are put together with those after them.
const MIN_SEGMENT: u64 = 8 << 20;
const MAX_SHARES: u64 = 64;
/// What an image has of a chunk beside its frame: two records of its index, and an entry of the seek table.
const RECORDS: u64 = 32;
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
    /// Segments that stay.
    pub(super) kept: Kept,
    /// Where the new image ends; one of a file that grows may end later.
    pub(super) len: u64,
    pub(super) grows: bool,
    /// The last chunk, which is not full, gets a segment of its own, so that more can follow it cheaply.
    pub(super) splits: bool,
    pub(super) algorithm: Algorithm,
    pub(super) chunk_len: u32,
    /// Space that the file takes now, in bytes; a raw file stays raw unless the image takes less.
    pub(super) raw_space: Option<u64>,
}

/// The first segments of a file, to which the new one is added.
#[derive(Clone, Copy, Default)]
pub(super) struct Kept {
    /// Chunks in them.
    pub(super) chunks: u64,
    /// Where they end in the lower file.
    pub(super) end: u64,
    /// Checksum of the last one's header.
    pub(super) checksum: Option<u32>,
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
    // On a file system that is mounted below, a journal could not name it; others cannot be opened for writing.
    if file.lower.id().is_err() || file.lower.is_fixed()? {
        return Ok(None);
    }
    // What the kernel writes by itself changes without a word; so it waits until nobody has it open.
    let unseen =
        || Ok::<_, Error>(compress.settings.passthrough && file.lower.is_open_elsewhere()?);
    if file.is_held() || unseen()? {
        return Err(Error::Busy);
    }
    let len = file.len()?;
    let raw_space = match &file.form {
        Form::Raw if len <= BLOCK => {
            // The length of what is shorter than any image is clear without.
            if len >= HEAD_LEN as u64 {
                file.summarize(&compress.keeping, None, shown_ctime(compress, open, &file));
            }
            return Ok(None);
        }
        Form::Raw => Some(file.lower.blocks()? * 512),
        Form::Stored(_) => None,
        Form::Unreadable(_) => return Ok(None),
    };
    let algorithm = algorithm_of(compress, open, &file)?;
    let chunk_len = chunk_len(compress, len);
    let is_too_long = len.div_ceil(chunk_len.into()) > MAX_CHUNKS;
    compress.notices.note_length(|| open.path(), is_too_long);
    if is_too_long {
        return Ok(None);
    }
    let tried = tried(open, &file)?;
    let wanted = match &file.form {
        form @ Form::Stored(_) => file.renew || needs_image(form, len, algorithm, chunk_len),
        _ => tried != Some(algorithm) && raw_is_worth_it(&*file.lower, len, algorithm)?,
    };
    if !wanted {
        file.summarize(&compress.keeping, tried, shown_ctime(compress, open, &file));
        return Ok(None);
    }
    // Damage may be anywhere.
    let kept = kept(&file.form, len, algorithm, chunk_len).filter(|_| !file.renew);
    if !file.renew && is_mostly_hole(&file.form, len, (algorithm, chunk_len), kept)? {
        return Ok(None);
    }
    if file.lower.is_open_elsewhere()? {
        return Err(in_use());
    }
    file.sealing.store(u64::MAX, Ordering::Relaxed);
    let changes = file.changes;
    let splits = matches!(&file.form, Form::Stored(stored) if len > stored.segments.len())
        && len >= MIN_SPLIT.min(compress.settings.segment);
    let (kept, chunk_len) =
        kept.map_or((Kept::default(), chunk_len), |kept| (kept, own_chunk_len(&file, chunk_len)));
    let plan = Plan {
        open,
        number,
        changes,
        kept,
        len,
        grows: false,
        splits,
        algorithm,
        chunk_len,
        raw_space,
    };
    Ok(Some(plan))
}

/// That of the segments that a file has.
fn own_chunk_len(file: &File, usual: u32) -> u32 {
    match &file.form {
        Form::Stored(stored) => stored.segments.chunk_len() as u32,
        _ => usual,
    }
}

/// The segments that can stay when a file gets a new image for the rest of `len` bytes; `None` if it needs a
/// whole one.
fn kept(form: &Form, len: u64, algorithm: Algorithm, chunk_len: u32) -> Option<Kept> {
    let Form::Stored(stored) = form else { return None };
    let segments = &stored.segments;
    if !segments.are_made_with(algorithm) || segments.chunk_len() < u64::from(chunk_len) / 4 {
        return None;
    }
    let chunk_len = segments.chunk_len();
    let changed = stored.log.first_changed(segments.len(), chunk_len);
    let mut count = segments.count();
    while count > 0 {
        let end = segments.len_of(count);
        let is_whole =
            end.is_multiple_of(chunk_len) && end.div_ceil(chunk_len) <= changed && end < len;
        let last = end - segments.len_of(count - 1);
        let is_small =
            last < MIN_SEGMENT.max(len / MAX_SHARES) && last <= 2 * len.saturating_sub(end);
        if is_whole && !is_small {
            break;
        }
        count -= 1;
    }
    (count > 0 && segments.log_base().0.can_continue()).then(|| Kept {
        chunks: segments.len_of(count) / chunk_len,
        end: segments.end_of(count),
        checksum: segments.checksum_of(count),
    })
}

/// True if the frames of what is a hole after the segments would take more than all that a new image replaces. Then the
/// hole stays what it is in the log, a length, and costs nothing.
fn is_mostly_hole(
    form: &Form,
    len: u64,
    (algorithm, chunk_len): (Algorithm, u32),
    kept: Option<Kept>,
) -> Result<bool> {
    let Form::Stored(stored) = form else { return Ok(false) };
    let (segments, log) = (&stored.segments, &stored.log);
    let written = log.slots.range(segments.chunks()..).count() as u64 * segments.chunk_len();
    let hole = len.saturating_sub(segments.len()).saturating_sub(written);
    let holes = hole / u64::from(chunk_len);
    if holes == 0 {
        return Ok(false);
    }
    let mut frame = Vec::new();
    codec::encode_hole(algorithm.codec(), chunk_len as usize, &mut frame)?;
    let replaced = segments.end() - kept.unwrap_or_default().end + log.stored_len();
    Ok(holes.saturating_mul(frame.len() as u64 + RECORDS) > replaced)
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
            Ok(Some(stored.segments.algorithm()))
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

fn needs_image(file: &Form, len: u64, algorithm: Algorithm, chunk_len: u32) -> bool {
    let Form::Stored(stored) = file else { return false };
    if !stored.segments.are_made_with(algorithm) {
        return true;
    }
    let kept = kept(file, len, algorithm, chunk_len).unwrap_or_default();
    let (log, replaced) = (stored.log.stored_len(), stored.segments.end() - kept.end);
    !stored.log.is_empty() && (replaced <= SMALL_IMAGE || log > replaced / LOG_SHARE)
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
    /// Logical length of a chunk of the file in bytes.
    pub(super) fn len_of_chunk(&self, chunk: u64) -> usize {
        let chunk_len = u64::from(self.chunk_len);
        match self.grows {
            true => self.chunk_len as usize,
            false => (self.len - chunk * chunk_len).min(chunk_len) as usize,
        }
    }

    /// Chunks that the new image has at least.
    pub(super) fn chunks(&self) -> u64 {
        self.len.div_ceil(self.chunk_len.into()) - self.kept.chunks
    }

    /// Where the new image is to end by now. What lies before must not change from now on.
    pub(super) fn goal(&self) -> Result<u64> {
        if !self.grows {
            return Ok(self.len);
        }
        let file = self.read()?;
        let start = self.kept.chunks * u64::from(self.chunk_len);
        let goal =
            past(file.len()?, self.chunk_len).clamp(self.len, self.len.max(start + MAX_GROWN));
        file.sealing.fetch_max(goal, Ordering::Relaxed);
        Ok(goal)
    }

    /// The file, if it is still what the plan was made for. A writer who waits is about to change
    /// that, and at the end of the mount nothing new is begun.
    pub(super) fn read(&self) -> Result<impl Deref<Target = File>> {
        // A file that grows is written all the time.
        if self.open.is_wanted() && (!self.grows || self.open.is_ending()) {
            return Err(Error::Busy);
        }
        let file = self.open.read();
        if file.changes == self.changes { Ok(file) } else { Err(Error::Busy) }
    }
}

/// Where the chunks end that are past: all but the last full one.
fn past(len: u64, chunk_len: u32) -> u64 {
    (len / u64::from(chunk_len)).saturating_sub(1) * u64::from(chunk_len)
}

/// True if a file that is being written has grown by so much that a segment is worth it.
pub(crate) fn has_past(compress: &Compress, file: &File) -> bool {
    let Ok(len) = file.len() else { return false };
    let sealed = match &file.form {
        Form::Raw => 0,
        Form::Stored(stored) => stored.segments.len(),
        Form::Unreadable(_) => return false,
    };
    let settings = &compress.settings;
    let chunk_len = own_chunk_len(file, chunk_len(compress, len));
    past(len, chunk_len) >= sealed.saturating_add(settings.segment.max(len / GROWN_SHARE))
        && file.growth.is_steady(settings.quiet.saturating_mul(STEADY_TIMES))
        && file.growth.is_worth_a_look(len)
        && !file.is_held()
}

/// A plan for what is past of a file that grows.
pub(super) fn plan_past<'a>(
    compress: &Compress,
    open: &'a Arc<OpenFile<Compress>>,
) -> Result<Option<Plan<'a>>> {
    let file = open.read();
    if !has_past(compress, &file) || file.lower.id().is_err() || file.lower.is_fixed()? {
        return Ok(None);
    }
    let len = file.len()?;
    let mut algorithm = algorithm_of(compress, open, &file)?;
    if let Form::Stored(stored) = &file.form
        && stored.segments.algorithm().codec() == algorithm.codec()
    {
        // All of the file is made anew when it rests, and not now.
        algorithm = stored.segments.algorithm();
    }
    let raw_space = match &file.form {
        Form::Raw if !raw_is_worth_it(&*file.lower, len, algorithm)? => return Ok(None),
        Form::Raw => Some(file.lower.blocks()? * 512),
        _ => None,
    };
    if file.lower.is_open_elsewhere()? {
        return Err(in_use());
    }
    let usual = chunk_len(compress, len);
    let kept = kept(&file.form, len, algorithm, usual);
    let chunk_len = if kept.is_some() { own_chunk_len(&file, usual) } else { usual };
    let end = past(len, chunk_len);
    if is_mostly_hole(&file.form, end, (algorithm, chunk_len), kept)? {
        file.growth.decline(len);
        return Ok(None);
    }
    file.sealing.store(end, Ordering::Relaxed);
    Ok(Some(Plan {
        open,
        number: 0,
        changes: file.changes,
        kept: kept.unwrap_or_default(),
        len: end,
        grows: true,
        splits: false,
        algorithm,
        chunk_len,
        raw_space,
    }))
}

/// Remembers that a file is not worth an image.
pub(super) fn remember_tried(compress: &Compress, plan: &Plan<'_>) -> Result<()> {
    let file = plan.read()?;
    match plan.grows {
        true => file.growth.decline(file.len()?),
        false => {
            let ctime = shown_ctime(compress, plan.open, &file);
            file.summarize(&compress.keeping, Some(plan.algorithm), ctime);
        }
    }
    Ok(())
}
