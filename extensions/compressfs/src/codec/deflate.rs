//! Members of gzip.

use std::cell::RefCell;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use hsci_extension::{Error, Result};

/// Magic, deflate, no flags, no time, nothing about level and system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// CRC-32 and length of the content.
const TAIL_LEN: usize = 8;
const MAX_STORED: usize = u16::MAX as usize;

thread_local! {
    /// The context, and the level it was made for.
    static COMPRESSOR: RefCell<Option<(u8, Compress)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// Appends a member.
pub(super) fn compress(level: u8, chunk: &[u8], frame: &mut Vec<u8>) -> Result<()> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((made_for, compressor)) if *made_for == level => compressor,
            _ => &mut kept.insert((level, Compress::new(Compression::new(level.into()), false))).1,
        };
        compressor.reset();
        frame.extend(HEAD);
        // The worst case is that of level 1, whose fixed codes take 9 bits for a byte.
        frame.reserve(chunk.len() + chunk.len() / 8 + 64);
        match compressor.compress_vec(chunk, frame, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => {}
            other => return Err(Error::Broken(format!("deflate: {other:?}"))),
        }
        frame.extend(tail(chunk));
        Ok(())
    })
}

/// Appends a member of stored blocks.
pub(super) fn store(chunk: &[u8], frame: &mut Vec<u8>) {
    frame.extend(HEAD);
    let last = chunk.len().div_ceil(MAX_STORED) - 1;
    for (number, block) in chunk.chunks(MAX_STORED).enumerate() {
        let len = block.len() as u16;
        // Bit 0: the last block; bits 1 and 2: the type, 0 for stored.
        frame.push(u8::from(number == last));
        frame.extend(len.to_le_bytes());
        frame.extend((!len).to_le_bytes());
        frame.extend(block);
    }
    frame.extend(tail(chunk));
}

fn tail(chunk: &[u8]) -> [u8; TAIL_LEN] {
    let mut crc = Crc::new();
    crc.update(chunk);
    let mut tail = [0; TAIL_LEN];
    tail[..4].copy_from_slice(&crc.sum().to_le_bytes());
    tail[4..].copy_from_slice(&(chunk.len() as u32).to_le_bytes());
    tail
}

/// Decodes one member of ours that gives exactly `out.len()` bytes.
pub(super) fn decompress(frame: &[u8], out: &mut [u8]) -> Result<(), String> {
    let (stream, found) = frame
        .strip_prefix(&HEAD)
        .and_then(|rest| rest.split_last_chunk::<TAIL_LEN>())
        .ok_or("not a member of gzip made here")?;
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = kept.get_or_insert_with(|| Decompress::new(false));
        decompressor.reset(false);
        let status = decompressor.decompress(stream, out, FlushDecompress::Finish);
        let whole = decompressor.total_in() == stream.len() as u64
            && decompressor.total_out() == out.len() as u64;
        match status {
            Ok(Status::StreamEnd) if whole => Ok(()),
            Ok(_) => Err(format!("not {} bytes", out.len())),
            Err(error) => Err(error.to_string()),
        }
    })?;
    if *found == tail(out) { Ok(()) } else { Err("the checksum of gzip".to_owned()) }
}
