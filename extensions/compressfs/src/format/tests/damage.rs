//! One bit flipped, at every place.

use super::*;

const CHUNK_LEN: u32 = 4096;

/// Checks what an image with a flipped bit gives. Returns the chunk that is lost, if one is.
fn look(image: &[u8], data: &[u8], at: usize) -> Option<u64> {
    let file = file(image);
    assert!(looks_sealed(image), "byte {at}: not taken for an image");
    let opened = open(&file).expect("the head survives").expect("an image");
    let mut lost = Vec::new();
    for (chunk, expected) in (0..).zip(data.chunks(CHUNK_LEN as usize)) {
        match read_chunk(&file, &opened, chunk) {
            Ok(read) => assert_eq!(read, expected, "byte {at}: wrong bytes in chunk {chunk}"),
            Err(hsci_extension::Error::Damaged(_)) => lost.push(chunk),
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    let damages = damages(&file).expect("verifies");
    assert_eq!(damages.len(), 1, "byte {at}: {damages:?}");
    let told = damages[0].lost.clone();
    match lost.as_slice() {
        [] => assert!(told.is_empty(), "byte {at}: {damages:?}"),
        [chunk] => {
            let start = chunk * u64::from(CHUNK_LEN);
            let end = (start + u64::from(CHUNK_LEN)).min(data.len() as u64);
            assert_eq!(told, start..end, "byte {at}: {damages:?}");
        }
        more => panic!("byte {at}: chunks {more:?} are lost"),
    }
    lost.first().copied()
}

#[test]
fn a_flipped_bit_loses_the_chunk_that_it_hits_and_nothing_else() {
    let data = [text(4096), vec![0; 4096], noise(1000, 8)].concat();
    for algorithm in ALGORITHMS {
        let mut image = build(algorithm, CHUNK_LEN, &data);
        let header = *open(&file(&image)).unwrap().unwrap().header();
        let frames = HEAD_LEN..header.index_offset as usize;
        let mut hit = std::collections::BTreeSet::new();
        for at in 0..image.len() {
            let bit = 1 << (at * 5 % 8);
            image[at] ^= bit;
            let lost = look(&image, &data, at);
            image[at] ^= bit;
            if let Some(chunk) = lost {
                assert!(frames.contains(&at), "{algorithm}: byte {at} belongs to no frame");
                hit.insert(chunk);
            }
        }
        // All but the zeros, which are known without their frame.
        assert_eq!(hit.len() as u64, header.chunks() - 1, "{algorithm}");
    }
}

#[test]
fn every_bit_of_head_and_index_may_flip() {
    let data = text(9000);
    for algorithm in ALGORITHMS {
        let mut image = build(algorithm, CHUNK_LEN, &data);
        let index = open(&file(&image)).unwrap().unwrap().header().index_offset as usize;
        for at in (0..HEAD_LEN).chain(index..image.len()) {
            for bit in 0..8 {
                image[at] ^= 1 << bit;
                assert_eq!(look(&image, &data, at), None);
                image[at] ^= 1 << bit;
            }
        }
    }
}

#[test]
fn a_file_that_ends_early_is_damaged_and_never_wrong() {
    let data = text(9000);
    for algorithm in ALGORITHMS {
        let image = build(algorithm, CHUNK_LEN, &data);
        for len in 0..image.len() {
            let file = file(&image[..len]);
            let Ok(Some(opened)) = open(&file) else {
                assert!(len < HEAD_LEN, "{len} bytes hold a head");
                assert_eq!(open(&file).is_ok(), !looks_sealed(&image[..len]));
                continue;
            };
            for (chunk, expected) in (0..).zip(data.chunks(CHUNK_LEN as usize)) {
                if let Ok(read) = read_chunk(&file, &opened, chunk) {
                    assert_eq!(read, expected);
                }
            }
            assert_ne!(damages(&file).expect("verifies"), [], "{len} bytes are not all");
        }
    }
}

#[test]
fn both_copies_of_the_head_gone_is_an_error_that_says_so() {
    let mut image = build(Algorithm::Lz4, CHUNK_LEN, &text(100));
    image[40] ^= 1;
    image[100] ^= 1;
    let error = open(&file(&image)).expect_err("nothing to go by");
    assert_eq!(error.to_string(), "damaged: header: both copies");
}

#[test]
fn a_newer_image_is_not_called_damaged() {
    // Version, and a feature that one has to know, in both copies.
    for (at, value) in [(16, 4), (24, 1)] {
        let mut image = build(Algorithm::Lz4, CHUNK_LEN, &text(100));
        for copy in [16, 80] {
            image[copy + at] = value;
            let crc = crc32c::crc32c(&image[copy..copy + 60]);
            image[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
        }
        let error = open(&file(&image)).expect_err("too new");
        assert!(matches!(error, hsci_extension::Error::Newer(_)), "{error}");
    }
}
