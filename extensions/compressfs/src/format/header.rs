//! The head of an image: two copies of the header record in one envelope.

use hsci_extension::{Error, Result};

use super::log::Chain;
use super::notes::NOTES_LEN;
use super::{CHUNK_LENS, MAX_CHUNKS, envelope, index, log, seek_table};
use crate::algorithm::Algorithm;
use crate::codec::Codec;

/// Length of the head in bytes. Whether a file looks sealed depends on these bytes alone.
pub(crate) const HEAD_LEN: usize = 160;
/// Where the two copies of the record lie in the head, whatever the envelope.
const COPIES: [usize; 2] = [16, 16 + RECORD_LEN];
const RECORD_LEN: usize = 64;
/// No text, and no text any more once line ends are converted; the rest is random, so that no
/// other file has it.
const MAGIC: [u8; 16] = *b"\x89HSCI\r\n\x22\xb1\xfb\x9c\x30\x60\x11\x98\x2b";
/// What the head of an image begins with that continues another; the checksum of that one's header
/// record comes after it.
const NEXT_MAGIC: [u8; 12] = *b"\x89HSnext\n\xd7\x0e\xa4\x93";
/// Version of new images. In version 1, no notes lie in front of the log; in versions 1 and 2, no image
/// continues another.
const VERSION: u16 = 3;
/// Features that a program must know to read the image.
const KNOWN_INCOMPATIBLE: u32 = 0;
/// Features that a program may ignore, and that this one knows.
const KNOWN_COMPATIBLE: u32 = 0;
/// The longest logical length: what the kernel's signed offsets reach.
const MAX_LEN: u64 = i64::MAX as u64;

/// What an image's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Version of the format.
    pub(crate) version: u16,
    /// What the image was made with; its [`Algorithm::codec`] is the framing.
    pub(crate) algorithm: Algorithm,
    /// Bytes per chunk; a power of two in [`CHUNK_LENS`].
    pub(crate) chunk_len: u32,
    /// Logical length in bytes.
    pub(crate) len: u64,
    /// Where the index begins, in bytes from the start of the image; the frames end there.
    pub(crate) index_offset: u64,
    /// Length of the whole image in bytes.
    pub(crate) image_len: u64,
    /// CRC-32C of the index's first copy, envelopes included.
    pub(crate) index_crc: u32,
    /// Feature bits that may be ignored.
    pub(crate) compatible: u32,
    /// Checksum of the header that this one continues; none in the first image of a file.
    pub(crate) continues: Option<u32>,
}

/// True if the first bytes of a file (all of them, if there are fewer than [`HEAD_LEN`]) are those
/// of an image. A flipped bit damages only one of the two copies looked for.
pub(crate) fn looks_sealed(head: &[u8]) -> bool {
    begins_with(head, &MAGIC)
}

fn begins_with(head: &[u8], magic: &[u8; 16]) -> bool {
    COPIES.iter().any(|at| head.get(*at..at + magic.len()) == Some(&magic[..]))
}

/// Checksum of the header in the head of a new image.
pub(crate) fn checksum_of_head(head: &[u8; HEAD_LEN]) -> Option<u32> {
    let record = &head[COPIES[0]..COPIES[0] + RECORD_LEN];
    let crc = crc32c::crc32c(&record[..RECORD_LEN - 4]);
    (record[RECORD_LEN - 4..] == crc.to_le_bytes()).then_some(crc)
}

/// The magic of an image that continues the one whose header has this checksum.
fn magic(continues: Option<u32>) -> [u8; 16] {
    let Some(crc) = continues else { return MAGIC };
    let mut magic = [0; 16];
    magic[..12].copy_from_slice(&NEXT_MAGIC);
    magic[12..].copy_from_slice(&crc.to_le_bytes());
    magic
}

impl Header {
    /// Reads the head of a file from its first [`HEAD_LEN`] bytes, or all if there are fewer. `None`
    /// if the file is raw; with the header comes what is damaged, if something is. The image may have to
    /// continue the one whose header has the given checksum.
    pub(crate) fn read(
        head: &[u8],
        continues: Option<u32>,
    ) -> Result<Option<(Self, Option<String>)>> {
        if !begins_with(head, &magic(continues)) {
            return Ok(None);
        }
        let head: &[u8; HEAD_LEN] = head
            .get(..HEAD_LEN)
            .and_then(|head| head.try_into().ok())
            .ok_or_else(|| damaged("the file ends in it"))?;
        let copies = COPIES.map(|at| Self::decode(&head[at..at + RECORD_LEN], continues));
        let good = copies.iter().position(Option::is_some).ok_or_else(|| damaged("both copies"))?;
        let record = &head[COPIES[good]..COPIES[good] + RECORD_LEN];
        let header = copies.into_iter().flatten().next().expect("a copy is good")?;
        let damage = (envelop(header.codec(), record) != *head).then(|| match good {
            0 if head[COPIES[1]..COPIES[1] + RECORD_LEN] == *record => {
                "the bytes around its copies"
            }
            0 => "the second copy",
            _ => "the first copy",
        });
        Ok(Some((header, damage.map(|what| format!("header: {what}")))))
    }

    /// One copy of the record; `None` if its checksum does not hold.
    fn decode(record: &[u8], continues: Option<u32>) -> Option<Result<Self>> {
        let (body, crc) = record.split_at(RECORD_LEN - 4);
        if !body.starts_with(&magic(continues)) || crc != crc32c::crc32c(body).to_le_bytes() {
            return None;
        }
        Some(Self::decode_body(body, continues))
    }

    fn decode_body(body: &[u8], continues: Option<u32>) -> Result<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("8 bytes"));
        let version = u16::from_le_bytes([body[16], body[17]]);
        let (compatible, incompatible) = (u32_at(20), u32_at(24));
        if version > VERSION {
            return Err(Error::Newer(format!("image version {version}, known is {VERSION}")));
        }
        if version == 0 {
            return Err(damaged("the version"));
        }
        let unknown = incompatible & !KNOWN_INCOMPATIBLE;
        if unknown != 0 {
            return Err(Error::Newer(format!("image features {unknown:#x} are not known")));
        }
        let algorithm = Algorithm::from_bytes([body[18], body[19]])
            .ok_or_else(|| damaged("no such algorithm"))?;
        let header = Self {
            version,
            algorithm,
            chunk_len: 1u32.checked_shl(body[28].into()).unwrap_or(0),
            len: u64_at(32),
            index_offset: u64_at(40),
            image_len: u64_at(48),
            index_crc: u32_at(56),
            compatible,
            continues,
        };
        header.check()?;
        Ok(header)
    }

    /// Whether the numbers fit each other. What is checked here needs no checks later: no sum of
    /// these numbers overflows, and no count asks for much memory.
    fn check(&self) -> Result<()> {
        if !CHUNK_LENS.contains(&self.chunk_len) {
            return Err(damaged("the length of chunks"));
        }
        // Offsets are passed on to the kernel, whose own are signed.
        if self.len > MAX_LEN || self.image_len > MAX_LEN {
            return Err(damaged("the length"));
        }
        // A segment adds something.
        if self.continues.is_some() && self.len == 0 {
            return Err(damaged("the length"));
        }
        if self.chunks() > MAX_CHUNKS {
            return Err(damaged("the number of chunks"));
        }
        // A frame has at least one byte, so the frames bound the number of chunks by bytes that
        // the file really has.
        let frames = self.index_offset.checked_sub(HEAD_LEN as u64);
        if frames.is_none_or(|frames| frames < self.chunks() || self.index_offset > MAX_LEN) {
            return Err(damaged("the place of the index"));
        }
        let rest = self.image_len.checked_sub(self.index_offset);
        let expected = 2 * self.index_len() + self.seek_table_len();
        // A compatible feature may add envelopes behind the index.
        let more = self.compatible & !KNOWN_COMPATIBLE != 0;
        if rest.is_none_or(|rest| rest < expected || (rest > expected && !more)) {
            return Err(damaged("the length of the image"));
        }
        Ok(())
    }

    /// Version of images that are made now.
    pub(super) const fn current_version() -> u16 {
        VERSION
    }

    /// Where the log of a file begins whose last image starts at `base`.
    pub(crate) fn log_start(&self, base: u64) -> u64 {
        (base + self.image_len).next_multiple_of(log::ALIGNMENT)
    }

    /// True if another image may continue this one.
    pub(crate) fn can_continue(&self) -> bool {
        self.version > 2
    }

    /// What an image that continues this one says of it.
    pub(crate) fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.encode_record()[..RECORD_LEN - 4])
    }

    /// True if the log begins with notes.
    pub(crate) fn has_notes(&self) -> bool {
        self.version > 1
    }

    /// Where the first item of that log goes.
    pub(crate) fn items_start(&self, base: u64) -> u64 {
        self.log_start(base) + if self.has_notes() { NOTES_LEN as u64 } else { 0 }
    }

    /// The head of the image.
    pub(crate) fn encode(&self) -> [u8; HEAD_LEN] {
        envelop(self.codec(), &self.encode_record())
    }

    fn encode_record(&self) -> [u8; RECORD_LEN] {
        let mut record = [0; RECORD_LEN];
        let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &magic(self.continues));
        put(16, &self.version.to_le_bytes());
        put(18, &self.algorithm.to_bytes());
        put(20, &self.compatible.to_le_bytes());
        put(28, &[self.chunk_len.trailing_zeros() as u8]);
        put(32, &self.len.to_le_bytes());
        put(40, &self.index_offset.to_le_bytes());
        put(48, &self.image_len.to_le_bytes());
        put(56, &self.index_crc.to_le_bytes());
        let crc = crc32c::crc32c(&record[..RECORD_LEN - 4]);
        record[RECORD_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        record
    }

    /// The codec whose framing the image has.
    pub(crate) fn codec(&self) -> Codec {
        self.algorithm.codec()
    }

    /// Number of chunks; 0 for an empty file.
    pub(crate) fn chunks(&self) -> u64 {
        self.len.div_ceil(self.chunk_len.into())
    }

    /// Logical length of one chunk in bytes: less than `chunk_len` only for the last.
    pub(crate) fn len_of_chunk(&self, chunk: u64) -> usize {
        let chunk_len = u64::from(self.chunk_len);
        (self.len - chunk * chunk_len).min(chunk_len) as usize
    }

    /// Length of one copy of the index in bytes.
    pub(super) fn index_len(&self) -> u64 {
        index::len(self.codec(), self.chunks())
    }

    pub(super) fn seek_table_len(&self) -> u64 {
        match self.codec() {
            Codec::Zstd if self.continues.is_none() => seek_table::len(self.chunks()),
            Codec::Zstd | Codec::Lz4 | Codec::Deflate => 0,
        }
    }

    /// The chain that the log behind this image starts from. The header's checksum depends, by
    /// way of the index, on every byte of the image.
    pub(crate) fn chain(&self) -> Chain {
        Chain::new(self.checksum())
    }
}

/// The head with two copies of `record` in it.
fn envelop(codec: Codec, record: &[u8]) -> [u8; HEAD_LEN] {
    let payload = envelope::payload_range(codec, HEAD_LEN);
    let mut head = Vec::with_capacity(HEAD_LEN);
    envelope::append(codec, &[0; HEAD_LEN][payload], &mut head);
    for at in COPIES {
        head[at..at + RECORD_LEN].copy_from_slice(record);
    }
    head.try_into().expect("the payload fills the head")
}

fn damaged(what: &str) -> Error {
    Error::Damaged(format!("header: {what}"))
}
