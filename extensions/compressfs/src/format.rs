//! The bytes of a stored file: `docs/src/reference/format-bytes.md` has the tables,
//! `docs/src/explanation/format-why.md` the reasons.
//!
//! An image is, in this order and without gaps:
//!
//! ```text
//! head            HEAD_LEN bytes: an envelope around two copies of the header record
//! frames          one for each chunk
//! index           pages of PAGE_CHUNKS records, each page in an envelope
//! index           the same once more
//! seek table      zstd only
//! ```
//! After it, from the next multiple of [`log::ALIGNMENT`] on, lies the log: a block of [`notes`], then
//! slots and commits.
//!
//! Nothing here locks, sleeps or writes; reading goes through a positioned file that is passed
//! in. Every number read from a file is checked before it is used: damage is an
//! [`Error::Damaged`](hsci_extension::Error), never a panic, and costs a bounded amount of memory.

mod builder;
mod envelope;
mod header;
mod image;
mod index;
pub(crate) mod log;
pub(crate) mod notes;
mod seek_table;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use self::builder::Builder;
pub(crate) use self::header::{HEAD_LEN, Header, checksum_of_head, looks_sealed};
pub(crate) use self::image::Image;
pub(crate) use self::index::{ChunkRecord, Extent, PAGE_CHUNKS, Page};
pub(crate) use self::verify::{Damage, require_whole, verify};

use std::ops::RangeInclusive;

/// Version of a store in which are images, journals or marks of this program.
pub(crate) const STORE_VERSION: u32 = 3;
/// Chunk lengths in bytes that an image may have; always powers of two.
pub(crate) const CHUNK_LENS: RangeInclusive<u32> = 1 << 12..=1 << 20;
/// The most chunks that an image may have, so that building one takes at most 48 MiB for its
/// index. With the largest chunks that is a file of 4 TiB; a larger one stays raw.
pub(crate) const MAX_CHUNKS: u64 = 1 << 22;
