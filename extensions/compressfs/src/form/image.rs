//! The image of a file: its chunks, compressed, in the lower file or still in a journal.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_extension::{Error, LowerFile, Result};
use parking_lot::Mutex;

use crate::algorithm::Algorithm;
use crate::cache::Cache;
use crate::codec::Kind;
use crate::format::{self, ChunkRecord, Extent, HEAD_LEN, Header, PAGE_CHUNKS, Page};

thread_local! {
    /// Room for a frame; as long as the longest that the thread has read.
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where an image lies.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) file: Arc<dyn LowerFile>,
    /// Position of the image's first byte.
    pub(crate) base: u64,
}

impl Source {
    pub(crate) fn new(file: Arc<dyn LowerFile>, base: u64) -> Self {
        Self { file, base }
    }

    /// The bytes with which an image would begin.
    pub(crate) fn head(&self) -> Result<Head> {
        let mut bytes = [0; HEAD_LEN];
        let len = self.file.read_at(self.base, &mut bytes)?;
        Ok(Head { bytes, len })
    }
}

/// The first bytes at a place, as far as there are any.
pub(crate) struct Head {
    bytes: [u8; HEAD_LEN],
    len: usize,
}

impl std::ops::Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// An image in use.
pub(crate) struct Image {
    /// Different for each image in this process: names its chunks in the cache.
    id: u64,
    file: Arc<dyn LowerFile>,
    layout: format::Image,
    /// The page of the index that was used last, and its number.
    page: Mutex<Option<(u64, Arc<Page>)>>,
}

impl Clone for Image {
    fn clone(&self) -> Self {
        let (file, layout) = (Arc::clone(&self.file), self.layout.clone());
        Self { id: self.id, file, layout, page: Mutex::new(None) }
    }
}

impl Image {
    /// The image at a place; `None` if there is none.
    pub(crate) fn open(source: Source) -> Result<Option<Self>> {
        let head = source.head()?;
        Self::of_head(source, &head)
    }

    /// The image at a place that begins with these bytes, as many as a head has or all that there are;
    /// `None` if they are not those of an image.
    pub(crate) fn of_head(source: Source, head: &[u8]) -> Result<Option<Self>> {
        Self::of_continuing_head(source, head, None)
    }

    /// The image at a place that continues the one whose header has the given checksum.
    pub(crate) fn open_continuing(source: Source, continues: Option<u32>) -> Result<Option<Self>> {
        let head = source.head()?;
        Self::of_continuing_head(source, &head, continues)
    }

    fn of_continuing_head(
        source: Source,
        head: &[u8],
        continues: Option<u32>,
    ) -> Result<Option<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Source { file, base } = source;
        let layout = format::Image::of_head(head, base, continues)?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(layout.map(|layout| Self { id, file, layout, page: Mutex::new(None) }))
    }

    /// Where it lies.
    pub(crate) fn source(&self) -> Source {
        Source::new(Arc::clone(&self.file), self.layout.base())
    }

    /// The same image lies somewhere else now: whoever has copied it says so.
    pub(crate) fn move_to(&mut self, source: Source) {
        let Source { file, base } = source;
        self.layout = self.layout.moved(base);
        self.file = file;
    }

    /// Logical length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.layout.header().len
    }

    /// Length of the image in bytes.
    pub(crate) fn stored_len(&self) -> u64 {
        self.layout.header().image_len
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.layout.header().algorithm
    }

    /// Bytes per chunk.
    pub(crate) fn chunk_len(&self) -> u64 {
        self.layout.header().chunk_len.into()
    }

    pub(crate) fn chunks(&self) -> u64 {
        self.layout.header().chunks()
    }

    /// What the header says.
    pub(crate) fn header(&self) -> &Header {
        self.layout.header()
    }

    fn extent(&self, chunk: u64) -> Result<Extent> {
        let number = chunk / PAGE_CHUNKS;
        let kept = self.page.lock().clone();
        if let Some((_, page)) = kept.filter(|(kept, _)| *kept == number) {
            return Ok(page.extent(chunk));
        }
        let page = Arc::new(self.layout.page(&*self.file, number)?);
        let extent = page.extent(chunk);
        *self.page.lock() = Some((number, page));
        Ok(extent)
    }

    pub(crate) fn is_hole(&self, chunk: u64) -> Result<bool> {
        Ok(self.extent(chunk)?.record.kind == Kind::Hole)
    }

    /// What a chunk is compressed with, and how many bytes it takes.
    pub(crate) fn cost(&self, chunk: u64) -> Result<(Algorithm, u64)> {
        let record = self.extent(chunk)?.record;
        let algorithm = match record.kind {
            Kind::Stored => Algorithm::None,
            Kind::Compressed | Kind::Hole => record.algorithm,
        };
        Ok((algorithm, record.len.into()))
    }

    /// Reads logical bytes of a chunk from `start` within it; they lie within the image.
    pub(crate) fn read(
        &self,
        cache: &Cache,
        chunk: u64,
        start: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let len = self.layout.header().len_of_chunk(chunk);
        if let Some(known) = cache.get((self.id, chunk)) {
            out.copy_from_slice(&known[start..start + out.len()]);
            return Ok(());
        }
        if out.len() == len {
            return self.decode(chunk, out);
        }
        let mut decoded = vec![0; len];
        self.decode(chunk, &mut decoded)?;
        out.copy_from_slice(&decoded[start..start + out.len()]);
        cache.insert((self.id, chunk), Arc::new(decoded));
        Ok(())
    }

    fn decode(&self, chunk: u64, out: &mut [u8]) -> Result<()> {
        let decode = |frame: &mut Vec<u8>| {
            let extent = self.extent(chunk)?;
            self.layout.read_chunk(&*self.file, &extent, frame, out)
        };
        FRAME.with_borrow_mut(decode).map_err(|error| self.in_chunk(chunk, error))
    }

    /// A chunk as it is stored, for an image that keeps it so.
    pub(crate) fn frame(&self, chunk: u64, frame: &mut Vec<u8>) -> Result<ChunkRecord> {
        let extent = self.extent(chunk)?;
        let read = self.layout.read_frame(&*self.file, &extent, frame);
        read.map_err(|error| self.in_chunk(chunk, error))?;
        Ok(extent.record)
    }

    /// Says which bytes are damaged.
    fn in_chunk(&self, chunk: u64, error: Error) -> Error {
        match error {
            Error::Damaged(what) => {
                let start = chunk * self.chunk_len();
                let end = start + self.layout.header().len_of_chunk(chunk) as u64;
                Error::Damaged(format!("chunk {chunk}, bytes {start} to {end}: {what}"))
            }
            error => error,
        }
    }
}
