//! One chunk to and from one frame: a complete file of the codec's own format.

mod deflate;
mod lz4;
mod zstd;

use hsci_extension::{Error, Result};

use crate::algorithm::Algorithm;

/// A format of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    /// A zstd frame with its content size and no checksum.
    Zstd,
    /// An LZ4 frame of one independent block, with its content size and no checksums.
    Lz4,
    /// A gzip member.
    Deflate,
}

/// How a chunk became its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Compressed.
    Compressed,
    /// All zeros; the frame is a short one that gives them.
    Hole,
    /// Not worth compressing with that algorithm: raw blocks in the codec's framing.
    Stored,
}

/// The longest frame in bytes for a chunk of `chunk_len` bytes: everything stored.
pub(crate) const fn max_frame_len(chunk_len: u32) -> usize {
    // zstd: 9, and 3 for each 128 KiB. LZ4: 23. gzip: 18, and 5 for each 65,535.
    chunk_len as usize + 64 + chunk_len as usize / 4096
}

/// Appends the frame of a chunk, which has at least one byte and at most
/// [`CHUNK_LENS`](crate::format::CHUNK_LENS).
///
/// A chunk must shrink to 7/8 of its length, or it is stored. Contexts are kept for each thread.
pub(crate) fn encode(algorithm: Algorithm, chunk: &[u8], frame: &mut Vec<u8>) -> Result<Kind> {
    if is_zero(chunk) {
        encode_hole(algorithm.codec(), chunk.len(), frame)?;
        return Ok(Kind::Hole);
    }
    let start = frame.len();
    match algorithm {
        Algorithm::Zstd(level) => zstd::compress(level, chunk, frame)?,
        Algorithm::Lz4 => lz4::compress(chunk, frame),
        Algorithm::Deflate(level) => deflate::compress(level, chunk, frame)?,
        Algorithm::None => {}
    }
    let len = frame.len() - start;
    if len > 0 && len <= chunk.len() / 8 * 7 {
        return Ok(Kind::Compressed);
    }
    frame.truncate(start);
    match algorithm.codec() {
        Codec::Zstd => zstd::store(chunk, frame),
        Codec::Lz4 => lz4::store(chunk, frame),
        Codec::Deflate => deflate::store(chunk, frame),
    }
    Ok(Kind::Stored)
}

/// Appends the frame of a chunk of `len` zeros.
pub(crate) fn encode_hole(codec: Codec, len: usize, frame: &mut Vec<u8>) -> Result<()> {
    match codec {
        Codec::Zstd => zstd::zeros(len, frame),
        Codec::Lz4 => lz4::compress(&vec![0; len], frame),
        Codec::Deflate => deflate::compress(1, &vec![0; len], frame)?,
    }
    Ok(())
}

/// The chunk that a frame holds, into `out`, which has exactly its length. Any bytes may be given
/// as a frame: what does not give exactly `out.len()` bytes is an error.
pub(crate) fn decode(codec: Codec, frame: &[u8], out: &mut [u8]) -> Result<()> {
    let decoded = match codec {
        Codec::Zstd => zstd::decompress(frame, out),
        Codec::Lz4 => lz4::decompress(frame, out),
        Codec::Deflate => deflate::decompress(frame, out),
    };
    decoded.map_err(|why| Error::Damaged(format!("a chunk: {why}")))
}

/// True if there is nothing but zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Most data has a byte that is none near its start; the rest is compared by memcmp.
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    head.iter().all(|byte| *byte == 0) && rest == &bytes[..rest.len()]
}
