//! The log behind an image: slots with the current bytes of chunks, and commits that tell which of
//! them count.

use std::ops::Range;

use hsci_extension::{LowerFile, Result};

use super::Header;

/// Items of the log start at multiples of this many bytes.
pub(crate) const ALIGNMENT: u64 = 4096;
/// The most slots and erased ranges that one commit may tell of, so that reading it takes at most
/// 1.5 MiB.
pub(crate) const MAX_RECORDS: usize = 1 << 16;

/// Ties each item to all commits before it and to the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain(u32);

/// One slot, as a commit tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRecord {
    /// The chunk that the slot is of.
    pub(crate) chunk: u64,
    /// Position of the chunk's first byte in the file.
    pub(crate) place: u64,
    /// Bytes that count, at most the length of a chunk; behind them are zeros.
    pub(crate) len: u32,
    /// CRC-32C of the bytes that count.
    pub(crate) crc: u32,
}

/// What a file is from now on, as far as it differs from the commit before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Number: 1 for the first commit behind an image, then one more each.
    pub(crate) seq: u64,
    /// Logical length in bytes. What lies behind it is gone, also if a later commit is longer.
    pub(crate) len: u64,
    /// The last commit that was durable when this one was written: checksums of slots in it and
    /// in earlier ones may not hold any more.
    pub(crate) confirms: u64,
    /// It counts only together with the next one, for it says a part of what became true at once.
    pub(crate) continues: bool,
    /// Slots that are new or longer; with `erased`, at most [`MAX_RECORDS`].
    pub(crate) slots: Vec<SlotRecord>,
    /// Ranges of chunks that became zeros, before what `slots` says.
    pub(crate) erased: Vec<Range<u64>>,
}

/// What was found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Room for one chunk.
    Slot {
        /// The chunk.
        chunk: u64,
        /// Position of its first byte in the file.
        place: u64,
    },
    /// A commit.
    Commit(Commit),
}

impl Chain {
    /// The start of a chain, from a checksum of what comes before it.
    pub(super) fn new(start: u32) -> Self {
        Self(start)
    }

    /// The checksum of bytes that belong to this place of the chain.
    pub(super) fn over(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

const BLOCK: usize = ALIGNMENT as usize;
const SLOT_MAGIC: [u8; 8] = *b"\x89HSslot\n";
const COMMIT_MAGIC: [u8; 8] = *b"\x89HScmit\n";
/// Of both items: the checksum stands behind the magic, and covers what follows to the end of the
/// item, chained.
const CHECKED: usize = 12;
const COMMIT_HEAD_LEN: usize = 48;
const SLOT_RECORD_LEN: usize = 24;
const ERASED_RECORD_LEN: usize = 16;

/// The header of a slot: [`ALIGNMENT`] bytes in front of the chunk's own. `seq` is that of the next
/// commit.
pub(crate) fn slot(chain: &Chain, seq: u64, chunk: u64) -> Vec<u8> {
    let mut item = vec![0; BLOCK];
    item[..8].copy_from_slice(&SLOT_MAGIC);
    item[16..24].copy_from_slice(&seq.to_le_bytes());
    item[24..32].copy_from_slice(&chunk.to_le_bytes());
    seal(chain, &mut item);
    item
}

/// True if a block is the header of a slot, at this place of the chain and in front of this commit.
pub(crate) fn is_slot(item: &[u8], chain: &Chain, seq: u64) -> bool {
    item.starts_with(&SLOT_MAGIC)
        && u32_at(item, 8) == chain.over(&item[CHECKED..])
        && u64_at(item, 16) == seq
}

/// Puts the checksum in; returns it.
fn seal(chain: &Chain, item: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c_append(chain.0, &item[CHECKED..]);
    item[8..CHECKED].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Length of the item in bytes, a multiple of [`ALIGNMENT`].
pub(crate) fn commit_len(slots: usize, erased: usize) -> usize {
    let len = COMMIT_HEAD_LEN + slots * SLOT_RECORD_LEN + erased * ERASED_RECORD_LEN;
    len.next_multiple_of(BLOCK)
}

impl Commit {
    /// The item, a multiple of [`ALIGNMENT`] in length, and the chain behind it.
    pub(crate) fn encode(&self, chain: &Chain) -> (Vec<u8>, Chain) {
        debug_assert!(self.slots.len() + self.erased.len() <= MAX_RECORDS);
        let len = commit_len(self.slots.len(), self.erased.len());
        let mut item = Vec::with_capacity(len);
        item.extend(COMMIT_MAGIC);
        item.extend([0; 4]);
        item.extend((self.slots.len() as u32).to_le_bytes());
        item.extend(self.seq.to_le_bytes());
        item.extend(self.len.to_le_bytes());
        item.extend(self.confirms.to_le_bytes());
        item.extend((self.erased.len() as u32).to_le_bytes());
        item.extend(u32::from(self.continues).to_le_bytes());
        for slot in &self.slots {
            item.extend(slot.chunk.to_le_bytes());
            item.extend(slot.place.to_le_bytes());
            item.extend(slot.len.to_le_bytes());
            item.extend(slot.crc.to_le_bytes());
        }
        for range in &self.erased {
            item.extend(range.start.to_le_bytes());
            item.extend(range.end.to_le_bytes());
        }
        item.resize(len, 0);
        let crc = seal(chain, &mut item);
        (item, Chain(crc))
    }
}

/// Reads a log item by item, as far as they hold together.
pub(crate) struct Reader<'a> {
    file: &'a dyn LowerFile,
    file_len: u64,
    chunk_len: u64,
    /// Where the items begin.
    start: u64,
    end: u64,
    chain: Chain,
    /// Number of the next commit.
    seq: u64,
}

impl<'a> Reader<'a> {
    /// The log in `file`, whose last image has this header and starts at `base`.
    pub(crate) fn new(file: &'a dyn LowerFile, header: &Header, base: u64) -> Result<Self> {
        let start = header.items_start(base);
        Ok(Self {
            file,
            file_len: file.len()?,
            chunk_len: header.chunk_len.into(),
            start,
            end: start,
            chain: header.chain(),
            seq: 1,
        })
    }

    /// Where the items read so far end, and the next one would go.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The chain behind the items read so far.
    pub(crate) fn chain(&self) -> Chain {
        self.chain
    }

    /// The next item. `None` where the log ends, or where it is torn: which of these does not
    /// matter, for what was made durable is never torn.
    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        // An item that does not lie in the file whole was never completed.
        if self.end.checked_add(ALIGNMENT).is_none_or(|end| end > self.file_len) {
            return Ok(None);
        }
        let mut item = vec![0; BLOCK];
        self.file.read_exact_at(self.end, &mut item)?;
        match item.first_chunk() {
            Some(&SLOT_MAGIC) => Ok(self.take_slot(&item)),
            Some(&COMMIT_MAGIC) => self.take_commit(item),
            _ => Ok(None),
        }
    }

    fn take_slot(&mut self, item: &[u8]) -> Option<Item> {
        if !self.holds(item) || u64_at(item, 16) != self.seq {
            return None;
        }
        let chunk = u64_at(item, 24);
        // Keeps the logical offset of every byte of the chunk within the kernel's signed offsets.
        if chunk >= self.max_chunks() {
            return None;
        }
        // No overflow: the file's length is a signed offset, and the item lies in the file.
        let place = self.end + ALIGNMENT;
        self.end = place + self.chunk_len;
        Some(Item::Slot { chunk, place })
    }

    fn take_commit(&mut self, mut item: Vec<u8>) -> Result<Option<Item>> {
        let (slots, erased) = (u32_at(&item, 12) as usize, u32_at(&item, 40) as usize);
        // Nothing is known of these numbers yet: they bound the memory for the item.
        if slots > MAX_RECORDS || erased > MAX_RECORDS - slots {
            return Ok(None);
        }
        let len = commit_len(slots, erased);
        if len as u64 > self.file_len - self.end {
            return Ok(None);
        }
        item.resize(len, 0);
        self.file.read_exact_at(self.end, &mut item)?;
        if !self.holds(&item) || u64_at(&item, 16) != self.seq {
            return Ok(None);
        }
        let Some(commit) = self.decode_commit(&item, slots, erased) else {
            return Ok(None);
        };
        self.chain = Chain(u32_at(&item, 8));
        self.end += len as u64;
        self.seq += 1;
        Ok(Some(Item::Commit(commit)))
    }

    fn holds(&self, item: &[u8]) -> bool {
        u32_at(item, 8) == crc32c::crc32c_append(self.chain.0, &item[CHECKED..])
    }

    /// Chunks of the longest file there can be; its last one is not whole.
    fn max_chunks(&self) -> u64 {
        (i64::MAX as u64).div_ceil(self.chunk_len)
    }

    /// `None` if the commit says what cannot be.
    fn decode_commit(&self, item: &[u8], slots: usize, erased: usize) -> Option<Commit> {
        let (len, confirms) = (u64_at(item, 24), u64_at(item, 32));
        if len > i64::MAX as u64 || confirms >= self.seq {
            return None;
        }
        let records = &item[COMMIT_HEAD_LEN..];
        let (slot_records, records) = records.split_at(slots * SLOT_RECORD_LEN);
        let erased_records = &records[..erased * ERASED_RECORD_LEN];
        let slots = slot_records.chunks_exact(SLOT_RECORD_LEN).map(|record| {
            let slot = SlotRecord {
                chunk: u64_at(record, 0),
                place: u64_at(record, 8),
                len: u32_at(record, 16),
                crc: u32_at(record, 20),
            };
            self.is_possible(&slot).then_some(slot)
        });
        let erased = erased_records.chunks_exact(ERASED_RECORD_LEN).map(|record| {
            let range = u64_at(record, 0)..u64_at(record, 8);
            (range.start < range.end && range.end <= self.max_chunks()).then_some(range)
        });
        Some(Commit {
            seq: self.seq,
            len,
            confirms,
            continues: u32_at(item, 44) & 1 != 0,
            slots: slots.collect::<Option<_>>()?,
            erased: erased.collect::<Option<_>>()?,
        })
    }

    /// A slot's bytes lie in the log, in front of the commit, where slots' bytes can lie.
    fn is_possible(&self, slot: &SlotRecord) -> bool {
        let valid = u64::from(slot.len);
        slot.chunk < self.max_chunks()
            && valid <= self.chunk_len
            && slot.place > self.start
            && slot.place.is_multiple_of(ALIGNMENT)
            && slot.place.checked_add(self.chunk_len).is_some_and(|end| end <= self.end)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
