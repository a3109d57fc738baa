//! The log behind an image.

use super::*;
use crate::format::log::{ALIGNMENT, Chain, Commit, Item, Reader, SlotRecord, slot};

const CHUNK_LEN: u32 = 4096;

/// A log that is being written, and what a reader must find in it.
struct Written {
    bytes: Vec<u8>,
    header: Header,
    chain: Chain,
    items: Vec<Item>,
}

impl Written {
    fn new() -> Self {
        let mut bytes = build(Algorithm::Zstd(3), CHUNK_LEN, &text(9000));
        let header = *open(&file(&bytes)).unwrap().unwrap().header();
        bytes.resize(header.items_start(0) as usize, 0);
        Self { bytes, header, chain: header.chain(), items: Vec::new() }
    }

    fn slot(&mut self, seq: u64, chunk: u64) -> SlotRecord {
        self.bytes.extend(slot(&self.chain, seq, chunk));
        let place = self.bytes.len() as u64;
        let data = text(CHUNK_LEN as usize);
        self.bytes.extend(&data);
        self.items.push(Item::Slot { chunk, place });
        SlotRecord { chunk, place, len: CHUNK_LEN, crc: crc32c::crc32c(&data) }
    }

    fn commit(&mut self, commit: Commit) {
        let (item, chain) = commit.encode(&self.chain);
        assert_eq!(item.len() as u64 % ALIGNMENT, 0);
        self.bytes.extend(item);
        self.chain = chain;
        self.items.push(Item::Commit(commit));
    }

    /// Two slots, a commit, a slot, a commit of many records, a commit of nothing.
    fn sample() -> Self {
        let mut log = Self::new();
        let slots = vec![log.slot(1, 2), log.slot(1, 0)];
        log.commit(Commit {
            seq: 1,
            len: 12_288,
            confirms: 0,
            continues: false,
            slots,
            erased: vec![1..2, 4..9],
        });
        let slots = vec![log.slot(2, 77); 300];
        log.commit(Commit {
            seq: 2,
            len: 400_000,
            confirms: 1,
            continues: true,
            slots,
            erased: Vec::new(),
        });
        log.commit(Commit {
            seq: 3,
            len: 0,
            confirms: 2,
            continues: false,
            slots: Vec::new(),
            erased: std::iter::once(0..77).collect(),
        });
        log
    }

    /// The offset behind each item.
    fn ends(&self) -> Vec<u64> {
        let file = file(&self.bytes);
        let mut reader = Reader::new(&file, &self.header, 0).unwrap();
        std::iter::from_fn(|| reader.next().unwrap().map(|_| reader.end())).collect()
    }
}

/// All items that hold together.
fn read(bytes: &[u8], header: &Header) -> Vec<Item> {
    let file = file(bytes);
    let mut reader = Reader::new(&file, header, 0).expect("starts");
    std::iter::from_fn(|| reader.next().expect("reads")).collect()
}

#[test]
fn a_log_is_read_as_it_was_written() {
    let log = Written::sample();
    let file = file(&log.bytes);
    let mut reader = Reader::new(&file, &log.header, 0).unwrap();
    for item in &log.items {
        assert_eq!(reader.next().unwrap().as_ref(), Some(item));
    }
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!((reader.end(), reader.chain()), (log.bytes.len() as u64, log.chain));
}

#[test]
fn a_flipped_bit_ends_the_log_before_its_item() {
    let mut log = Written::sample();
    let ends = log.ends();
    let start = log.header.items_start(0) as usize;
    for at in (start..log.bytes.len()).step_by(5) {
        log.bytes[at] ^= 1 << (at % 8);
        let item = ends.iter().filter(|end| **end <= at as u64).count();
        let slot_data = match &log.items[item] {
            Item::Slot { place, .. } => at as u64 >= *place,
            Item::Commit(_) => false,
        };
        // A slot's bytes are under the checksum of the commit that tells of it.
        let expected = if slot_data { log.items.len() } else { item };
        assert_eq!(read(&log.bytes, &log.header), log.items[..expected], "byte {at}");
        log.bytes[at] ^= 1 << (at % 8);
    }
}

#[test]
fn a_torn_tail_is_not_read() {
    let log = Written::sample();
    let ends = log.ends();
    for len in (0..log.bytes.len()).step_by(512) {
        let found = read(&log.bytes[..len], &log.header);
        assert_eq!(found, log.items[..found.len()]);
        let whole = ends.iter().filter(|end| **end <= len as u64).count();
        // The header of a slot tells of it as soon as it is there.
        assert!((whole..=whole + 1).contains(&found.len()), "{len} bytes");
    }
}

#[test]
fn the_log_of_another_image_is_not_read() {
    let log = Written::sample();
    let other = build(Algorithm::Zstd(3), CHUNK_LEN, &noise(9000, 4));
    let mut header = *open(&file(&other)).unwrap().unwrap().header();
    header.image_len = log.header.image_len;
    assert_eq!(read(&log.bytes, &header), []);
}

#[test]
fn a_commit_that_says_what_cannot_be_ends_the_log() {
    let place = Written::new().bytes.len() as u64 + ALIGNMENT;
    let good = SlotRecord { chunk: 1, place, len: 10, crc: 0 };
    let commit =
        |slots, erased| Commit { seq: 1, len: 9, confirms: 0, continues: false, slots, erased };
    let slots = |slot| commit(vec![slot], Vec::new());
    let erased = |start, end| commit(Vec::new(), vec![std::ops::Range { start, end }]);
    let bad = [
        slots(SlotRecord { place: 0, ..good }),
        slots(SlotRecord { place: place + 1, ..good }),
        slots(SlotRecord { place: place + ALIGNMENT, ..good }),
        slots(SlotRecord { place: u64::MAX - 4095, ..good }),
        slots(SlotRecord { len: CHUNK_LEN + 1, ..good }),
        slots(SlotRecord { chunk: u64::MAX / 4096, ..good }),
        erased(3, 3),
        erased(4, 3),
        erased(0, u64::MAX),
        Commit { seq: 2, ..slots(good) },
        Commit { confirms: 1, ..slots(good) },
        Commit { len: 1 << 63, ..slots(good) },
    ];
    let found = |commit: Commit| {
        let mut log = Written::new();
        log.slot(1, 1);
        log.commit(commit);
        read(&log.bytes, &log.header).len()
    };
    assert_eq!(found(slots(good)), 2);
    for commit in bad {
        assert_eq!(found(commit.clone()), 1, "{commit:?}");
    }
}
