//! The segments of a file: images one after another, each for the chunks after those of the one before.

use std::ops::Range;
use std::sync::Arc;

use hsci_extension::{Error, LowerFile, Result};

use super::image::{Image, Source};
use crate::algorithm::Algorithm;
use crate::cache::Cache;
use crate::format::{ChunkRecord, HEAD_LEN, Header};

/// Images that lie in a journal until they are in their file, where they begin at `at`. What the file had
/// from there on is replaced by them, and by the log that comes after them in the journal.
#[derive(Clone)]
pub(crate) struct Awaited {
    pub(crate) source: Source,
    pub(crate) at: u64,
    pub(crate) len: u64,
    /// Length of the log; 0 where it is empty.
    pub(crate) log_len: u64,
}

/// All images of a file, at least one. Their chunks have one length, and are counted through.
#[derive(Clone)]
pub(crate) struct Segments {
    list: Vec<Segment>,
}

#[derive(Clone)]
struct Segment {
    image: Image,
    /// Where it begins in the lower file, sooner or later.
    at: u64,
    /// Its first chunk.
    first: u64,
}

/// Files with more are damaged: reading their heads would take long.
const MAX_SEGMENTS: usize = 1 << 14;

impl Segments {
    /// The segments of a lower file that begins with the given bytes; `None` if it is raw.
    pub(crate) fn of_head(lower: &Arc<dyn LowerFile>, head: &[u8]) -> Result<Option<Self>> {
        let Some(first) = Image::of_head(Source::new(Arc::clone(lower), 0), head)? else {
            return Ok(None);
        };
        let mut segments = Self::new(first);
        let len = lower.len()?;
        while segments.end() + HEAD_LEN as u64 <= len {
            let at = segments.end();
            if !segments.take_next(Source::new(Arc::clone(lower), at), at)? {
                break;
            }
        }
        Ok(Some(segments))
    }

    /// The segments that a file has once those that a journal holds are in it.
    pub(crate) fn with_awaited(lower: &Arc<dyn LowerFile>, awaited: &Awaited) -> Result<Self> {
        let damaged = |what: &str| Err(Error::Damaged(format!("journal: {what}")));
        let mut segments = Self::until(lower, awaited.at)?;
        let images_end = awaited.at + awaited.len;
        let end = |segments: &Option<Self>| segments.as_ref().map_or(0, Self::end);
        loop {
            let Source { file, base } = &awaited.source;
            let place = base + (end(&segments) - awaited.at);
            if !Self::extend(&mut segments, Source::new(Arc::clone(file), place))? {
                return damaged("no image where one is named");
            }
            if end(&segments) >= images_end {
                break;
            }
        }
        match segments {
            Some(segments) if segments.end() == images_end => Ok(segments),
            _ => damaged("an image of another length"),
        }
    }

    /// Checksum of the header that comes before images in a journal; none if they are all.
    pub(crate) fn before(lower: &Arc<dyn LowerFile>, awaited: &Awaited) -> Result<Option<u32>> {
        Ok(Self::until(lower, awaited.at)?
            .map(|segments| segments.last().image.header().checksum()))
    }

    /// The segments of a lower file up to a place, where one has to end; none if that is the start.
    fn until(lower: &Arc<dyn LowerFile>, at: u64) -> Result<Option<Self>> {
        let mut segments: Option<Self> = None;
        let end = |segments: &Option<Self>| segments.as_ref().map_or(0, Self::end);
        while end(&segments) < at {
            let source = Source::new(Arc::clone(lower), end(&segments));
            if !Self::extend(&mut segments, source)? {
                return Err(Error::Damaged("journal: the image before is gone".to_owned()));
            }
        }
        match end(&segments) == at {
            true => Ok(segments),
            false => Err(Error::Damaged("journal: the image before is another one".to_owned())),
        }
    }

    /// Takes one more from a place; false if there is none.
    fn extend(segments: &mut Option<Self>, source: Source) -> Result<bool> {
        if let Some(segments) = segments {
            let at = segments.end();
            return segments.take_next(source, at);
        }
        *segments = Image::open(source)?.map(Self::new);
        Ok(segments.is_some())
    }

    fn new(first: Image) -> Self {
        Self { list: vec![Segment { image: first, at: 0, first: 0 }] }
    }

    fn take_next(&mut self, source: Source, at: u64) -> Result<bool> {
        let header = self.last().image.header();
        if !header.can_continue() {
            return Ok(false);
        }
        let Some(image) = Image::open_continuing(source, Some(header.checksum()))? else {
            return Ok(false);
        };
        let len = self.len();
        let is_possible = image.chunk_len() == self.chunk_len()
            && len.is_multiple_of(self.chunk_len())
            && len.checked_add(image.len()).is_some_and(|len| len <= i64::MAX as u64)
            && at.checked_add(image.stored_len()).is_some_and(|end| end <= i64::MAX as u64)
            && self.list.len() < MAX_SEGMENTS;
        if !is_possible {
            return Err(Error::Damaged("header: a segment that fits none before".to_owned()));
        }
        let first = len / self.chunk_len();
        self.list.push(Segment { image, at, first });
        Ok(true)
    }

    fn last(&self) -> &Segment {
        self.list.last().expect("there is at least one")
    }

    fn of_chunk(&self, chunk: u64) -> (&Image, u64) {
        let number = self.list.partition_point(|segment| segment.first <= chunk) - 1;
        let segment = &self.list[number];
        (&segment.image, chunk - segment.first)
    }

    /// The header of the last one, and where that begins: the log follows from these.
    pub(crate) fn log_base(&self) -> (&Header, u64) {
        (self.last().image.header(), self.last().at)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Logical length of the first so many.
    pub(crate) fn len_of(&self, count: usize) -> u64 {
        self.list[..count].last().map_or(0, |last| last.first * self.chunk_len() + last.image.len())
    }

    /// Where in the lower file the first so many end.
    pub(crate) fn end_of(&self, count: usize) -> u64 {
        self.list[..count].last().map_or(0, |last| last.at + last.image.stored_len())
    }

    /// Checksum of the header of the last of the first so many.
    pub(crate) fn checksum_of(&self, count: usize) -> Option<u32> {
        self.list[..count].last().map(|last| last.image.header().checksum())
    }

    /// Logical length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len_of(self.list.len())
    }

    /// Where in the lower file they end.
    pub(crate) fn end(&self) -> u64 {
        self.end_of(self.list.len())
    }

    /// True if all are made with an algorithm.
    pub(crate) fn are_made_with(&self, algorithm: Algorithm) -> bool {
        self.list.iter().all(|segment| segment.image.algorithm() == algorithm)
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.last().image.algorithm()
    }

    /// Bytes per chunk.
    pub(crate) fn chunk_len(&self) -> u64 {
        self.list[0].image.chunk_len()
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.len().div_ceil(self.chunk_len())
    }

    /// The chunks of each, and where it lies now.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Range<u64>, &Image)> {
        self.list.iter().map(|Segment { image, first, .. }| (*first..first + image.chunks(), image))
    }

    /// All have been copied to their places in the lower file.
    pub(crate) fn move_to(&mut self, lower: &Arc<dyn LowerFile>) {
        for Segment { image, at, .. } in &mut self.list {
            image.move_to(Source::new(Arc::clone(lower), *at));
        }
    }

    pub(crate) fn is_hole(&self, chunk: u64) -> Result<bool> {
        let (image, chunk) = self.of_chunk(chunk);
        image.is_hole(chunk)
    }

    /// What a chunk is compressed with, and how many bytes it takes.
    pub(crate) fn cost(&self, chunk: u64) -> Result<(Algorithm, u64)> {
        let (image, chunk) = self.of_chunk(chunk);
        image.cost(chunk)
    }

    /// The algorithm of the image that a chunk lies in.
    pub(crate) fn algorithm_of(&self, chunk: u64) -> Algorithm {
        self.of_chunk(chunk).0.algorithm()
    }

    /// Reads logical bytes of a chunk from `start` within it; they lie within the image.
    pub(crate) fn read(
        &self,
        cache: &Cache,
        chunk: u64,
        start: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let (image, chunk) = self.of_chunk(chunk);
        image.read(cache, chunk, start, out)
    }

    /// A chunk as it is stored, for an image that keeps it so.
    pub(crate) fn frame(&self, chunk: u64, frame: &mut Vec<u8>) -> Result<ChunkRecord> {
        let (image, chunk) = self.of_chunk(chunk);
        image.frame(chunk, frame)
    }
}
