//! Envelopes: how bytes of ours lie in a file of a codec, so that the codec's own program skips
//! them.

use std::ops::Range;

use crate::codec::Codec;

/// Skippable frames of zstd and LZ4 (both define the same ones): magic, length.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
pub(super) const SKIPPABLE_PREFIX: usize = 8;

/// An empty gzip member: magic, deflate, FEXTRA, no time, no flags, system unknown; then the length
/// of the extra field, and one subfield.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
const GZIP_SUBFIELD: [u8; 2] = *b"HS";
const GZIP_PREFIX: usize = 16;
/// An empty deflate stream, its CRC-32 and its length.
const GZIP_SUFFIX: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// The extra field's length is 16 bits, and a subfield has 4 bytes of its own.
pub(super) const MAX_PAYLOAD: usize = u16::MAX as usize - 4;

/// Where the payload lies in an envelope of `total` bytes.
pub(super) fn payload_range(codec: Codec, total: usize) -> Range<usize> {
    match codec {
        Codec::Zstd | Codec::Lz4 => SKIPPABLE_PREFIX..total,
        Codec::Deflate => GZIP_PREFIX..total - GZIP_SUFFIX.len(),
    }
}

/// The length of an envelope around `payload` bytes.
pub(super) const fn len(codec: Codec, payload: usize) -> usize {
    match codec {
        Codec::Zstd | Codec::Lz4 => SKIPPABLE_PREFIX + payload,
        Codec::Deflate => GZIP_PREFIX + payload + GZIP_SUFFIX.len(),
    }
}

/// Appends an envelope around `payload`, which has at most [`MAX_PAYLOAD`] bytes.
pub(super) fn append(codec: Codec, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    match codec {
        Codec::Zstd | Codec::Lz4 => {
            out.extend(SKIPPABLE_MAGIC.to_le_bytes());
            out.extend((payload.len() as u32).to_le_bytes());
            out.extend(payload);
        }
        Codec::Deflate => {
            out.extend(GZIP_HEAD);
            out.extend((payload.len() as u16 + 4).to_le_bytes());
            out.extend(GZIP_SUBFIELD);
            out.extend((payload.len() as u16).to_le_bytes());
            out.extend(payload);
            out.extend(GZIP_SUFFIX);
        }
    }
}
