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
                compressor.set_compression_level(level.into()).map_err(failed)?;
                *set = level;
                compressor
            }
            None => {
                let compressor = Compressor::new(level.into()).map_err(failed)?;
                &mut kept.insert((level, compressor)).1
            }
        };
        let start = frame.len();
        frame.resize(start + ::zstd::zstd_safe::compress_bound(chunk.len()), 0);
        let len = compressor.compress_to_buffer(chunk, &mut frame[start..]).map_err(failed)?;
        frame.truncate(start + len);
        Ok(())
    })
}

fn failed(error: io::Error) -> Error {
    Error::Broken(format!("zstd: {error}"))
}

const MAGIC: u32 = 0xfd2f_b528;
/// Single segment, content size in 4 bytes, no checksum, no dictionary.
const DESCRIPTOR: u8 = 0b1010_0000;
const MAX_BLOCK: usize = 128 << 10;

/// Appends a frame of raw blocks.
pub(super) fn store(chunk: &[u8], frame: &mut Vec<u8>) {
    frame.extend(MAGIC.to_le_bytes());
    frame.push(DESCRIPTOR);
    frame.extend((chunk.len() as u32).to_le_bytes());
    let last = chunk.len().div_ceil(MAX_BLOCK) - 1;
    for (number, block) in chunk.chunks(MAX_BLOCK).enumerate() {
        // Bit 0: the last block; bits 1 and 2: the type, 0 for raw; then the length.
        let header = (block.len() as u32) << 3 | u32::from(number == last);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
}

/// Decodes one frame that gives exactly `out.len()` bytes.
pub(super) fn decompress(frame: &[u8], out: &mut [u8]) -> Result<(), String> {
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
