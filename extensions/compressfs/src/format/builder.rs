//! Makes an image: frames first, then the index, and the head when all is known.

use hsci_extension::{Error, Result};

use super::index::{self, ChunkRecord};
use super::{CHUNK_LENS, HEAD_LEN, Header, MAX_CHUNKS, PAGE_CHUNKS, seek_table};
use crate::algorithm::Algorithm;

/// Collects what the index has to tell of an image. The caller writes the bytes: room for the
/// head, then the frames in the order of chunks, then what [`Builder::finish`] hands out.
pub(crate) struct Builder {
    algorithm: Algorithm,
    chunk_len: u32,
    continues: Option<u32>,
    records: Vec<ChunkRecord>,
    /// Where the next frame goes, in bytes from the start of the image.
    end: u64,
}

impl Builder {
    /// Starts an image whose first frame goes to offset [`HEAD_LEN`].
    ///
    /// # Panics
    /// If `chunk_len` is not a power of two in [`CHUNK_LENS`].
    pub(crate) fn new(algorithm: Algorithm, chunk_len: u32) -> Self {
        assert!(CHUNK_LENS.contains(&chunk_len) && chunk_len.is_power_of_two());
        let (continues, end) = (None, HEAD_LEN as u64);
        Self { algorithm, chunk_len, continues, records: Vec::new(), end }
    }

    /// The image continues the one whose header has this checksum.
    pub(crate) fn continuing(self, continues: Option<u32>) -> Self {
        Self { continues, ..self }
    }

    /// Takes the next chunk, whose frame follows the one before. Its algorithm has the codec of
    /// the image's.
    pub(crate) fn push(&mut self, record: &ChunkRecord) {
        debug_assert_eq!(record.algorithm.codec(), self.algorithm.codec());
        self.end += u64::from(record.len);
        self.records.push(*record);
    }

    /// Length so far in bytes, the index that belongs to it included.
    pub(crate) fn image_len(&self) -> u64 {
        self.header(self.records.len() as u64 * u64::from(self.chunk_len), 0).image_len
    }

    /// Completes the image of a file of `len` bytes. What follows the frames goes to `write`, piece
    /// by piece; what is returned belongs at the start.
    pub(crate) fn finish(
        self,
        len: u64,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<[u8; HEAD_LEN]> {
        let chunks = self.records.len() as u64;
        if len.div_ceil(self.chunk_len.into()) != chunks {
            return Err(Error::Broken(format!("{chunks} chunks for a file of {len} bytes")));
        }
        if chunks > MAX_CHUNKS {
            return Err(Error::TooLarge(format!("a file of {chunks} chunks")));
        }
        let index_crc = self.write_index(&mut *write)?;
        self.write_index(&mut *write)?;
        let header = self.header(len, index_crc);
        if header.seek_table_len() > 0 {
            self.write_seek_table(&header, write)?;
        }
        Ok(header.encode())
    }

    fn header(&self, len: u64, index_crc: u32) -> Header {
        let mut header = Header {
            version: Header::current_version(),
            algorithm: self.algorithm,
            chunk_len: self.chunk_len,
            len,
            index_offset: self.end,
            image_len: 0,
            index_crc,
            compatible: 0,
            continues: self.continues,
        };
        header.image_len = self.end + 2 * header.index_len() + header.seek_table_len();
        header
    }

    fn write_index(&self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u32> {
        let mut offset = HEAD_LEN as u64;
        let (mut bytes, mut crc) = (Vec::new(), 0);
        for (number, records) in (0..).zip(self.records.chunks(PAGE_CHUNKS as usize)) {
            bytes.clear();
            index::append_page(self.algorithm.codec(), number, offset, records, &mut bytes);
            write(&bytes)?;
            crc = crc32c::crc32c_append(crc, &bytes);
            offset += records.iter().map(|record| u64::from(record.len)).sum::<u64>();
        }
        Ok(crc)
    }

    fn write_seek_table(
        &self,
        header: &Header,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        seek_table::append_start(&mut bytes, header);
        for (number, records) in (0..).zip(self.records.chunks(PAGE_CHUNKS as usize)) {
            seek_table::append_chunks(&mut bytes, header, number, records);
            write(&bytes)?;
            bytes.clear();
        }
        seek_table::append_end(&mut bytes, header);
        write(&bytes)
    }
}
