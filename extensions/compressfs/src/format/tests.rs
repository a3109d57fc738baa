//! Images built, read, printed by other programs, damaged and made up.

mod clients;
mod damage;
mod hostile;
mod items;
mod round_trip;
mod sizes;

use hsci_extension::testkit::MemoryFile;
use hsci_extension::{LowerFile, Result};

use super::*;
use crate::algorithm::Algorithm;
use crate::codec;

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Zstd(3),
    Algorithm::Zstd(-7),
    Algorithm::Lz4,
    Algorithm::Deflate(6),
    Algorithm::None,
];

fn file(bytes: &[u8]) -> MemoryFile {
    MemoryFile::with_bytes(7, bytes)
}

/// The image of `data`.
fn build(algorithm: Algorithm, chunk_len: u32, data: &[u8]) -> Vec<u8> {
    let mut image = vec![0; HEAD_LEN];
    let mut builder = Builder::new(algorithm, chunk_len);
    for chunk in data.chunks(chunk_len as usize) {
        let start = image.len();
        let kind = codec::encode(algorithm, chunk, &mut image).expect("encodes");
        let (len, crc) = ((image.len() - start) as u32, crc32c::crc32c(&image[start..]));
        builder.push(&ChunkRecord { len, crc, algorithm, kind });
    }
    let mut append = |bytes: &[u8]| {
        image.extend(bytes);
        Ok(())
    };
    let head = builder.finish(data.len() as u64, &mut append).expect("completes");
    image[..HEAD_LEN].copy_from_slice(&head);
    image
}

fn open(file: &dyn LowerFile) -> Result<Option<Image>> {
    Image::open(file, 0, None)
}

/// One chunk, as a reader of the file gets it.
fn read_chunk(file: &dyn LowerFile, image: &Image, chunk: u64) -> Result<Vec<u8>> {
    let extent = image.page(file, chunk / PAGE_CHUNKS)?.extent(chunk);
    let mut out = vec![0xee; image.header().len_of_chunk(chunk)];
    image.read_chunk(file, &extent, &mut Vec::new(), &mut out)?;
    Ok(out)
}

fn damages(file: &dyn LowerFile) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    verify(file, 0, None, &mut |damage| damages.push(damage))?;
    Ok(damages)
}

/// Bytes that no codec can shorten.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Lines of a log.
fn text(len: usize) -> Vec<u8> {
    let line = |number: usize| {
        let (user, path) = (number * 7919 % 1000, ["index", "about", "login"][number % 3]);
        format!("line {number:06} user {user:03} GET /{path}.html 200 {}\n", number * 31 % 4096)
    };
    let mut text: Vec<u8> = (0..=len / 32).flat_map(|number| line(number).into_bytes()).collect();
    text.truncate(len);
    text
}

/// Text, zeros and noise, `len` bytes of each.
fn mixture(len: usize) -> Vec<u8> {
    [text(len), vec![0; len], noise(len, 5)].concat()
}
