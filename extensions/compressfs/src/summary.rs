//! What a stat needs of a file that is not in use, kept where its inode is: an extended attribute that
//! is small enough to lie in it.
//!
//! A summary is there only as long as the content is what it was when it was written: every change of
//! content takes it away first. Because a power cut may take back that and not the change, it also
//! names the length and the time of change that the lower file had, and counts only beside these.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_extension::{Attr, Context, Errno, Error, LowerFile, Result};
use parking_lot::Mutex;

use crate::algorithm::Algorithm;
use crate::kept_ctime::{Keeping, KeptCtime};

/// The extended attribute. `docs/src/reference/format-bytes.md` describes its bytes.
const NAME: &str = "user.hsci.summary";
const VERSION: u8 = 1;
const LEN: usize = 28;
/// With a `ctime` to show.
const CTIME_VERSION: u8 = 2;
const CTIME_LEN: usize = 44;
/// In place of an algorithm: no image was tried.
const UNTRIED: [u8; 2] = [0xff; 2];

/// A file at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Logical length in bytes.
    pub(crate) len: u64,
    /// The algorithm by which a raw file takes no less space.
    pub(crate) tried: Option<Algorithm>,
    lower_len: u64,
    /// Nanoseconds since 1970.
    modified: i64,
    kept_ctime: Option<KeptCtime>,
}

/// The summary of a file in use.
pub(crate) struct Presence {
    /// It may have one that its next change must take away.
    is_possible: AtomicBool,
    /// It, once somebody has looked.
    known: Mutex<Option<Option<Summary>>>,
}

impl Presence {
    pub(crate) fn new(possible: bool) -> Self {
        let known = (!possible).then_some(None);
        Self { is_possible: AtomicBool::new(possible), known: Mutex::new(known) }
    }

    pub(crate) fn is_possible(&self) -> bool {
        self.is_possible.load(Ordering::Relaxed)
    }

    /// The content is about to change.
    pub(crate) fn end(&self, lower: &dyn LowerFile) -> Result<()> {
        if self.is_possible() {
            match remove(lower) {
                // Of what can only be appended to nothing is removed; a summary does not fit what is longer.
                Err(Error::Lower(Errno::PERM)) if lower.is_fixed()? => return Ok(()),
                removed => removed?,
            }
            self.is_possible.store(false, Ordering::Relaxed);
            *self.known.lock() = Some(None);
        }
        Ok(())
    }

    /// Writes the summary of a file whose content nobody changes meanwhile, unless it is there
    /// already. Without one, the file is opened when somebody asks for its length.
    pub(crate) fn begin(
        &self,
        lower: &dyn LowerFile,
        len: u64,
        tried: Option<Algorithm>,
        ctime: Option<SystemTime>,
    ) {
        let written = Summary::now(lower, len, tried).and_then(|summary| {
            let Some(mut summary) = summary else { return Ok(()) };
            let same = |known: Summary| Summary { kept_ctime: None, ..known } == summary;
            if self.is_possible() && Summary::read(lower)?.is_some_and(same) {
                return Ok(());
            }
            summary.kept_ctime = ctime.and_then(KeptCtime::now);
            self.set(lower, summary)
        });
        if let Err(error) = written {
            log::debug!("{NAME}: {error}");
        }
    }

    fn set(&self, lower: &dyn LowerFile, summary: Summary) -> Result<()> {
        self.is_possible.store(true, Ordering::Relaxed);
        let mut known = self.known.lock();
        *known = None;
        summary.write(lower)?;
        *known = Some(Some(summary));
        Ok(())
    }

    /// The `ctime` to show for a file whose lower attributes these are, if that is not theirs.
    pub(crate) fn ctime(&self, lower: &dyn LowerFile, attr: &Attr) -> Option<SystemTime> {
        if !self.is_possible() {
            return None;
        }
        let summary = *self.known.lock().get_or_insert_with(|| Summary::read(lower).ok().flatten());
        summary.filter(|summary| summary.fits(attr))?.ctime(attr)
    }

    /// Attributes of the file have just been changed.
    pub(crate) fn change_ctime(&self, keeping: &Keeping, context: &Context) {
        if self.is_possible() {
            change_ctime(keeping, context);
            *self.known.lock() = None;
        }
    }
}

/// The same, of a file that is not in use: the lower `ctime` is the one to show from now on. Within the window, the one that
/// is written down would be shown.
pub(crate) fn change_ctime(keeping: &Keeping, context: &Context) {
    let lower = &**context.lower();
    let changed = Summary::read(lower).and_then(|summary| {
        let covers = |kept: KeptCtime| kept.covers(SystemTime::now());
        match summary.filter(|summary| summary.kept_ctime.is_some_and(covers)) {
            Some(summary) => {
                keeping.extend();
                let kept_ctime = KeptCtime::now(context.lower_attr()?.ctime);
                Summary { kept_ctime, ..summary }.write(lower)
            }
            None => Ok(()),
        }
    });
    if let Err(error) = changed {
        log::debug!("{NAME}: {error}");
    }
}

/// Takes the summary of a file away, if it has one.
pub(crate) fn remove(lower: &dyn LowerFile) -> Result<()> {
    match lower.remove_attribute(NAME) {
        Err(Error::NoAttribute | Error::Unsupported) => Ok(()),
        done => done,
    }
}

impl Summary {
    /// That of a file as it is; `None` where its times are out of reach.
    fn now(lower: &dyn LowerFile, len: u64, tried: Option<Algorithm>) -> Result<Option<Self>> {
        let (lower_len, modified) = (lower.len()?, nanoseconds(lower.times()?.modified));
        Ok(modified.map(|modified| Self { len, tried, lower_len, modified, kept_ctime: None }))
    }

    /// What is written down, be it right or not.
    pub(crate) fn read(lower: &dyn LowerFile) -> Result<Option<Self>> {
        Ok(lower.attribute(NAME)?.and_then(|value| Self::decode(&value)))
    }

    fn write(&self, lower: &dyn LowerFile) -> Result<()> {
        let len = if self.kept_ctime.is_some() { CTIME_LEN } else { LEN };
        lower.set_attribute(NAME, &self.encode()[..len])
    }

    /// The `ctime` to show for lower attributes that it fits, if that is another one.
    pub(crate) fn ctime(&self, lower: &Attr) -> Option<SystemTime> {
        let kept = self.kept_ctime.filter(|kept| kept.covers(lower.ctime))?;
        Some(time(kept.shown))
    }

    /// True if the lower file is still the one that it was written for.
    pub(crate) fn fits(&self, lower: &Attr) -> bool {
        self.lower_len == lower.size && Some(self.modified) == nanoseconds(lower.mtime)
    }

    /// True if the lower file is the one that its summary was written for, and that one was not raw.
    pub(crate) fn tells_of_image(lower: &dyn LowerFile) -> Result<bool> {
        let Some(summary) = Self::read(lower)? else { return Ok(false) };
        let is_image = summary.len != summary.lower_len && summary.lower_len == lower.len()?;
        Ok(is_image && Some(summary.modified) == nanoseconds(lower.times()?.modified))
    }

    /// In [`LEN`] bytes where there is no `ctime` to show.
    fn encode(&self) -> [u8; CTIME_LEN] {
        let mut value = [0; CTIME_LEN];
        value[0] = VERSION;
        if let Some(kept) = self.kept_ctime {
            value[0] = CTIME_VERSION;
            value[28..36].copy_from_slice(&kept.shown.to_le_bytes());
            value[36..].copy_from_slice(&kept.from.to_le_bytes());
        }
        let tried = self.tried.map_or(UNTRIED, Algorithm::to_bytes);
        value[2..4].copy_from_slice(&tried);
        value[4..12].copy_from_slice(&self.len.to_le_bytes());
        value[12..20].copy_from_slice(&self.lower_len.to_le_bytes());
        value[20..28].copy_from_slice(&self.modified.to_le_bytes());
        value
    }

    /// `None` for what nobody here has written.
    fn decode(value: &[u8]) -> Option<Self> {
        let (version, rest) = value.split_first()?;
        let len = match *version {
            VERSION => LEN,
            CTIME_VERSION => CTIME_LEN,
            _ => return None,
        };
        if value.len() != len || rest[0] != 0 {
            return None;
        }
        let number = |at: usize| value[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let signed = |at| number(at).map(u64::cast_signed);
        let kept_ctime = match *version {
            CTIME_VERSION => Some(KeptCtime { shown: signed(28)?, from: signed(36)? }),
            _ => None,
        };
        let tried = [value[2], value[3]];
        let summary = Self {
            len: number(4)?,
            tried: if tried == UNTRIED { None } else { Some(Algorithm::from_bytes(tried)?) },
            lower_len: number(12)?,
            modified: signed(20)?,
            kept_ctime,
        };
        i64::try_from(summary.len).is_ok().then_some(summary)
    }
}

pub(crate) fn nanoseconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok()?.checked_neg(),
    }
}

fn time(nanoseconds: i64) -> SystemTime {
    let since = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_reads_as_it_was_written_and_nothing_else_does() {
        let kept = KeptCtime { shown: -7, from: 1 << 60 };
        let tried = [None, Some(Algorithm::Zstd(-7)), Some(Algorithm::Lz4)];
        for (tried, kept_ctime) in tried.into_iter().zip([None, Some(kept), None]) {
            let summary = Summary { len: 1 << 40, tried, lower_len: 77, modified: -5, kept_ctime };
            let len = if kept_ctime.is_some() { CTIME_LEN } else { LEN };
            let value = &mut summary.encode()[..len];
            assert_eq!(Summary::decode(value), Some(summary));
            assert_eq!(Summary::decode(&value[1..]), None);
            for (at, byte) in [(0, value[0] ^ 3), (1, 1), (2, 9), (11, 0x80)] {
                let was = std::mem::replace(&mut value[at], byte);
                assert_eq!(Summary::decode(value), None, "byte {at}");
                value[at] = was;
            }
        }
    }

    #[test]
    fn times_before_1970_count() {
        assert_eq!(nanoseconds(UNIX_EPOCH - Duration::from_nanos(3)), Some(-3));
        assert_eq!(nanoseconds(UNIX_EPOCH + Duration::from_secs(u64::MAX >> 2)), None);
    }
}
