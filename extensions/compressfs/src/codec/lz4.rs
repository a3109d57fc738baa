//! Frames of LZ4, with one block each.

use std::cell::RefCell;
use std::hash::Hasher;

use lz4_flex::block;

const MAGIC: u32 = 0x184d_2204;
/// Version 1, independent blocks, content size, no checksums, no dictionary.
const FLAGS: u8 = 0b0110_1000;
const HEAD_LEN: usize = 15;
/// Head, length of the block.
const PREFIX: usize = HEAD_LEN + 4;
const END_MARK: [u8; 4] = [0; 4];
/// In the length of a block: it is not compressed.
const RAW: u32 = 1 << 31;

thread_local! {
    static TABLE: RefCell<block::CompressTable> = RefCell::new(block::CompressTable::large());
}

/// The head of every frame of a chunk of `len` bytes, at most 4 MiB.
fn head(len: usize) -> [u8; HEAD_LEN] {
    // The smallest of the four block sizes that holds the chunk: 64 KiB, 256 KiB, 1 MiB, 4 MiB.
    let size = (4..7).find(|size| len <= 1 << (8 + 2 * size)).unwrap_or(7);
    let mut head = [0; HEAD_LEN];
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4] = FLAGS;
    head[5] = size << 4;
    head[6..14].copy_from_slice(&(len as u64).to_le_bytes());
    let mut hasher = twox_hash::XxHash32::with_seed(0);
    hasher.write(&head[4..14]);
    head[14] = (hasher.finish() >> 8) as u8;
    head
}

/// Appends a frame.
pub(super) fn compress(chunk: &[u8], frame: &mut Vec<u8>) {
    let start = frame.len();
    frame.extend(head(chunk.len()));
    frame.resize(start + PREFIX + block::get_maximum_output_size(chunk.len()), 0);
    let out = &mut frame[start + PREFIX..];
    let len = TABLE
        .with_borrow_mut(|table| block::compress_into_with_table(chunk, out, table))
        .expect("the output has the size that the worst case takes");
    frame[start + HEAD_LEN..][..4].copy_from_slice(&(len as u32).to_le_bytes());
    frame.truncate(start + PREFIX + len);
    frame.extend(END_MARK);
}

/// Appends a frame with the chunk as it is.
pub(super) fn store(chunk: &[u8], frame: &mut Vec<u8>) {
    frame.extend(head(chunk.len()));
    frame.extend((chunk.len() as u32 | RAW).to_le_bytes());
    frame.extend(chunk);
    frame.extend(END_MARK);
}

/// Decodes one frame of ours that gives exactly `out.len()` bytes.
pub(super) fn decompress(frame: &[u8], out: &mut [u8]) -> Result<(), String> {
    let block = frame
        .strip_prefix(&head(out.len()))
        .and_then(|rest| rest.strip_suffix(&END_MARK))
        .ok_or("not the frame of a chunk of this length")?;
    let (len, block) = block.split_first_chunk::<4>().ok_or("a frame without block")?;
    let len = u32::from_le_bytes(*len);
    if (len & !RAW) as usize != block.len() {
        return Err("the length of a block".to_owned());
    }
    let decoded = if len & RAW == 0 {
        block::decompress_into(block, out).map_err(|error| error.to_string())?
    } else if block.len() == out.len() {
        out.copy_from_slice(block);
        block.len()
    } else {
        block.len()
    };
    if decoded == out.len() {
        Ok(())
    } else {
        Err(format!("{decoded} bytes instead of {}", out.len()))
    }
}
