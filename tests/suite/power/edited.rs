//! Files that are written anywhere, appended to, made shorter and longer, and synced at times.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hsci_tests::Random;
use rustix::fs::{FallocateFlags, fallocate};

use super::promise::Promise;
use super::{Book, Client, lock};

const FILES: usize = 8;
const LONGEST: usize = 300_000;
/// So many changes of a file without a sync at most.
const UNSYNCED: usize = 20;

/// The contents of the files, by their numbers.
#[derive(Clone, Debug)]
struct Contents(Vec<Promise<Vec<u8>>>);

pub(super) struct Edited {
    files: Vec<File>,
    random: Random,
    contents: Arc<Mutex<Contents>>,
}

impl Edited {
    pub(super) fn new(dir: &Path, random: Random) -> Self {
        let create = |number: usize| {
            let path = dir.join(number.to_string());
            File::options().read(true).write(true).create_new(true).open(path).expect("create")
        };
        let files = (0..FILES).map(create).collect();
        let contents = Contents(vec![Promise::new(Vec::new()); FILES]);
        Self { files, random, contents: Arc::new(Mutex::new(contents)) }
    }

    /// What a file will hold, and the call that leads to it.
    fn change(&mut self, mut bytes: Vec<u8>) -> (Vec<u8>, Change) {
        let len = 1 + self.random.skewed(16) as usize;
        let offset = self.random.below(LONGEST as u64) as usize;
        match self.random.below(10) {
            0 => {
                bytes.resize(offset, 0);
                (bytes, Box::new(move |file| file.set_len(offset as u64)))
            }
            1 if offset < bytes.len() => {
                let end = (offset + len).min(bytes.len());
                bytes[offset..end].fill(0);
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let (offset, len) = (offset as u64, (end - offset) as u64);
                (bytes, Box::new(move |file| Ok(fallocate(file, mode, offset, len)?)))
            }
            way => {
                let appends = way < 5 && bytes.len() < LONGEST;
                let offset = if appends { bytes.len() } else { offset };
                let compressible = !self.random.once_in(4);
                let data = self.random.bytes(len, compressible);
                bytes.resize(bytes.len().max(offset + len), 0);
                bytes[offset..offset + len].copy_from_slice(&data);
                (bytes, Box::new(move |file| file.write_all_at(&data, offset as u64)))
            }
        }
    }
}

type Change = Box<dyn FnOnce(&File) -> std::io::Result<()>>;

impl Client for Edited {
    fn step(&mut self) {
        let number = self.random.below(FILES as u64) as usize;
        let promise = lock(&self.contents).0[number].clone();
        if promise.states().len() <= UNSYNCED && !self.random.once_in(6) {
            let (bytes, change) = self.change(promise.last().clone());
            lock(&self.contents).0[number].begin(bytes);
            change(&self.files[number]).expect("change");
        } else {
            let file = &self.files[number];
            let synced = if self.random.once_in(2) { file.sync_all() } else { file.sync_data() };
            synced.expect("fsync");
            lock(&self.contents).0[number].keep();
        }
    }

    fn book(&self) -> Arc<Mutex<dyn Book>> {
        Arc::clone(&self.contents) as _
    }
}

impl Book for Contents {
    fn copy(&self) -> Box<dyn Book> {
        Box::new(self.clone())
    }

    fn verify(&self, dir: &Path) {
        assert_eq!(fs::read_dir(dir).expect("list").count(), FILES, "{}: files", dir.display());
        for (number, promise) in self.0.iter().enumerate() {
            let path = dir.join(number.to_string());
            let found = fs::read(&path);
            let found = found.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if let Err(reason) = explain(&found, promise.states()) {
                panic!("{}: {reason}, with {} states", path.display(), promise.states().len());
            }
        }
    }

    fn unsynced(&self) -> usize {
        self.0.iter().filter(|promise| promise.states().len() > 1).count()
    }
}

/// Each byte is that of one of the states, or a zero where a state ends before: pages are written
/// back one by one, and space behind the end may count before its bytes are there.
fn explain(found: &[u8], states: &[Vec<u8>]) -> Result<(), String> {
    let lens = || states.iter().map(Vec::len);
    let (least, most) = (lens().min().unwrap_or(0), lens().max().unwrap_or(0));
    if !(least..=most).contains(&found.len()) {
        return Err(format!("{} bytes instead of {least} to {most}", found.len()));
    }
    let fits = |(at, byte): (usize, &u8)| {
        let is = |state: &Vec<u8>| state.get(at).map_or(*byte == 0, |known| known == byte);
        states.iter().any(is)
    };
    let wrong = found.iter().enumerate().position(|place| !fits(place));
    wrong.map_or(Ok(()), |at| {
        let count = found.iter().enumerate().filter(|place| !fits(*place)).count();
        Err(format!("wrong from byte {at} of {} on, {count} bytes", found.len()))
    })
}
