//! The seek table of zstd's seekable format, as its own tools read it: a skippable frame with one
//! entry for each frame before it, ours included.

use super::envelope::SKIPPABLE_PREFIX;
use super::index::ChunkRecord;
use super::{HEAD_LEN, Header, MAX_CHUNKS, PAGE_CHUNKS, index};
use crate::codec::Codec;

const SKIPPABLE_MAGIC: u32 = 0x184d_2a5e;
const SEEKABLE_MAGIC: u32 = 0x8f92_eab1;
const ENTRY_LEN: u64 = 8;
/// Number of entries, a byte of flags (none), magic.
const FOOTER_LEN: u64 = 9;

/// Frames in front of the table: head, chunks, both copies of each page of the index. Far below
/// the format's limit of 2^27, because of [`MAX_CHUNKS`].
fn entries(chunks: u64) -> u64 {
    1 + chunks + 2 * index::pages(chunks)
}

/// Length of the table in bytes, frame header included.
pub(super) fn len(chunks: u64) -> u64 {
    SKIPPABLE_PREFIX as u64 + entries(chunks) * ENTRY_LEN + FOOTER_LEN
}

/// The beginning of the table, with the entry of the head.
pub(super) fn append_start(bytes: &mut Vec<u8>, header: &Header) {
    let content = len(header.chunks()) - SKIPPABLE_PREFIX as u64;
    bytes.extend(SKIPPABLE_MAGIC.to_le_bytes());
    bytes.extend((content as u32).to_le_bytes());
    append_entry(bytes, HEAD_LEN as u64, 0);
}

/// Where [`append_chunks`] for page `number` belongs, in bytes from the start of the table.
pub(super) fn offset_of_page(number: u64) -> u64 {
    SKIPPABLE_PREFIX as u64 + (1 + number * PAGE_CHUNKS) * ENTRY_LEN
}

/// The entries of the chunks on page `number` of the index.
pub(super) fn append_chunks(
    bytes: &mut Vec<u8>,
    header: &Header,
    number: u64,
    records: &[ChunkRecord],
) {
    for (chunk, record) in (number * PAGE_CHUNKS..).zip(records) {
        append_entry(bytes, record.len.into(), header.len_of_chunk(chunk) as u64);
    }
}

/// The end of the table, with the entries of the index.
pub(super) fn append_end(bytes: &mut Vec<u8>, header: &Header) {
    let chunks = header.chunks();
    for _copy in 0..2 {
        for page in 0..index::pages(chunks) {
            append_entry(bytes, index::len(Codec::Zstd, index::chunks_on(page, chunks)), 0);
        }
    }
    bytes.extend((entries(chunks) as u32).to_le_bytes());
    bytes.push(0);
    bytes.extend(SEEKABLE_MAGIC.to_le_bytes());
}

/// The entry of one frame.
fn append_entry(bytes: &mut Vec<u8>, stored: u64, logical: u64) {
    bytes.extend((stored as u32).to_le_bytes());
    bytes.extend((logical as u32).to_le_bytes());
}

const _: () = assert!(MAX_CHUNKS + 2 * MAX_CHUNKS.div_ceil(PAGE_CHUNKS) < 1 << 27);
