//! A log that lies in a journal, together with the images that it follows, until it is in its file.

use std::sync::Arc;

use hsci_extension::{Credentials, Error, FileId, LowerFile, Result, Times, Whence};

use super::segments::{Awaited, Segments};
use crate::format::HEAD_LEN;
use crate::format::log::ALIGNMENT;
use crate::transfer::copy;

/// The log, read as if it were in its file already.
pub(crate) struct AwaitedLog {
    journal: Arc<dyn LowerFile>,
    /// Where it lies in the journal.
    base: u64,
    len: u64,
    /// Where the images lie in the journal and in the lower file.
    images: (u64, u64),
    /// Where they end in the lower file, and the log begins.
    images_end: u64,
    start: u64,
}

impl AwaitedLog {
    /// That of images in a journal; `None` if they have none.
    pub(crate) fn of(awaited: &Awaited, segments: &Segments) -> Option<Self> {
        let (header, base) = segments.log_base();
        let start = header.log_start(base);
        let Awaited { source, at, len, log_len } = awaited;
        (*log_len > 0).then(|| Self {
            journal: Arc::clone(&source.file),
            base: (source.base + len).next_multiple_of(ALIGNMENT),
            len: *log_len,
            images: (source.base, *at),
            images_end: segments.end(),
            start,
        })
    }

    /// Where it ends in the lower file.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Puts it into the lower file, which ends with it. Doing so twice is the same as once.
    pub(crate) fn install(&self, lower: &dyn LowerFile) -> Result<()> {
        // Recovery knows by the head that the file was changed by nobody else.
        let (base, at) = self.images;
        copy(&*self.journal, base, (lower, at), HEAD_LEN as u64)?;
        // Whatever lies there now must not look like one more segment.
        let gap = vec![0; (self.start - self.images_end) as usize];
        lower.write_at(Credentials::HOST, self.images_end, &gap)?;
        copy(&*self.journal, self.base, (lower, self.start), self.len)?;
        lower.set_len(self.start + self.len)
    }
}

impl LowerFile for AwaitedLog {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let Some(at) = offset.checked_sub(self.start) else { return Ok(0) };
        let len = self.len.saturating_sub(at).min(buffer.len() as u64) as usize;
        self.journal.read_at(self.base + at, &mut buffer[..len])
    }

    fn len(&self) -> Result<u64> {
        Ok(self.start + self.len)
    }

    fn write_at(&self, _: Credentials, _: u64, _: &[u8]) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn blocks(&self) -> Result<u64> {
        Err(Error::Unsupported)
    }

    fn set_len(&self, _: u64) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn sync(&self, _: bool) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn reserve(&self, _: Credentials, _: u64, _: u64) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn punch(&self, _: u64, _: u64) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn seek(&self, _: u64, _: Whence) -> Result<u64> {
        Err(Error::Unsupported)
    }

    fn times(&self) -> Result<Times> {
        Err(Error::Unsupported)
    }

    fn set_times(&self, _: &Times) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn id(&self) -> Result<FileId> {
        Err(Error::Unsupported)
    }
}
