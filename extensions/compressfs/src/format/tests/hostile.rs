//! Files that somebody made to break us. `HSCI_FUZZ_SECONDS` makes it longer than a moment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::format::log::{Commit, Item, Reader, SlotRecord, slot};

/// Uses everything that reads: it must neither panic nor take much memory or time.
fn use_all(bytes: &[u8]) {
    let file = file(bytes);
    let Ok(Some(image)) = open(&file) else {
        return;
    };
    let header = *image.header();
    // A header may promise millions of chunks that are not there.
    let (chunks, few) = (header.chunks(), 20);
    for chunk in (0..chunks).take(few).chain(chunks.saturating_sub(few as u64)..chunks) {
        if let Ok(read) = read_chunk(&file, &image, chunk) {
            assert_eq!(read.len(), header.len_of_chunk(chunk));
        }
    }
    if chunks <= 1 << 16 {
        let _ = damages(&file);
    }
    let mut reader = Reader::new(&file, &header, 0).expect("the length is known");
    let mut before = 0;
    while let Ok(Some(item)) = reader.next() {
        assert!(reader.end() > before, "the log does not go on");
        before = reader.end();
        if let Item::Commit(commit) = item {
            assert!(commit.slots.iter().all(|slot| slot.place < before));
        }
    }
}

/// Stored files of all kinds.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for algorithm in ALGORITHMS {
        for data in [Vec::new(), text(10_000), mixture(30_000)] {
            let mut image = build(algorithm, 4096, &data);
            seeds.push(image.clone());
            let chain = open(&file(&image)).unwrap().unwrap().header().chain();
            image.resize(image.len().next_multiple_of(4096), 0);
            image.extend(slot(&chain, 1, 0));
            let place = image.len() as u64;
            image.extend(text(4096));
            let slots = vec![SlotRecord { chunk: 0, place, len: 4096, crc: 1 }];
            let commit = Commit {
                continues: false,
                seq: 1,
                len: 4096,
                confirms: 0,
                slots,
                erased: std::iter::once(1..2).collect(),
            };
            image.extend(commit.encode(&chain).0);
            seeds.push(image);
        }
    }
    seeds
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Some change; most often in head, index or log, where bytes mean most.
fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    let interesting = [0, 1, 0x7f, 0x80, 0xff];
    let len = bytes.len();
    if len == 0 {
        return;
    }
    let at = match random.below(4) {
        0 => random.below(len),
        1 => random.below(len.min(HEAD_LEN)),
        2 => len - 1 - random.below(len.min(200)),
        _ => (len - 1 - random.below(len)) / 4096 * 4096 + random.below(64),
    };
    let at = at.min(len - 1);
    match random.below(8) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => {
            let value = interesting[random.below(interesting.len())];
            let end = (at + 1 + random.below(8)).min(len);
            bytes[at..end].fill(value);
        }
        3 => bytes[at] = random.below(256) as u8,
        4 => {
            let from = random.below(len);
            let part = bytes[from..(from + random.below(64)).min(len)].to_vec();
            let end = (at + part.len()).min(len);
            bytes[at..end].copy_from_slice(&part[..end - at]);
        }
        5 => bytes.extend(noise(random.below(9000), at as u64)),
        6 => drop(bytes.drain(at..(at + random.below(300)).min(len))),
        _ => bytes[at] = bytes[at].wrapping_add(1),
    }
}

/// Makes checksums of head and index hold again, so that what they guard is put to the test.
fn mend(bytes: &mut [u8]) {
    for copy in [16, 16 + 64] {
        if let Some(record) = bytes.get_mut(copy..copy + 64) {
            let crc = crc32c::crc32c(&record[..60]);
            record[60..].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let Ok(Some(image)) = open(&file(bytes)) else {
        return;
    };
    let header = *image.header();
    for copy in 0..2 {
        let start = header.index_offset + copy * header.index_len();
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
        let page = index::page_stride(header.codec()).min(header.index_len()) as usize;
        if let Some(page) = bytes.get_mut(start..start.saturating_add(page)) {
            // An empty file has no page.
            if !page.is_empty() {
                let payload = envelope::payload_range(header.codec(), page.len());
                let payload = &mut page[payload];
                let crc = crc32c::crc32c(&payload[4..]);
                payload[..4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

/// Peak of the process' memory in KiB.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn changed_images_break_nothing() {
    let seconds = std::env::var("HSCI_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(2, |text| text.parse().expect("HSCI_FUZZ_SECONDS is a number"));
    let seed = std::env::var("HSCI_FUZZ_SEED").ok();
    let seed = seed.map(|text| text.parse().expect("HSCI_FUZZ_SEED is a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed: u64 = seed.unwrap_or(now.as_nanos() as u64);
    println!("seed {seed}");
    let (seeds, mut random) = (seeds(), Random(seed));
    let memory_before = peak_memory_kib();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0;
    while Instant::now() < end {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(4) {
            change(&mut random, &mut bytes);
        }
        if random.below(2) == 0 {
            mend(&mut bytes);
        }
        use_all(&bytes);
        count += 1;
    }
    let grown = peak_memory_kib() - memory_before;
    println!("{count} files, {grown} KiB more at most");
    // Other tests of this process have their share in it.
    assert!(grown < 256 << 10, "{grown} KiB for small files");
}

proptest! {
    #[test]
    fn any_bytes_are_taken_by_every_reader(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        which in 0..ALGORITHMS.len(),
        len in 1usize..8192,
    ) {
        let codec = ALGORITHMS[which].codec();
        let mut out = vec![0; len];
        let _ = codec::decode(codec, &bytes, &mut out);
        let _ = Header::read(&bytes, None);
        let _ = Header::read(&bytes, Some(7));
        use_all(&bytes);
        let mut image = build(ALGORITHMS[which], 4096, &text(len));
        image.extend(&bytes);
        use_all(&image);
    }

    #[test]
    fn changed_frames_give_the_right_length_or_an_error(
        which in 0..ALGORITHMS.len(),
        len in 1usize..9000,
        given in 1usize..9000,
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let algorithm = ALGORITHMS[which];
        let mut frame = Vec::new();
        codec::encode(algorithm, &text(len), &mut frame).expect("encodes");
        let mut out = vec![0; given];
        prop_assert_eq!(codec::decode(algorithm.codec(), &frame, &mut out).is_ok(), len == given);
        // Two frames are not one.
        let twice = frame.repeat(2);
        prop_assert!(codec::decode(algorithm.codec(), &twice, &mut vec![0; 2 * len]).is_err());
        prop_assert!(codec::decode(algorithm.codec(), &twice, &mut vec![0; len]).is_err());
        let at = at.index(frame.len());
        frame[at] = value;
        let _ = codec::decode(algorithm.codec(), &frame, &mut vec![0; len]);
    }
}
