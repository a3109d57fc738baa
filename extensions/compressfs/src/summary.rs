//! What a stat needs of a file that is not in use, kept where its inode is: an extended attribute that
//! is small enough to lie in it.
//!
//! A summary is there only as long as the content is what it was when it was written: every change of
//! content takes it away first. Because a power cut may take back that and not the change, it also
//! names the length and the time of change that the lower file had, and counts only beside these.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hsci_extension::{Attr, Errno, Error, LowerFile, Result};

use crate::algorithm::Algorithm;

/// The extended attribute. `docs/src/reference/format-bytes.md` describes its bytes.
const NAME: &str = "user.hsci.summary";
const VERSION: u8 = 1;
const LEN: usize = 28;
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
}

/// Whether a file in use may have a summary that its next change must take away.
pub(crate) struct Presence(AtomicBool);

impl Presence {
    pub(crate) fn new(possible: bool) -> Self {
        Self(AtomicBool::new(possible))
    }

    pub(crate) fn is_possible(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The content is about to change.
    pub(crate) fn end(&self, lower: &dyn LowerFile) -> Result<()> {
        if self.is_possible() {
            match remove(lower) {
                // Of what can only be appended to nothing is removed; a summary does not fit what is longer.
                Err(Error::Lower(Errno::PERM)) if lower.is_fixed()? => return Ok(()),
                removed => removed?,
            }
            self.0.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the summary of a file whose content nobody changes meanwhile, unless it is there
    /// already. Without one, the file is opened when somebody asks for its length.
    pub(crate) fn begin(&self, lower: &dyn LowerFile, len: u64, tried: Option<Algorithm>) {
        let written = Summary::now(lower, len, tried).and_then(|summary| {
            let Some(summary) = summary else { return Ok(()) };
            if self.is_possible() && Summary::read(lower)? == Some(summary) {
                return Ok(());
            }
            self.0.store(true, Ordering::Relaxed);
            lower.set_attribute(NAME, &summary.encode())
        });
        if let Err(error) = written {
            log::debug!("{NAME}: {error}");
        }
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
        Ok(modified.map(|modified| Self { len, tried, lower_len, modified }))
    }

    /// What is written down, be it right or not.
    pub(crate) fn read(lower: &dyn LowerFile) -> Result<Option<Self>> {
        Ok(lower.attribute(NAME)?.and_then(|value| Self::decode(&value)))
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

    fn encode(&self) -> [u8; LEN] {
        let mut value = [0; LEN];
        value[0] = VERSION;
        let tried = self.tried.map_or(UNTRIED, Algorithm::to_bytes);
        value[2..4].copy_from_slice(&tried);
        value[4..12].copy_from_slice(&self.len.to_le_bytes());
        value[12..20].copy_from_slice(&self.lower_len.to_le_bytes());
        value[20..].copy_from_slice(&self.modified.to_le_bytes());
        value
    }

    /// `None` for what nobody here has written.
    fn decode(value: &[u8]) -> Option<Self> {
        let value: &[u8; LEN] = value.try_into().ok()?;
        let number = |at: usize| value[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let tried = [value[2], value[3]];
        let summary = Self {
            len: number(4)?,
            tried: if tried == UNTRIED { None } else { Some(Algorithm::from_bytes(tried)?) },
            lower_len: number(12)?,
            modified: number(20)?.cast_signed(),
        };
        let is_known = value[..2] == [VERSION, 0] && i64::try_from(summary.len).is_ok();
        is_known.then_some(summary)
    }
}

fn nanoseconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok()?.checked_neg(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_summary_reads_as_it_was_written_and_nothing_else_does() {
        for tried in [None, Some(Algorithm::Zstd(-7)), Some(Algorithm::Lz4)] {
            let summary = Summary { len: 1 << 40, tried, lower_len: 77, modified: -5 };
            let mut value = summary.encode();
            assert_eq!(Summary::decode(&value), Some(summary));
            assert_eq!(Summary::decode(&value[1..]), None);
            for (at, byte) in [(0, 2), (1, 1), (2, 9), (11, 0x80)] {
                let was = std::mem::replace(&mut value[at], byte);
                assert_eq!(Summary::decode(&value), None, "byte {at}");
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
