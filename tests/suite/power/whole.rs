//! Files that are replaced as a whole, renamed, linked and unlinked, as careful programs do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hsci_tests::Random;

use super::promise::Promise;
use super::{Book, Client, lock};

const DIRS: [&str; 2] = ["a", "b"];
/// Many, so that most of them are at rest when power fails.
const FILES: u64 = 40;

/// Names of a file, each with the version that is found there.
type Names = BTreeMap<String, u64>;

/// The files, by their numbers: a name is `DIR/NUMBER` or `DIR/NUMBER.link`. A version is a file's
/// number and, in the upper half, a count.
#[derive(Clone, Debug)]
struct Files(Vec<Promise<Names>>);

pub(super) struct Whole {
    dir: PathBuf,
    random: Random,
    count: u64,
    files: Arc<Mutex<Files>>,
}

/// All bytes follow from the version, which the first 8 tell.
fn content(version: u64) -> Vec<u8> {
    let mut random = Random::new(version);
    let len = random.skewed(18) as usize;
    let compressible = !random.once_in(4);
    [version.to_le_bytes().to_vec(), random.bytes(len, compressible)].concat()
}

impl Whole {
    pub(super) fn new(dir: &Path, random: Random) -> Self {
        for name in DIRS {
            fs::create_dir(dir.join(name)).expect("directory");
        }
        let files = Files(vec![Promise::new(Names::new()); FILES as usize]);
        Self { dir: dir.to_owned(), random, count: 0, files: Arc::new(Mutex::new(files)) }
    }

    /// Notes where the file will be found, then makes the call.
    fn change(&self, number: u64, names: Names, call: impl FnOnce() -> std::io::Result<()>) {
        lock(&self.files).0[number as usize].begin(names);
        call().unwrap_or_else(|error| panic!("{number}: {error}"));
    }

    fn replace(&mut self, number: u64, mut names: Names, name: Option<String>) {
        self.count += 1;
        let version = self.count << 32 | number;
        let name = name.unwrap_or_else(|| format!("a/{number}"));
        let new = self.dir.join(format!("{}/{number}.new", &name[..1]));
        let file = File::create(&new).expect("create");
        std::io::Write::write_all(&mut &file, &content(version)).expect("write");
        file.sync_all().expect("fsync");
        let path = self.dir.join(&name);
        names.insert(name, version);
        self.change(number, names, || fs::rename(new, path));
    }

    fn sync(&self, number: u64) {
        for name in DIRS {
            let dir = File::open(self.dir.join(name)).expect("open");
            dir.sync_all().expect("fsync of a directory");
        }
        lock(&self.files).0[number as usize].keep();
    }
}

impl Client for Whole {
    fn step(&mut self) {
        let number = self.random.below(FILES);
        let mut names = lock(&self.files).0[number as usize].last().clone();
        let place = self.random.below(names.len().max(1) as u64) as usize;
        let name = names.keys().nth(place).cloned();
        let at = |name: &str| self.dir.join(name);
        match (self.random.below(8), name) {
            (0 | 1, Some(name)) => {
                let other = if name.starts_with('a') { "b" } else { "a" };
                let other = format!("{other}{}", &name[1..]);
                if !names.contains_key(&other) {
                    let version = names.remove(&name).expect("a known name");
                    names.insert(other.clone(), version);
                    self.change(number, names, || fs::rename(at(&name), at(&other)));
                }
            }
            (2, Some(name)) => {
                let other = format!("{}/{number}.link", &name[..1]);
                if !names.contains_key(&other) {
                    names.insert(other.clone(), names[&name]);
                    self.change(number, names, || fs::hard_link(at(&name), at(&other)));
                }
            }
            (3, Some(name)) => {
                names.remove(&name);
                self.change(number, names, || fs::remove_file(at(&name)));
            }
            (_, name) => self.replace(number, names, name),
        }
        if !self.random.once_in(3) {
            self.sync(number);
        }
    }

    fn book(&self) -> Arc<Mutex<dyn Book>> {
        Arc::clone(&self.files) as _
    }
}

impl Book for Files {
    fn copy(&self) -> Box<dyn Book> {
        Box::new(self.clone())
    }

    fn verify(&self, dir: &Path) {
        let mut found = vec![Names::new(); FILES as usize];
        for below in DIRS {
            for entry in fs::read_dir(dir.join(below)).expect("list").flatten() {
                let file = entry.file_name().into_string().expect("a name of ours");
                let name = format!("{below}/{file}");
                let bytes = fs::read(entry.path());
                let bytes = bytes.unwrap_or_else(|error| panic!("{name}: {error}"));
                if file.ends_with(".new") {
                    continue;
                }
                let version = bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
                let number = version as u32 as usize;
                assert_eq!(file.split('.').next(), Some(&*number.to_string()), "{name}");
                assert!(bytes == content(version), "{name}: bytes of version {version:x} changed");
                found[number].insert(name, version);
            }
        }
        for (number, (found, promise)) in found.iter().zip(&self.0).enumerate() {
            let states = promise.states();
            assert!(states.contains(found), "{number}: found at {found:?} instead of {states:?}");
        }
    }

    fn unsynced(&self) -> usize {
        self.0.iter().filter(|promise| promise.states().len() > 1).count()
    }
}
