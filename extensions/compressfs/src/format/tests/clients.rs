//! The codecs' own programs print our images.

use std::fs;
use std::process::Command;

use super::*;
use crate::codec::Codec;

/// What the codec's own program prints.
fn print(codec: Codec, image: &[u8]) -> Vec<u8> {
    let place = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(place.path(), image).expect("written");
    let program = match codec {
        Codec::Zstd => "zstd",
        Codec::Lz4 => "lz4",
        Codec::Deflate => "gzip",
    };
    let input = fs::File::open(place.path()).expect("opens");
    let output =
        Command::new(program).arg("-dc").stdin(input).output().unwrap_or_else(|error| {
            panic!("`{program}`, a package of that name, is needed: {error}")
        });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {complaint}");
    assert_eq!(complaint, "", "{program} complains");
    output.stdout
}

fn assert_printed(algorithm: Algorithm, chunk_len: u32, data: &[u8]) {
    let image = build(algorithm, chunk_len, data);
    assert!(
        print(algorithm.codec(), &image) == data,
        "{algorithm}, {} bytes in chunks of {chunk_len}",
        data.len()
    );
}

#[test]
fn zstd_lz4_and_gzip_print_images() {
    for algorithm in ALGORITHMS.into_iter().chain([Algorithm::Zstd(19), Algorithm::Deflate(9)]) {
        for data in [
            Vec::new(),
            vec![1],
            text(10_000),
            vec![0; 300_000],
            noise(300_000, 2),
            mixture(150_000),
        ] {
            assert_printed(algorithm, 32 << 10, &data);
            assert_printed(algorithm, 128 << 10, &data);
        }
        assert_printed(algorithm, 1 << 20, &mixture(400_000));
    }
}

#[test]
fn they_print_images_whose_index_is_longer_than_an_extra_field_of_gzip() {
    let data = [text(40_000), vec![0; 4096 * 5500], text(40_000)].concat();
    for algorithm in [Algorithm::Zstd(1), Algorithm::Lz4, Algorithm::Deflate(1)] {
        let image = build(algorithm, 4096, &data);
        let opened = open(&file(&image)).unwrap().unwrap();
        assert!(opened.header().index_len() > 65_535);
        assert!(print(algorithm.codec(), &image) == data, "{algorithm}");
    }
}

#[test]
fn the_seek_table_leads_to_every_frame() {
    let data = mixture(100_000);
    let image = build(Algorithm::Zstd(3), 32 << 10, &data);
    // By the description of zstd's seekable format, from the end.
    let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    assert_eq!(u32_at(image.len() - 4), 0x8f92_eab1);
    assert_eq!(image[image.len() - 5], 0, "flags");
    let frames = u32_at(image.len() - 9) as usize;
    let table = image.len() - 9 - frames * 8;
    assert_eq!(u32_at(table - 8), 0x184d_2a5e);
    assert_eq!(u32_at(table - 4) as usize, image.len() - table);
    let (mut stored, mut logical) = (0, 0);
    for frame in 0..frames {
        let stored_len = u32_at(table + frame * 8) as usize;
        let len = u32_at(table + frame * 8 + 4) as usize;
        let bytes = &image[stored..stored + stored_len];
        let printed = ::zstd::decode_all(bytes).expect("a whole frame");
        assert_eq!(printed, &data[logical..logical + len], "frame {frame}");
        (stored, logical) = (stored + stored_len, logical + len);
    }
    assert_eq!((stored, logical), (table - 8, data.len()));
}
