//! Processes that use a mount while its worker is killed. Each knows what it has been told of its
//! own part of the tree, and ends at once when an operation fails or says anything else.

mod database;
mod rotate;

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use self::database::Sqlite;
use self::rotate::Rotate;
use hsci_tests::sys::Map;
use hsci_tests::{Random, Run};
use rustix::fs::{
    CWD, FallocateFlags, FlockOperation, RenameFlags, XattrFlags, fallocate, flock, getxattr,
    removexattr, renameat_with, setxattr,
};

/// What the processes do; two take turns with a lock.
const KINDS: [&str; 11] = [
    "names",
    "append",
    "overwrite",
    "mapped",
    "lock",
    "lock",
    "unlinked",
    "swap",
    "rotate",
    "journal",
    "wal",
];

/// Processes under way.
pub(crate) struct Load {
    dir: PathBuf,
    children: Vec<(&'static str, Child)>,
}

/// How long operations took, in microseconds, sorted.
pub(crate) struct Waits(Vec<u32>);

impl Load {
    /// Starts them on a mount; they tell in `dir`, which is elsewhere, how they got on.
    pub(crate) fn start(mount: &Path, dir: &Path, seed: u64) -> Self {
        fs::create_dir_all(dir).expect("directory for reports");
        let own = std::env::current_exe().expect("own path");
        let children = KINDS.iter().zip(seed..).map(|(kind, seed)| {
            let run = Run::new(&own).args(["--load", kind]).arg(mount).arg(dir);
            (*kind, run.arg(seed.to_string()).start())
        });
        Self { dir: dir.to_owned(), children: children.collect() }
    }

    /// None of them has ended, which it would only do after an error.
    pub(crate) fn check(&mut self) {
        for (kind, child) in &mut self.children {
            assert!(child.try_wait().expect("wait").is_none(), "`{kind}` has met an error");
        }
    }

    /// Has them compare once more what they know, and end.
    pub(crate) fn stop(self) -> Waits {
        fs::write(self.dir.join("stop"), "").expect("stop");
        let mut waits = Vec::new();
        for (kind, mut child) in self.children {
            let pid = child.id();
            assert!(child.wait().expect("wait").success(), "`{kind}` has met an error");
            let report = fs::read(self.dir.join(format!("waits.{pid}"))).expect("a report");
            let numbers = report.chunks_exact(4).map(|bytes| bytes.try_into().expect("4 bytes"));
            waits.extend(numbers.map(u32::from_ne_bytes));
        }
        waits.sort_unstable();
        Waits(waits)
    }
}

impl Waits {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The longest wait of all but one in `of`.
    pub(crate) fn all_but_one_in(&self, of: usize) -> Duration {
        let place = self.0.len() - 1 - (self.0.len() / of).min(self.0.len() - 1);
        Duration::from_micros(self.0[place].into())
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros((*self.0.last().expect("operations")).into())
    }
}

/// The body of one process; `arguments` are those behind `--load`.
pub(crate) fn process(arguments: &[String]) {
    let [kind, mount, dir, seed] = arguments else { panic!("KIND MOUNT DIR SEED") };
    let (mount, dir) = (Path::new(mount), Path::new(dir));
    let random = Random::new(seed.parse().expect("a number"));
    let own = mount.join(format!("{kind}.{}", std::process::id()));
    fs::create_dir(&own).expect("a directory of its own");
    let mut client: Box<dyn Client> = match kind.as_str() {
        "names" => Box::new(Names { dir: own, random, count: 0 }),
        "append" => Box::new(Append::new(&own, random)),
        "overwrite" => Box::new(Overwrite::new(&own, random)),
        "mapped" => Box::new(Mapped::new(&own, random)),
        "lock" => Box::new(Lock { path: mount.join("counter"), added: 0 }),
        "unlinked" => Box::new(Unlinked::new(&own, random)),
        "swap" => Box::new(Swap::new(&own)),
        "rotate" => Box::new(Rotate::new(&own, random)),
        "journal" => Box::new(Sqlite::new(&own, "pragma journal_mode=delete;")),
        "wal" => {
            Box::new(Sqlite::new(&own, "pragma journal_mode=wal; pragma mmap_size=268435456;"))
        }
        _ => panic!("{kind}: nobody knows how"),
    };
    let mut waits = Vec::new();
    while !dir.join("stop").exists() {
        let begun = Instant::now();
        let operations = client.step();
        let each = begun.elapsed().as_micros() / u128::from(operations);
        waits.extend(std::iter::repeat_n(each as u32, operations as usize));
    }
    client.finish();
    let bytes: Vec<u8> = waits.iter().flat_map(|wait| wait.to_ne_bytes()).collect();
    fs::write(dir.join(format!("waits.{}", std::process::id())), bytes).expect("a report");
}

trait Client {
    /// Does something, and says of how many calls the time is worth telling.
    fn step(&mut self) -> u32;

    /// Compares everything.
    fn finish(&mut self) {}
}

/// Every call on names, in an order that leaves nothing behind.
struct Names {
    dir: PathBuf,
    random: Random,
    count: u64,
}

impl Client for Names {
    fn step(&mut self) -> u32 {
        self.count += 1;
        let at = |name: &str| self.dir.join(format!("{name}.{}", self.count));
        let (file, other, dir, link) = (at("file"), at("other"), at("dir"), at("link"));
        fs::write(&file, self.count.to_string()).expect("create");
        fs::create_dir(&dir).expect("mkdir");
        fs::hard_link(&file, &link).expect("link");
        fs::rename(&file, &other).expect("rename");
        assert!(!file.exists(), "a name stays after rename");
        std::os::unix::fs::symlink("target", &file).expect("symlink");
        assert_eq!(fs::read_link(&file).expect("readlink"), Path::new("target"));
        assert_eq!(fs::metadata(&other).expect("stat").nlink(), 2, "names of a file");
        if self.random.once_in(2) {
            fs::rename(&link, dir.join("in")).expect("rename into a directory");
            fs::rename(dir.join("in"), &link).expect("rename out of a directory");
        }
        assert_eq!(fs::read_to_string(&link).expect("read"), self.count.to_string());
        fs::remove_file(&file).expect("unlink a symbolic link");
        fs::remove_file(&link).expect("unlink");
        assert_eq!(fs::metadata(&other).expect("stat").nlink(), 1, "names of a file");
        fs::rename(&other, self.dir.join("last")).expect("rename over a file");
        fs::remove_dir(&dir).expect("rmdir");
        14
    }

    fn finish(&mut self) {
        let left: Vec<_> = fs::read_dir(&self.dir).expect("list").flatten().collect();
        assert_eq!(left.len(), 1, "left behind: {left:?}");
    }
}

/// A log.
struct Append {
    path: PathBuf,
    file: File,
    random: Random,
    bytes: Vec<u8>,
}

impl Append {
    fn new(dir: &Path, random: Random) -> Self {
        let path = dir.join("log");
        let file = OpenOptions::new().append(true).create(true).open(&path).expect("open");
        Self { path, file, random, bytes: Vec::new() }
    }
}

impl Client for Append {
    fn step(&mut self) -> u32 {
        let len = 1 + self.random.skewed(12) as usize;
        let data = self.random.bytes(len, true);
        rustix::io::write(&self.file, &data)
            .map(|written| assert_eq!(written, data.len(), "a short write"))
            .expect("append");
        self.bytes.extend(data);
        if self.random.once_in(50) {
            self.file.sync_data().expect("fdatasync");
        }
        if self.random.once_in(2000) {
            self.finish();
        }
        1
    }

    fn finish(&mut self) {
        let mut found = Vec::new();
        File::open(&self.path).expect("open").read_to_end(&mut found).expect("read");
        assert!(found == self.bytes, "a log of {} bytes, found {}", self.bytes.len(), found.len());
    }
}

/// One file, written anywhere, made shorter and longer.
struct Overwrite {
    file: File,
    random: Random,
    bytes: Vec<u8>,
}

impl Overwrite {
    fn new(dir: &Path, random: Random) -> Self {
        let path = dir.join("file");
        let file = File::options().read(true).write(true).create_new(true).open(path);
        Self { file: file.expect("create"), random, bytes: Vec::new() }
    }
}

impl Client for Overwrite {
    fn step(&mut self) -> u32 {
        let offset = self.random.below(1_000_000) as usize;
        match self.random.below(20) {
            0 => {
                self.file.set_len(offset as u64).expect("truncate");
                self.bytes.resize(offset, 0);
            }
            1 if !self.bytes.is_empty() => {
                let start = offset % self.bytes.len();
                let end = (start + 70_000).min(self.bytes.len());
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(&self.file, mode, start as u64, (end - start) as u64).expect("punch");
                self.bytes[start..end].fill(0);
            }
            2..12 => {
                let len = 1 + self.random.skewed(17) as usize;
                let compressible = !self.random.once_in(4);
                let data = self.random.bytes(len, compressible);
                self.file.write_all_at(&data, offset as u64).expect("write");
                self.bytes.resize(self.bytes.len().max(offset + len), 0);
                self.bytes[offset..offset + len].copy_from_slice(&data);
            }
            12 => self.file.sync_all().expect("fsync"),
            _ => self.compare(offset.min(self.bytes.len()), 100_000),
        }
        1
    }

    fn finish(&mut self) {
        self.compare(0, usize::MAX);
        let len = self.file.metadata().expect("stat").len();
        assert_eq!(len, self.bytes.len() as u64, "length");
    }
}

impl Overwrite {
    fn compare(&self, start: usize, len: usize) {
        let expected = &self.bytes[start..self.bytes.len().min(start.saturating_add(len))];
        let mut found = vec![0; expected.len()];
        self.file.read_exact_at(&mut found, start as u64).expect("read");
        assert!(found == expected, "wrong bytes behind {start}");
    }
}

/// Stores through a shared mapping.
struct Mapped {
    path: PathBuf,
    map: Map,
    random: Random,
    bytes: Vec<u8>,
}

const MAPPED: usize = 300_000;

impl Mapped {
    fn new(dir: &Path, random: Random) -> Self {
        let path = dir.join("mapped");
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.expect("create");
        file.set_len(MAPPED as u64).expect("length");
        let map = Map::new(&file, MAPPED).expect("mmap");
        Self { path, map, random, bytes: vec![0; MAPPED] }
    }
}

impl Client for Mapped {
    fn step(&mut self) -> u32 {
        let offset = self.random.below(MAPPED as u64 - 5000) as usize;
        let data = self.random.bytes(5000, true);
        self.map.write(offset, &data);
        self.bytes[offset..offset + data.len()].copy_from_slice(&data);
        if self.random.once_in(10) {
            self.map.sync().expect("msync");
        }
        if self.random.once_in(200) {
            self.finish();
        }
        1
    }

    fn finish(&mut self) {
        let mut found = vec![0; MAPPED];
        self.map.read(0, &mut found);
        assert!(found == self.bytes, "wrong bytes in the mapping");
        self.map.sync().expect("msync");
        assert!(fs::read(&self.path).expect("read") == self.bytes, "wrong bytes in the file");
    }
}

/// A number that several processes count up, one at a time.
struct Lock {
    path: PathBuf,
    added: u64,
}

impl Client for Lock {
    fn step(&mut self) -> u32 {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = file.expect("open");
        flock(&file, FlockOperation::LockExclusive).expect("lock");
        let mut bytes = [0; 8];
        let known = file.read_at(&mut bytes, 0).expect("read");
        assert!(known == 0 || known == 8, "a number of {known} bytes");
        let number = u64::from_ne_bytes(bytes);
        assert!(number >= self.added, "the number {number} fell below {}", self.added);
        file.write_all_at(&(number + 1).to_ne_bytes(), 0).expect("write");
        self.added += 1;
        4
    }
}

/// A file without a name.
struct Unlinked {
    dir: PathBuf,
    random: Random,
    file: File,
    bytes: Vec<u8>,
    count: u64,
}

impl Unlinked {
    fn new(dir: &Path, random: Random) -> Self {
        let file = Self::make(dir, 0);
        Self { dir: dir.to_owned(), random, file, bytes: Vec::new(), count: 0 }
    }

    fn make(dir: &Path, count: u64) -> File {
        let path = dir.join(count.to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.expect("create");
        fs::remove_file(path).expect("unlink");
        file
    }
}

impl Client for Unlinked {
    fn step(&mut self) -> u32 {
        let len = 1 + self.random.skewed(13) as usize;
        let data = self.random.bytes(len, true);
        self.file.write_all_at(&data, self.bytes.len() as u64).expect("write without a name");
        self.bytes.extend(data);
        if self.random.once_in(20) {
            self.finish();
        }
        if self.random.once_in(300) {
            self.count += 1;
            self.file = Self::make(&self.dir, self.count);
            self.bytes.clear();
        }
        1
    }

    fn finish(&mut self) {
        let mut found = vec![0; self.bytes.len()];
        self.file.read_exact_at(&mut found, 0).expect("read without a name");
        assert!(found == self.bytes, "wrong bytes in a file without a name");
    }
}

/// Two files that swap names, and attributes that come and go.
struct Swap {
    names: [PathBuf; 2],
    swapped: bool,
}

impl Swap {
    fn new(dir: &Path) -> Self {
        let names = ["one", "two"].map(|name| dir.join(name));
        for name in &names {
            fs::write(name, name.file_name().expect("a name").as_encoded_bytes()).expect("create");
        }
        Self { names, swapped: false }
    }
}

impl Client for Swap {
    fn step(&mut self) -> u32 {
        let [one, two] = &self.names;
        renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).expect("exchange");
        self.swapped = !self.swapped;
        let expected = if self.swapped { "two" } else { "one" };
        assert_eq!(fs::read_to_string(one).expect("read"), expected, "after an exchange");
        setxattr(one, "user.swap", b"value", XattrFlags::CREATE).expect("setxattr");
        let mut value = [0; 5];
        assert_eq!(getxattr(one, "user.swap", &mut value), Ok(5), "getxattr");
        removexattr(one, "user.swap").expect("removexattr");
        5
    }
}
