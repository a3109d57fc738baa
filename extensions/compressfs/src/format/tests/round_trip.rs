use proptest::prelude::*;

use super::*;
use crate::algorithm::{DEFLATE_LEVELS, ZSTD_LEVELS};
use crate::codec::Kind;

fn all_algorithms() -> Vec<Algorithm> {
    let zstd = ZSTD_LEVELS.filter(|level| *level != 0).map(Algorithm::Zstd);
    let deflate = DEFLATE_LEVELS.map(Algorithm::Deflate);
    zstd.chain(deflate).chain([Algorithm::Lz4, Algorithm::None]).collect()
}

fn assert_reads_back(image: &[u8], data: &[u8]) {
    let file = file(image);
    let opened = open(&file).expect("opens").expect("is an image");
    let header = *opened.header();
    assert_eq!(header.len, data.len() as u64);
    assert_eq!(header.image_len, image.len() as u64);
    assert_eq!(opened.damage(), None);
    for (chunk, expected) in (0..).zip(data.chunks(header.chunk_len as usize)) {
        assert_eq!(read_chunk(&file, &opened, chunk).expect("reads"), expected, "chunk {chunk}");
    }
    assert_eq!(damages(&file).expect("verifies"), []);
}

#[test]
fn every_level_gives_back_what_it_was_given() {
    let data = mixture(20_000);
    for algorithm in all_algorithms() {
        let image = build(algorithm, 32 << 10, &data);
        assert_eq!(open(&file(&image)).unwrap().unwrap().header().algorithm, algorithm);
        assert_reads_back(&image, &data);
    }
}

#[test]
fn every_length_of_chunks_serves() {
    let data = [text(70_000), noise(70_000, 3), vec![0; 1 << 20], text(17)].concat();
    for algorithm in ALGORITHMS {
        for shift in 12..=20 {
            assert_reads_back(&build(algorithm, 1 << shift, &data), &data);
        }
    }
}

#[test]
fn lengths_around_those_of_chunks_and_blocks_serve() {
    for algorithm in ALGORITHMS {
        for around in [1, 65_536, 131_072] {
            for len in [around - 1, around, around + 1] {
                let data = [text(len), noise(len, 9)];
                for data in data {
                    assert_reads_back(&build(algorithm, 128 << 10, &data), &data);
                    assert_reads_back(&build(algorithm, 1 << 20, &data), &data);
                }
            }
        }
    }
}

#[test]
fn an_index_of_several_pages_serves() {
    let mut data = vec![0; 4096 * 1100];
    let lines = text(4096);
    for (number, chunk) in data.chunks_mut(4096).enumerate() {
        if number % 3 == 0 {
            chunk.copy_from_slice(&lines);
            chunk[..8].copy_from_slice(&number.to_le_bytes());
        }
    }
    for algorithm in ALGORITHMS {
        assert_reads_back(&build(algorithm, 4096, &data), &data);
    }
}

#[test]
fn chunks_that_do_not_shrink_to_seven_eighths_are_stored() {
    let data = noise(128 << 10, 11);
    for algorithm in ALGORITHMS {
        let mut frame = Vec::new();
        assert_eq!(codec::encode(algorithm, &data, &mut frame), Ok(Kind::Stored));
        assert!(frame.len() <= data.len() + 64, "{algorithm}: {} bytes", frame.len());
        // Eight parts, of which one and a half shrink to nothing.
        let mut better = data.clone();
        better[..24 << 10].fill(7);
        let kind = codec::encode(algorithm, &better, &mut Vec::new());
        let expected = if algorithm == Algorithm::None { Kind::Stored } else { Kind::Compressed };
        assert_eq!(kind, Ok(expected), "{algorithm}");
        // Eight parts, of which half a part shrinks to nothing.
        better[8 << 10..].copy_from_slice(&data[8 << 10..]);
        assert_eq!(codec::encode(algorithm, &better, &mut Vec::new()), Ok(Kind::Stored));
    }
}

#[test]
fn zeros_are_holes_and_cost_little() {
    for (algorithm, most) in [
        (Algorithm::Zstd(19), 13),
        (Algorithm::None, 13),
        (Algorithm::Lz4, 560),
        (Algorithm::Deflate(9), 1300),
    ] {
        let mut frame = Vec::new();
        assert_eq!(codec::encode(algorithm, &[0; 128 << 10], &mut frame), Ok(Kind::Hole));
        assert!(frame.len() <= most, "{algorithm}: {} bytes", frame.len());
        let mut out = vec![1; 128 << 10];
        codec::decode(algorithm.codec(), &frame, &mut out).expect("decodes");
        assert!(codec::is_zero(&out));
    }
}

#[test]
fn one_byte_anywhere_is_not_nothing() {
    for len in [1, 63, 64, 65, 200] {
        assert!(codec::is_zero(&vec![0; len]));
        for at in 0..len {
            let mut bytes = vec![0; len];
            bytes[at] = 1;
            assert!(!codec::is_zero(&bytes), "byte {at} of {len}");
        }
    }
}

#[test]
fn a_builder_refuses_a_length_that_its_chunks_do_not_have() {
    let finish = |len| Builder::new(Algorithm::Lz4, 4096).finish(len, &mut |_| Ok(()));
    assert!(finish(0).is_ok());
    assert!(finish(1).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_come_back(
        runs in prop::collection::vec((any::<u8>(), 0usize..3000, any::<bool>()), 0..12),
        which in 0..ALGORITHMS.len(),
        shift in 12u32..15,
    ) {
        let run = |(byte, len, noisy): (u8, usize, bool)| {
            if noisy { noise(len, byte.into()) } else { vec![byte; len] }
        };
        let data: Vec<u8> = runs.into_iter().flat_map(run).collect();
        assert_reads_back(&build(ALGORITHMS[which], 1 << shift, &data), &data);
    }
}
