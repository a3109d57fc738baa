//! Several processes at once on one file, each with a region of its own whose content it knows,
//! while the file is settled again and again behind their backs. After fsx (Apple, 1991).
//!
//! Regions begin and end anywhere, so that neighbours share pages and chunks. The last region
//! reaches to the end of the file, and its process alone truncates and extends. Nobody else touches
//! the page where the file ends: what is appended there while another process faults the page in can
//! be replaced by zeros in the kernel's FUSE, on every FUSE file system.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use hsci_tests::sys::Map;
use hsci_tests::{Mount, Random, Run, Test};
use rustix::fs::{FallocateFlags, copy_file_range, fallocate};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "exerciser::zstd", seconds: 120, body: zstd },
    Test { name: "exerciser::lz4", seconds: 120, body: lz4 },
    Test { name: "exerciser::deflate", seconds: 120, body: deflate },
    Test { name: "exerciser::none", seconds: 120, body: none },
    Test { name: "exerciser::nullfs", seconds: 120, body: nullfs },
];

/// Bytes of one process; no multiple of a page or chunk.
const REGION: u64 = 700_001;
const PROCESSES: u64 = 3;
const PAGE: u64 = 4096;
/// Changes of a region that are remembered for the report of a failure.
const HISTORY: usize = 20_000;

fn zstd(dir: &Path) {
    exercise(dir, "compressfs", "algorithm=zstd:3,settle=50ms,chunk=32K", 30);
}

fn lz4(dir: &Path) {
    exercise(dir, "compressfs", "algorithm=lz4,settle=50ms", 30);
}

fn deflate(dir: &Path) {
    exercise(dir, "compressfs", "algorithm=deflate:1,settle=50ms,chunk=64K", 30);
}

fn none(dir: &Path) {
    exercise(dir, "compressfs", "algorithm=none,settle=50ms", 10);
}

fn nullfs(dir: &Path) {
    exercise(dir, "nullfs", "", 10);
}

pub(crate) fn exercise(dir: &Path, extension: &str, options: &str, seconds: u64) {
    let mut mount = Mount::new(dir, "mount", extension, options);
    let path = mount.path("file");
    let file = File::create(&path).expect("file");
    file.set_len(REGION * (PROCESSES - 1) + PAGE).expect("length");
    let seed = Random::seed("exerciser");
    let started = Instant::now();
    let deadline = Duration::from_secs(seconds);
    let mut children: Vec<Child> =
        (0..PROCESSES).map(|region| start(&path, region, seconds, seed)).collect();
    let mut settled = 0;
    while started.elapsed() < deadline {
        if extension == "compressfs" {
            mount.settle();
            settled += 1;
        }
        // Let writers turn the file back into one that waits to be settled.
        std::thread::sleep(Duration::from_millis(30));
    }
    for child in &mut children {
        assert!(child.wait().expect("wait").success(), "a process has seen wrong bytes");
    }
    println!("settled {settled} times meanwhile");
    drop(file);
    verify_after_remount(&mut mount, &path);
}

/// What the processes saw last is what a fresh mount shows, and the store is sound.
fn verify_after_remount(mount: &mut Mount, path: &Path) {
    let before = std::fs::read(path).expect("read");
    mount.unmount();
    mount.check();
    mount.mount();
    assert!(std::fs::read(path).expect("read") == before, "the bytes changed over a remount");
    if mount.lower().join(".hsci").exists() {
        mount.settle();
        mount.remount();
        assert!(std::fs::read(path).expect("read") == before, "settling changed the bytes");
    }
}

fn start(path: &Path, region: u64, seconds: u64, seed: u64) -> Child {
    Run::new(std::env::current_exe().expect("own path"))
        .arg("--exercise")
        .arg(path)
        .args([region, seconds, seed].map(|number| number.to_string()))
        .start()
}

/// The body of one process; `arguments` are those behind `--exercise`.
pub(crate) fn process(arguments: &[String]) {
    let number = |index: usize| arguments[index].parse().expect("a number");
    let (region, seconds, seed) = (number(1), number(2), number(3));
    let file = OpenOptions::new().read(true).write(true).open(&arguments[0]).expect("open");
    let mut region = Region::new(file, region, seed);
    let started = Instant::now();
    let mut steps = 0_u64;
    while started.elapsed() < Duration::from_secs(seconds) {
        region.step();
        steps += 1;
    }
    region.verify();
    println!("process of region {} made {steps} steps", region.number);
}

struct Region {
    file: File,
    number: u64,
    /// Where it starts in the file.
    start: u64,
    /// What it holds; the last region ends where the file does.
    bytes: Vec<u8>,
    random: Random,
    history: VecDeque<Operation>,
}

/// What was done to a range of the region, to be told when its bytes are wrong.
struct Operation {
    step: u64,
    name: &'static str,
    range: Range<usize>,
}

impl Region {
    fn new(file: File, number: u64, seed: u64) -> Self {
        let len = if number == PROCESSES - 1 { PAGE } else { REGION };
        let random = Random::new(seed ^ (number << 40));
        let bytes = vec![0; len as usize];
        Self { file, number, start: number * REGION, bytes, random, history: VecDeque::new() }
    }

    fn remember(&mut self, name: &'static str, range: Range<usize>) {
        let step = self.history.back().map_or(0, |last| last.step + 1);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Operation { step, name, range });
    }

    fn is_last(&self) -> bool {
        self.number == PROCESSES - 1
    }

    /// A range inside the region, not empty unless the region is.
    fn range(&mut self) -> (usize, usize) {
        let len = self.bytes.len() as u64;
        if len == 0 {
            return (0, 0);
        }
        let bits = if self.random.once_in(6) { 19 } else { 13 };
        let offset = self.random.below(len);
        let size = (1 + self.random.skewed(bits)).min(len - offset);
        (offset as usize, size as usize)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => self.write(),
            35..60 => self.read(),
            60..70 => self.map_write(),
            70..80 => self.map_read(),
            80..84 => self.erase(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
            84..86 => self.erase(FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE),
            86..92 => self.copy(),
            92..97 if self.is_last() => self.set_len(),
            92..97 => self.allocate(),
            97 | 98 => self.file.sync_data().expect("fdatasync"),
            _ => self.verify(),
        }
    }

    fn write(&mut self) {
        let (mut offset, mut len) = self.range();
        if self.is_last() && self.random.once_in(2) && self.bytes.len() < REGION as usize {
            (offset, len) = (self.bytes.len(), 1 + self.random.skewed(14) as usize);
            self.bytes.resize(offset + len, 0);
        }
        self.remember("write", offset..offset + len);
        let compressible = !self.random.once_in(4);
        let data = self.random.bytes(len, compressible);
        self.file.write_all_at(&data, self.start + offset as u64).expect("write");
        self.bytes[offset..offset + len].copy_from_slice(&data);
    }

    fn read(&mut self) {
        let (offset, len) = self.range();
        let mut buffer = vec![0; len];
        self.file.read_exact_at(&mut buffer, self.start + offset as u64).expect("read");
        self.expect(offset, &buffer, "read");
    }

    fn map_write(&mut self) {
        let (offset, len) = self.range();
        if len == 0 {
            return;
        }
        self.remember("write through a mapping", offset..offset + len);
        let data = self.random.bytes(len, true);
        let map = self.map();
        map.write(self.start as usize + offset, &data);
        if self.random.once_in(4) {
            map.sync().expect("msync");
        }
        self.bytes[offset..offset + len].copy_from_slice(&data);
    }

    fn map_read(&mut self) {
        let (offset, len) = self.range();
        if len == 0 {
            return;
        }
        let mut buffer = vec![0; len];
        self.map().read(self.start as usize + offset, &mut buffer);
        self.expect(offset, &buffer, "read through a mapping");
    }

    fn map(&self) -> Map {
        Map::new(&self.file, self.start as usize + self.bytes.len()).expect("mmap")
    }

    /// True if a range shares no page with a neighbour. Copies and holes must not: the kernel's FUSE
    /// drops whole pages around the target of a copy, with what neighbours have stored there through
    /// mappings; and it lets such a page, with the old bytes, be written back while it asks for a
    /// hole.
    fn is_apart(&self, offset: usize, len: usize) -> bool {
        let page = PAGE as usize;
        offset >= page && (self.is_last() || offset + len + page <= self.bytes.len())
    }

    fn erase(&mut self, mode: FallocateFlags) {
        let (offset, len) = self.range();
        if len > 0 && self.is_apart(offset, len) {
            self.remember("erase", offset..offset + len);
            fallocate(&self.file, mode, self.start + offset as u64, len as u64).expect("erase");
            self.bytes[offset..offset + len].fill(0);
        }
    }

    fn allocate(&mut self) {
        let (offset, len) = self.range();
        let mode = FallocateFlags::KEEP_SIZE;
        self.remember("allocate", offset..offset + len);
        fallocate(&self.file, mode, self.start + offset as u64, len as u64).expect("allocate");
    }

    fn copy(&mut self) {
        let (from, len) = self.range();
        let (to, room) = self.range();
        let (from, to) = (from as u64, to as u64);
        let len = (len.min(room) as u64).min(from.abs_diff(to));
        if len == 0 || !self.is_apart(to as usize, len as usize) {
            return;
        }
        self.remember("copy to", to as usize..(to + len) as usize);
        let (mut source, mut target) = (self.start + from, self.start + to);
        let mut left = len as usize;
        while left > 0 {
            let (out, into) = (Some(&mut source), Some(&mut target));
            let copied = copy_file_range(&self.file, out, &self.file, into, left).expect("copy");
            assert!(copied > 0, "a copy inside of the file came to an end");
            left -= copied;
        }
        self.bytes.copy_within(from as usize..(from + len) as usize, to as usize);
    }

    fn set_len(&mut self) {
        let len = (PAGE + self.random.below(REGION - PAGE)) as usize;
        self.remember("set the length", len.min(self.bytes.len())..len.max(self.bytes.len()));
        self.file.set_len(self.start + len as u64).expect("truncate");
        self.bytes.resize(len, 0);
    }

    fn verify(&mut self) {
        let mut buffer = vec![0; self.bytes.len()];
        self.file.read_exact_at(&mut buffer, self.start).expect("read");
        self.expect(0, &buffer, "read as a whole");
    }

    fn expect(&self, offset: usize, found: &[u8], how: &str) {
        let expected = &self.bytes[offset..offset + found.len()];
        let Some(at) = expected.iter().zip(found).position(|(one, other)| one != other) else {
            return;
        };
        let byte = offset + at;
        for Operation { step, name, range } in &self.history {
            if range.contains(&byte) {
                println!("region {}: change {step} of byte {byte}: {name}, {range:?}", self.number);
            }
        }
        let steps = self.history.back().map_or(0, |last| last.step);
        println!("region {}: {steps} changes so far", self.number);
        let wrong = expected.iter().zip(found).filter(|(one, other)| one != other).count();
        panic!(
            "region {}: {how} at {}+{}: {wrong} wrong bytes, the first at {} is {:#x}, not {:#x}",
            self.number,
            self.start + offset as u64,
            found.len(),
            self.start + (offset + at) as u64,
            found[at],
            expected[at]
        );
    }
}
