//! Power cuts under load: what a real file system and the program leave on a disk keeps the promises.

mod edited;
mod promise;
mod whole;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Random, Run, Test, machine, mount};
use rustix::fs::{XattrFlags, ioctl_ficlone, setxattr};

use self::edited::Edited;
use self::whole::Whole;

pub(crate) const TESTS: &[Test] = &[Test {
    name: "power::copies_of_a_disk_under_load_keep_the_promises",
    seconds: 1500,
    body: copies,
}];

/// Magic of a journal's footer (`docs/src/reference/format-bytes.md`).
const FOOTER: &[u8] = b"HSCIjrnl";

/// Uses its own directory of the mount, and keeps a book.
trait Client: Send {
    fn step(&mut self);

    fn book(&self) -> Arc<Mutex<dyn Book>>;
}

/// What a client was promised, kept in memory: elsewhere than what it is about.
trait Book: Send {
    fn copy(&self) -> Box<dyn Book>;

    /// Compares with what is found in the client's directory.
    fn verify(&self, dir: &Path);

    /// Number of files of which more than one state is possible.
    fn unsynced(&self) -> usize;
}

fn lock<T: ?Sized>(book: &Mutex<T>) -> MutexGuard<'_, T> {
    book.lock().expect("no client fails while it writes into its book")
}

fn work(mut client: Box<dyn Client>, mut random: Random, stop: &AtomicBool, steps: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        client.step();
        steps.fetch_add(1, Ordering::Relaxed);
        // At times all files of the client become quiet, and are compressed.
        let longest = if random.once_in(100) { 1_000_000 } else { 5000 };
        std::thread::sleep(Duration::from_micros(random.below(longest)));
    }
}

/// The clients at work, each on a thread.
struct Load {
    books: Vec<(String, Arc<Mutex<dyn Book>>)>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    steps: Arc<AtomicU64>,
}

impl Load {
    fn start(mount: &Path, seed: u64) -> Self {
        let (mut books, mut clients) = (Vec::new(), Vec::new());
        for (number, algorithm) in (0..).zip(["zstd:1", "lz4", "deflate:1", "zstd:3"]) {
            let name = format!("client.{number}");
            let dir = mount.join(&name);
            std::fs::create_dir(&dir).expect("a directory of its own");
            let value = algorithm.as_bytes();
            setxattr(&dir, "user.hsci.algorithm", value, XattrFlags::empty()).expect("algorithm");
            let random = Random::new(seed + number);
            let client: Box<dyn Client> = match number % 2 {
                0 => Box::new(Edited::new(&dir, random.clone())),
                _ => Box::new(Whole::new(&dir, random.clone())),
            };
            books.push((name, client.book()));
            clients.push((client, random));
        }
        // Directories and empty files: books begin with them.
        Run::new("sync").arg("-f").arg(mount).ok();
        let (stop, steps) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let start = |(client, random)| {
            let (stop, steps) = (Arc::clone(&stop), Arc::clone(&steps));
            std::thread::spawn(move || work(client, random, &stop, &steps))
        };
        let threads = clients.into_iter().map(start).collect();
        Self { books, threads, stop, steps }
    }

    /// Copies the disk while nobody is told of a success: what a book says is durable was so before
    /// the copy began, and all calls that may have left a trace in it are in a book. Calls under way
    /// go on meanwhile, and so does compression.
    fn copy(&self, disk: &Disk, copy: &Path) -> Vec<(&str, Box<dyn Book>)> {
        let held: Vec<_> = self.books.iter().map(|(name, book)| (&**name, lock(book))).collect();
        disk.copy(copy);
        held.into_iter().map(|(name, book)| (name, book.copy())).collect()
    }

    fn check(&self) {
        assert!(!self.threads.iter().any(JoinHandle::is_finished), "a client has failed");
    }

    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a client has failed");
        }
        self.steps.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    /// Nobody uses the mount any more when a failed test unmounts it.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// An ext4 in an image, on a loop device.
///
/// The image lies in a btrfs, which can copy it at one moment: FICLONE holds the lock of the inode
/// that every write of the loop device takes, writes back what is dirty, and then shares the
/// extents. So each write of ext4 to its disk is in the copy as a whole or not at all, and those
/// that were completed before are in it. A disk may also lose completed writes that were never
/// flushed; that ext4 flushes where it has to is not what is tested here.
struct Disk {
    _ext4: machine::Loop,
    image: File,
    _btrfs: machine::Loop,
}

impl Disk {
    fn new(dir: &Path) -> Self {
        let images = dir.join("images");
        let btrfs = machine::loop_file_system("btrfs", 2 << 30, &dir.join("btrfs.image"), &images);
        let image = images.join("disk");
        let ext4 = machine::loop_file_system("ext4", 256 << 20, &image, &dir.join("disk"));
        let image = File::open(image).expect("open");
        Self { _ext4: ext4, image, _btrfs: btrfs }
    }

    fn copy(&self, to: &Path) {
        let to = File::create_new(to).expect("create");
        ioctl_ficlone(to, &self.image).expect("copy the disk");
    }
}

/// What copies were like.
#[derive(Default)]
struct Seen {
    raw: u64,
    sealed: u64,
    log: u64,
    /// Copies of which recovery had something to do.
    to_mend: u64,
    /// Files of which more than one state was possible.
    unsynced: u64,
}

impl Seen {
    /// Checks a copy: before recovery, the promises, and after it.
    fn verify(&mut self, dir: &Path, image: &Path, books: &[(&str, Box<dyn Book>)]) {
        let _disk = machine::loop_mount(image, &dir.join("copy"));
        let (lower, point) = (dir.join("copy/store"), dir.join("after"));
        self.to_mend += u64::from(findings(&lower) > 0);
        let mut mount = Mount::at(&lower, &point, "compressfs", "settle=1h");
        let forms = &mount.usage()["forms"];
        let count = |form: &str| forms[form].as_u64().unwrap_or(0);
        assert_eq!(count("unreadable"), 0, "unreadable files");
        self.raw += count("raw");
        self.sealed += count("sealed");
        self.log += count("log");
        for (name, book) in books {
            book.verify(&mount.path(name));
            self.unsynced += book.unsynced() as u64;
        }
        mount.unmount();
        assert_eq!(findings(&lower), 0, "findings after recovery");
    }
}

/// Number of findings of `hsci check`, which must not be damage.
fn findings(lower: &Path) -> usize {
    let report = mount::hsci(["check", "--json"], lower).ok();
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    report["findings"].as_array().expect("findings").len()
}

/// Waits until files change their form: a journal ends with its footer. Then lets some part of that
/// time pass. Does not wait for ever, for the load goes its own way.
fn wait_for_commit(lower: &Path, random: &mut Random) {
    let store = lower.join(".hsci/compressfs");
    let is_committed = || {
        let names = std::fs::read_dir(&store).expect("list").flatten();
        let mut journals = names.filter_map(|entry| std::fs::read(entry.path()).ok());
        journals.any(|bytes| bytes.last_chunk::<40>().is_some_and(|last| last.starts_with(FOOTER)))
    };
    let begun = Instant::now();
    while !is_committed() && begun.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_micros(random.below(40_000)));
}

fn copies(dir: &Path) {
    let disk = Disk::new(dir);
    let (lower, point) = (dir.join("disk/store"), dir.join("mount"));
    for path in [&lower, &point, &dir.join("after")] {
        std::fs::create_dir(path).expect("directory");
    }
    let options = "settle=100ms,chunk=32K";
    let mut mount = Mount::at(&lower, &point, "compressfs", options);
    let seed = Random::seed("power");
    let mut random = Random::new(seed);
    let load = Load::start(mount.dir(), seed);
    let (begun, mut seen) = (Instant::now(), Seen::default());
    let wanted = machine::amount("HSCI_POWER_CUTS", 10);
    for number in 0..wanted {
        std::thread::sleep(Duration::from_micros(random.below(1_000_000)));
        if number % 2 == 1 {
            wait_for_commit(&lower, &mut random);
        }
        let image = dir.join(format!("images/copy.{number}"));
        let books = load.copy(&disk, &image);
        seen.verify(dir, &image, &books);
        std::fs::remove_file(&image).expect("remove");
        load.check();
    }
    let steps = load.stop();
    let Seen { raw, sealed, log, to_mend, unsynced } = seen;
    println!(
        "{wanted} copies in {:.0?}, {steps} operations; {to_mend} copies had something to mend; \
         files: {raw} raw, {sealed} sealed, {log} logs, {unsynced} with changes not synced",
        begun.elapsed()
    );
    for (form, count) in [("raw", raw), ("sealed", sealed), ("log", log)] {
        assert!(count > 0, "no copy has a {form} file");
    }
    assert!(wanted < 50 || to_mend > 0, "no copy was made while files changed their form");
    mount.unmount();
    mount.check();
}
