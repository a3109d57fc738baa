//! The index: where the frame of each chunk lies, and what it must look like.
//!
//! It comes in pages, each with a checksum of its own, so that opening a file reads nothing of it
//! and reading a chunk reads one page, however long the file is.

use std::ops::Range;

use hsci_extension::{Error, Result};

use super::envelope;
use crate::algorithm::Algorithm;
use crate::codec::{self, Codec, Kind};

/// Chunks that one page tells of.
pub(crate) const PAGE_CHUNKS: u64 = 1024;
const RECORD_LEN: usize = 12;
/// In front of a page's records: checksum, page number, place of the first frame.
const PAGE_HEAD_LEN: usize = 16;
const COMPRESSED: u8 = 0;
const HOLE: u8 = 1;
const STORED: u8 = 2;

/// What the index knows of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRecord {
    /// Length of the frame in bytes.
    pub(crate) len: u32,
    /// CRC-32C of the frame.
    pub(crate) crc: u32,
    /// What was used on the chunk; for a stored one, what was tried.
    pub(crate) algorithm: Algorithm,
    /// What came of it.
    pub(crate) kind: Kind,
}

impl ChunkRecord {
    /// The record of a frame that [`codec::encode`] has made.
    pub(crate) fn new(algorithm: Algorithm, kind: Kind, frame: &[u8]) -> Self {
        Self { len: frame.len() as u32, crc: crc32c::crc32c(frame), algorithm, kind }
    }
}

/// A chunk's record with the place of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where the frame begins, in bytes from the start of the image.
    pub(crate) offset: u64,
    /// The rest.
    pub(crate) record: ChunkRecord,
}

/// One page of the index, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    first_chunk: u64,
    first_offset: u64,
    records: Vec<ChunkRecord>,
}

/// Length of one page's payload that tells of `chunks` chunks.
const fn payload_len(chunks: u64) -> usize {
    PAGE_HEAD_LEN + chunks as usize * RECORD_LEN
}

const _: () = assert!(payload_len(PAGE_CHUNKS) <= envelope::MAX_PAYLOAD);

/// Length of one copy of the index in bytes.
pub(super) fn len(codec: Codec, chunks: u64) -> u64 {
    let full = chunks / PAGE_CHUNKS;
    let last = match chunks % PAGE_CHUNKS {
        0 => 0,
        rest => envelope::len(codec, payload_len(rest)),
    };
    full * page_stride(codec) + last as u64
}

/// Distance from one page to the next in bytes.
pub(super) fn page_stride(codec: Codec) -> u64 {
    envelope::len(codec, payload_len(PAGE_CHUNKS)) as u64
}

/// Number of pages.
pub(super) fn pages(chunks: u64) -> u64 {
    chunks.div_ceil(PAGE_CHUNKS)
}

/// Chunks that page `number` tells of.
pub(super) fn chunks_on(number: u64, chunks: u64) -> u64 {
    (chunks - number * PAGE_CHUNKS).min(PAGE_CHUNKS)
}

impl Page {
    /// The extent of `chunk`, which lies on this page.
    pub(crate) fn extent(&self, chunk: u64) -> Extent {
        let place = (chunk - self.first_chunk) as usize;
        let before = self.records[..place].iter().map(|record| u64::from(record.len));
        Extent { offset: self.first_offset + before.sum::<u64>(), record: self.records[place] }
    }

    /// The records, in the order of chunks.
    pub(super) fn records(&self) -> &[ChunkRecord] {
        &self.records
    }

    /// Where the frames of its chunks lie in the image.
    pub(super) fn frames(&self) -> Range<u64> {
        let len: u64 = self.records.iter().map(|record| u64::from(record.len)).sum();
        self.first_offset..self.first_offset + len
    }
}

/// Appends page `number` in its envelope. Its frames begin at `first_offset`.
pub(super) fn append_page(
    codec: Codec,
    number: u64,
    first_offset: u64,
    records: &[ChunkRecord],
    out: &mut Vec<u8>,
) {
    let mut payload = Vec::with_capacity(payload_len(records.len() as u64));
    payload.extend([0; 4]);
    payload.extend((number as u32).to_le_bytes());
    payload.extend(first_offset.to_le_bytes());
    for record in records {
        payload.extend(record.len.to_le_bytes());
        payload.extend(record.crc.to_le_bytes());
        payload.extend(encode_end(record));
    }
    let crc = crc32c::crc32c(&payload[4..]);
    payload[..4].copy_from_slice(&crc.to_le_bytes());
    envelope::append(codec, &payload, out);
}

/// Reads page `number` from the bytes of its envelope. The frames lie in `frames`; `chunk_len` is
/// the image's.
pub(super) fn read_page(
    codec: Codec,
    number: u64,
    envelope: &[u8],
    frames: Range<u64>,
    chunk_len: u32,
) -> Result<Page> {
    let payload = &envelope[envelope::payload_range(codec, envelope.len())];
    let (head, records) = payload.split_at(PAGE_HEAD_LEN);
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    if u32_at(0) != crc32c::crc32c(&payload[4..]) {
        return Err(damaged(number, "the checksum"));
    }
    if u64::from(u32_at(4)) != number {
        return Err(damaged(number, "the page's number"));
    }
    let first_offset = u64::from_le_bytes(head[8..].try_into().expect("8 bytes"));
    let records = records.chunks_exact(RECORD_LEN).map(|record| decode_record(codec, record));
    let records: Option<Vec<ChunkRecord>> = records.collect();
    let records = records.ok_or_else(|| damaged(number, "the kind of a chunk"))?;
    // Frames are read whole: the bound keeps the memory for one to little more than a chunk.
    let longest = codec::max_frame_len(chunk_len);
    if records.iter().any(|record| record.len == 0 || record.len as usize > longest) {
        return Err(damaged(number, "the length of a frame"));
    }
    // At most 1024 lengths of 32 bits: the sum does not overflow.
    let sum: u64 = records.iter().map(|record| u64::from(record.len)).sum();
    let end = first_offset.checked_add(sum);
    if first_offset < frames.start || end.is_none_or(|end| end > frames.end) {
        return Err(damaged(number, "the place of frames"));
    }
    Ok(Page { first_chunk: number * PAGE_CHUNKS, first_offset, records })
}

/// What a record ends with: the algorithm, the kind, zero.
fn encode_end(record: &ChunkRecord) -> [u8; 4] {
    let [name, level] = record.algorithm.to_bytes();
    let kind = match record.kind {
        Kind::Compressed => COMPRESSED,
        Kind::Hole => HOLE,
        Kind::Stored => STORED,
    };
    [name, level, kind, 0]
}

/// Takes a record of [`RECORD_LEN`] bytes apart; `None` if it means nothing.
fn decode_record(codec: Codec, record: &[u8]) -> Option<ChunkRecord> {
    let u32_at = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
    let algorithm = Algorithm::from_bytes([record[8], record[9]])?;
    let kind = match record[10..] {
        [COMPRESSED, 0] => Kind::Compressed,
        [HOLE, 0] => Kind::Hole,
        [STORED, 0] => Kind::Stored,
        _ => return None,
    };
    let record = ChunkRecord { len: u32_at(0), crc: u32_at(4), algorithm, kind };
    (algorithm.codec() == codec).then_some(record)
}

fn damaged(page: u64, what: &str) -> Error {
    Error::Damaged(format!("index, page {page}: {what}"))
}
