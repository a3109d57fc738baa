//! Frames of zstd.

use std::cell::RefCell;
use std::io;

use ::zstd::bulk::{Compressor, Decompressor};
use hsci_extension::{Error, Result};

thread_local! {
    /// The context, and the level it is set to.
    static COMPRESSOR: RefCell<Option<(i8, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends a frame with the content's size and without checksum.
pub(super) fn compress(level: i8, chunk: &[u8], frame: &mut Vec<u8>) -> Result<()> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((set, compressor)) if *set == level => compressor,
            Some((set, compressor)) => {
                compressor.set_compression_level(level.into()).map_err(|error| failed(&error))?;
                *set = level;
                compressor
            }
            None => {
                let compressor = Compressor::new(level.into()).map_err(|error| failed(&error))?;
                &mut kept.insert((level, compressor)).1
            }
        };
        let start = frame.len();
        frame.resize(start + ::zstd::zstd_safe::compress_bound(chunk.len()), 0);
        let len = compressor
            .compress_to_buffer(chunk, &mut frame[start..])
            .map_err(|error| failed(&error))?;
        frame.truncate(start + len);
        Ok(())
    })
}

fn failed(error: &io::Error) -> Error {
    Error::Broken(format!("zstd: {error}"))
}

const MAGIC: u32 = 0xfd2f_b528;
/// Single segment, content size in 4 bytes, no checksum, no dictionary.
const DESCRIPTOR: u8 = 0b1010_0000;
const MAX_BLOCK: usize = 128 << 10;

/// Types of blocks: as it is, and one byte many times.
const RAW: u32 = 0;
const REPEATED: u32 = 1;

/// Appends a frame of raw blocks.
pub(super) fn store(chunk: &[u8], frame: &mut Vec<u8>) {
    append_head(chunk.len(), frame);
    let mut left = chunk.len();
    for block in chunk.chunks(MAX_BLOCK) {
        left -= block.len();
        append_block_head(RAW, block.len(), left == 0, frame);
        frame.extend(block);
    }
}

/// Appends a frame of `len` zeros.
pub(super) fn zeros(len: usize, frame: &mut Vec<u8>) {
    append_head(len, frame);
    let mut left = len;
    while left > 0 {
        let block = left.min(MAX_BLOCK);
        left -= block;
        append_block_head(REPEATED, block, left == 0, frame);
        frame.push(0);
    }
}

fn append_head(len: usize, frame: &mut Vec<u8>) {
    frame.extend(MAGIC.to_le_bytes());
    frame.push(DESCRIPTOR);
    frame.extend((len as u32).to_le_bytes());
}

fn append_block_head(kind: u32, len: usize, is_last: bool, frame: &mut Vec<u8>) {
    let head = (len as u32) << 3 | kind << 1 | u32::from(is_last);
    frame.extend(&head.to_le_bytes()[..3]);
}

/// Decodes one frame that gives exactly `out.len()` bytes.
pub(super) fn decompress(frame: &[u8], out: &mut [u8]) -> Result<(), String> {
    // The library would go on with a second frame.
    match ::zstd::zstd_safe::find_frame_compressed_size(frame) {
        Ok(len) if len == frame.len() => {}
        _ => return Err("not one frame of zstd".to_owned()),
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().map_err(|error| error.to_string())?),
        };
        match decompressor.decompress_to_buffer(frame, out) {
            Ok(len) if len == out.len() => Ok(()),
            Ok(len) => Err(format!("{len} bytes instead of {}", out.len())),
            Err(error) => Err(error.to_string()),
        }
    })
}
