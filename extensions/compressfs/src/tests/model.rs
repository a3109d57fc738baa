//! Random operations on files in all forms, against vectors of bytes.

use std::ops::Range;

use hsci_extension::Ino;

use super::disk::Disk;
use super::random::Random;
use super::rig::{self, Rig};

const FILES: usize = 3;
/// Files reach over several chunks of 32 KiB.
const MAX_LEN: u64 = 300 << 10;
const ALGORITHMS: [&str; 6] = ["zstd:1", "zstd:3", "lz4", "deflate:1", "none", "zstd:-5"];

/// One step of the test, drawn at random.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) file: usize,
    pub(super) kind: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) data: Vec<u8>,
}

impl Operation {
    pub(super) fn draw(random: &mut Random) -> Self {
        let kind = random.below(100);
        let offset = random.below(MAX_LEN);
        let len = match random.below(10) {
            0..5 => random.below(6000) + 1,
            5..9 => random.below(70_000) + 1,
            _ => 32 << 10,
        };
        // Some begin and end where chunks do.
        let offset = if random.below(3) == 0 { offset >> 15 << 15 } else { offset };
        let compressible = random.below(4) > 0;
        let data = if kind < 45 { random.bytes(len as usize, compressible) } else { Vec::new() };
        Self { file: random.below(FILES as u64) as usize, kind, offset, len, data }
    }

    /// What the operation makes of a file's bytes; `None` if it changes none.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) -> bool {
        let (offset, len) = (self.offset as usize, self.len as usize);
        match self.kind {
            0..45 => {
                let offset = if self.kind < 10 { bytes.len() } else { offset };
                bytes.resize(bytes.len().max(offset + self.data.len()), 0);
                bytes[offset..offset + self.data.len()].copy_from_slice(&self.data);
            }
            45..53 => bytes.resize(offset, 0),
            53..55 => bytes.clear(),
            55..65 => {
                let end = (offset + len).min(bytes.len());
                bytes[offset.min(end)..end].fill(0);
            }
            65..70 => {
                bytes.resize(bytes.len().max(offset + len), 0);
                bytes[offset..offset + len].fill(0);
            }
            _ => return false,
        }
        true
    }

    /// The bytes that may be anything between old and new until a sync, of a file of `len` bytes.
    pub(super) fn touches(&self, len: usize) -> Range<usize> {
        let (offset, end) = (self.offset as usize, (self.offset + self.len) as usize);
        match self.kind {
            0..10 => len..len + self.data.len(),
            10..45 => offset.min(len)..offset + self.data.len(),
            45..53 => offset.min(len)..usize::MAX,
            53..55 => 0..usize::MAX,
            55..65 => offset..end,
            65..70 => offset.min(len)..end,
            _ => 0..0,
        }
    }

    pub(super) fn is_sync(&self) -> bool {
        (70..80).contains(&self.kind)
    }

    /// The same on a file of the extension; `len` is how long it is.
    pub(super) fn run(&self, rig: &Rig, ino: Ino, len: u64) -> hsci_extension::Result<()> {
        match self.kind {
            0..10 => rig.write(ino, len, &self.data),
            10..45 => rig.write(ino, self.offset, &self.data),
            45..53 => rig.set_len(ino, self.offset),
            53..55 => rig.set_len(ino, 0),
            55..65 => rig.punch(ino, self.offset, self.len),
            65..70 => rig.zero(ino, self.offset, self.len),
            70..80 => rig.sync(ino),
            80..86 => {
                rig.settle();
                Ok(())
            }
            86..88 => rig.choose(0, ino, ALGORITHMS[self.offset as usize % ALGORITHMS.len()]),
            _ => rig.read(ino, self.offset, self.len as usize).map(drop),
        }
    }
}

fn run(seed: u64, operations: usize) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let disk = Disk::default();
    let inos: Vec<Ino> = (0..FILES).map(|n| disk.create(&format!("file{n}"), 1000)).collect();
    let mut models = vec![Vec::new(); FILES];
    let mut rig = Rig::start(&disk, &[]).expect("start");
    for step in 0..operations {
        let operation = Operation::draw(&mut random);
        let (ino, model) = (inos[operation.file], &mut models[operation.file]);
        let context = format!("seed {seed}, step {step}, kind {}", operation.kind);
        if operation.kind >= 98 {
            drop(rig);
            rig = Rig::start(&disk, &[]).expect(&context);
        }
        operation.run(&rig, ino, model.len() as u64).expect(&context);
        operation.apply(model);
        let (start, len) = (operation.offset as usize, operation.len as usize + 5000);
        let expected = &model[start.min(model.len())..(start + len).min(model.len())];
        let read = rig.read(ino, start as u64, len).expect(&context);
        assert!(read == expected, "{context}: wrong bytes around {start}");
        if step % 50 == 0 {
            for (ino, model) in inos.iter().zip(&models) {
                assert!(rig.read_all(*ino).expect(&context) == *model, "{context}: {ino:?}");
            }
        }
    }
    drop(rig);
    let (_, findings) = rig::check(&disk);
    assert_eq!(findings, [], "seed {seed}: the check finds something");
    assert_eq!(disk.store_names(), [] as [&str; 0], "seed {seed}: left in the store");
}

#[test]
fn random_operations_in_all_forms() {
    for seed in 0..20 {
        run(seed, 1000);
    }
}
