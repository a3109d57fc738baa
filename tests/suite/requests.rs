//! How many requests the kernel sends for what programs do: counted in the host, and by the kernel's
//! own tracepoint for the one connection.

mod allocations;
mod kernel_trace;
mod system_calls;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use hsci_tests::sys::Map;
use hsci_tests::{Mount, Test};
use kernel_trace::KernelTrace;
use rustix::fs::{CWD, Mode, OFlags, openat};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "requests::nullfs_counted_by_the_host", seconds: 60, body: nullfs },
    Test { name: "requests::compressfs_counted_by_the_host", seconds: 60, body: compressfs },
    Test { name: "requests::nullfs_counted_by_the_kernel", seconds: 60, body: nullfs_traced },
    Test {
        name: "requests::compressfs_counted_by_the_kernel",
        seconds: 60,
        body: compressfs_traced,
    },
    Test { name: "requests::a_walk_asks_for_listings_alone", seconds: 60, body: walk },
    Test {
        name: "requests::another_walk_asks_for_the_listing_above",
        seconds: 60,
        body: walk_again,
    },
    Test { name: "requests::system_calls_of_nullfs", seconds: 90, body: system_calls::nullfs },
    Test {
        name: "requests::system_calls_of_compressfs",
        seconds: 90,
        body: system_calls::compressfs,
    },
    Test { name: "requests::allocations_of_nullfs", seconds: 90, body: allocations::nullfs },
    Test {
        name: "requests::allocations_of_compressfs",
        seconds: 90,
        body: allocations::compressfs,
    },
];

/// Requests by name.
type Counts = BTreeMap<String, u64>;

/// How often each operation is done, on as many files.
const TIMES: u64 = 50;
const PAGE: usize = 4096;

/// What programs do, the most requests each time may take, and how it is done to the n-th file.
type Row = (&'static str, u64, fn(&Path, u64));

/// The order matters: an operation leaves the files as the next one needs them.
///
/// The first write to a file whose attributes are new to the kernel takes a GETXATTR of
/// `security.capability`. Only a host that has no extended attributes at all can spare it.
const TABLE: &[Row] = &[
    ("create, write 4K, close", 5, create),
    ("first stat after a write", 1, stat),
    ("stat, warm", 0, stat),
    ("open, read, close, warm", 0, read),
    ("failed lookup, warm", 0, missing),
    ("read through a mapping, warm", 0, map_read),
    ("overwrite, close", 2, overwrite),
    ("first read after a write", 1, read),
    ("append, close", 2, append),
    ("truncate by opening, write, close", 3, rewrite),
    ("chmod", 1, chmod),
    ("set times", 1, set_times),
    ("list a directory, warm", 0, list),
    ("read a symbolic link, warm", 0, read_link),
    // One for the operation, one for the parent's attributes, one for the new name.
    ("mkdir", 3, make_dir),
    ("rename", 3, rename),
    ("unlink", 2, unlink),
];

fn nullfs(dir: &Path) {
    by_host(dir, "nullfs", "");
}

fn compressfs(dir: &Path) {
    by_host(dir, "compressfs", "settle=10m");
}

fn nullfs_traced(dir: &Path) {
    by_kernel(dir, "nullfs", "");
}

fn compressfs_traced(dir: &Path) {
    by_kernel(dir, "compressfs", "settle=10m");
}

fn by_host(dir: &Path, extension: &str, options: &str) {
    let mount = Mount::new(dir, "mount", extension, options);
    measure(&mount, &counted(&mount));
}

/// Counts requests of a mount in the host.
fn counted(mount: &Mount) -> impl Fn(&dyn Fn()) -> Counts {
    let counts = || {
        let status = mount.status();
        let requests = status["requests"].as_object().expect("status counts requests").clone();
        let number = |(name, count): (String, serde_json::Value)| {
            (name.to_uppercase(), count.as_u64().expect("a count"))
        };
        requests.into_iter().map(number).collect::<Counts>()
    };
    // Asking takes requests as well: the same ones each time.
    let first = counts();
    let asking = difference(&first, &counts());
    move |work: &dyn Fn()| {
        let before = counts();
        work();
        difference(&asking, &difference(&before, &counts()))
    }
}

/// Directories in one directory.
const BELOW: u64 = 40;

/// A listing makes a directory's time of access out of date. Who walks through many directories once more asks for the
/// listing above them, and not for each.
fn walk_again(dir: &Path) {
    let mount = Mount::new(dir, "mount", "nullfs", "");
    let (top, count) = (mount.path("top"), counted(&mount));
    (0..BELOW).for_each(|number| {
        let below = top.join(format!("dir-{number}"));
        fs::create_dir_all(&below).expect("directory");
        create(&below, number);
    });
    let walk = || {
        for entry in fs::read_dir(&top).expect("list") {
            let path = entry.expect("an entry").path();
            assert!(fs::symlink_metadata(&path).expect("stat").is_dir());
            list(&path, 0);
        }
    };
    let first = count(&walk);
    assert!(first["READDIRPLUS"] > BELOW, "{first:?}");
    let again = count(&walk);
    assert!(again.values().sum::<u64>() < BELOW / 4, "{again:?}");
}

/// Files of one directory: more than one answer lists.
const MANY: u64 = 1000;

/// Looking at all files of a directory takes listings and no request for each file: at first, and after all were read,
/// which makes their times of access out of date.
fn walk(dir: &Path) {
    for extension in ["nullfs", "compressfs"] {
        let options = if extension == "compressfs" { "scan=no" } else { "" };
        let first = Mount::new(dir, extension, extension, options);
        fs::create_dir(first.path("dir")).expect("directory");
        (0..MANY).for_each(|number| create(&first.path("dir"), number));
        drop(first);
        let mount = Mount::new(dir, extension, extension, options);
        let (many, count) = (mount.path("dir"), counted(&mount));
        let look = || {
            let seen = fs::read_dir(&many).expect("list").map(|entry| {
                let size = entry.and_then(|entry| entry.metadata()).expect("stat").size();
                assert_eq!(size, PAGE as u64);
            });
            assert_eq!(seen.count() as u64, MANY);
        };
        let cold = count(&look);
        let reads = count(&|| (0..MANY).for_each(|number| read(&many, number)));
        assert!(reads["READ"] >= MANY, "not read from the host: {reads:?}");
        let again = count(&look);
        for counts in [cold, again] {
            assert!(counts.values().sum::<u64>() < MANY / 10, "{extension}: {counts:?}");
        }
    }
}

fn by_kernel(dir: &Path, extension: &str, options: &str) {
    let trace = KernelTrace::new(dir, "fuse/fuse_request_send");
    let mount = Mount::new(dir, "mount", extension, options);
    let device = fs::metadata(mount.dir()).expect("stat").dev();
    trace.watch(&format!("connection == {}", rustix::fs::minor(device)));
    let count = |work: &dyn Fn()| {
        trace.clear();
        work();
        trace.counts(|line| line.split_once("(FUSE_")?.1.split(')').next().map(str::to_owned))
    };
    measure(&mount, &count);
}

fn difference(before: &Counts, after: &Counts) -> Counts {
    let less = |(name, count): (&String, &u64)| {
        (name.clone(), count.saturating_sub(before.get(name).copied().unwrap_or(0)))
    };
    after.iter().map(less).filter(|(_, count)| *count > 0).collect()
}

/// The directory in which everything is done. What the kernel keeps of it and of its link from a first look on is there.
fn prepare(mount: &Mount) -> PathBuf {
    let dir = mount.path("dir");
    fs::create_dir(&dir).expect("directory");
    std::os::unix::fs::symlink("target", dir.join("link")).expect("link");
    list(&dir, 0);
    read_link(&dir, 0);
    missing(&dir, 0);
    dir
}

fn measure(mount: &Mount, count: &dyn Fn(&dyn Fn()) -> Counts) {
    let dir = prepare(mount);
    let mut complaints = Vec::new();
    for (what, limit, work) in TABLE {
        if what.contains("warm") {
            (0..TIMES).for_each(|number| work(&dir, number));
        }
        let counts = count(&|| (0..TIMES).for_each(|number| work(&dir, number)));
        assert!(*limit < 4 || counts.values().sum::<u64>() >= 2 * TIMES, "{what}: not counted");
        complaints.extend(complaint(what, limit * TIMES, &counts));
    }
    let unlinked = unlinked(&dir);
    let counts = count(&|| read_again(&unlinked));
    complaints.extend(complaint("read of an unlinked open file", 0, &counts));
    complaints.extend(large_transfers(mount, count));
    assert!(complaints.is_empty(), "more requests than allowed:\n{}", complaints.join("\n"));
}

/// What nobody waits for, and the kernel sends when it likes.
const UNCOUNTED: &[&str] = &["FORGET", "BATCH_FORGET", "INTERRUPT"];

fn complaint(what: &str, limit: u64, counts: &Counts) -> Option<String> {
    let counted = counts.iter().filter(|(name, _)| !UNCOUNTED.contains(&name.as_str()));
    let sum: u64 = counted.clone().map(|(_, count)| count).sum();
    let text: Vec<String> = counted.map(|(name, count)| format!("{count} {name}")).collect();
    // A few for what the kernel finds stale once, whatever the repetitions.
    let slack = if limit == 0 { 0 } else { 2 };
    (sum > limit + slack).then(|| format!("{what}: {sum} of {limit}: {}", text.join(", ")))
}

fn name(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("file-{number}"))
}

/// The kernel cannot forget the files of a directory from now on, however short of memory it is.
fn hold(dir: &Path) -> Vec<File> {
    (0..TIMES).map(|number| path(&name(dir, number))).collect()
}

/// A descriptor that keeps a name and an inode in the kernel, and no more.
fn path(path: &Path) -> File {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).expect("open").into()
}

fn create(dir: &Path, number: u64) {
    let file = OpenOptions::new().write(true).create_new(true).open(name(dir, number));
    file.expect("create").write_all(&[b'x'; PAGE]).expect("write");
}

fn stat(dir: &Path, number: u64) {
    assert!(fs::metadata(name(dir, number)).expect("stat").size() > 0);
}

fn read(dir: &Path, number: u64) {
    let mut buffer = [0; PAGE];
    let file = File::open(name(dir, number)).expect("open");
    (&file).read_exact(&mut buffer).expect("read");
}

fn missing(dir: &Path, _: u64) {
    assert!(!dir.join("missing").exists());
}

fn map_read(dir: &Path, number: u64) {
    let file = OpenOptions::new().read(true).write(true).open(name(dir, number)).expect("open");
    Map::new(&file, PAGE).expect("mmap").read(0, &mut [0; PAGE]);
}

fn overwrite(dir: &Path, number: u64) {
    let file = OpenOptions::new().write(true).open(name(dir, number)).expect("open");
    file.write_all_at(&[b'y'; PAGE], 0).expect("write");
}

fn append(dir: &Path, number: u64) {
    let mut file = OpenOptions::new().append(true).open(name(dir, number)).expect("open");
    file.write_all(&[b'z'; 100]).expect("write");
}

fn rewrite(dir: &Path, number: u64) {
    let file = OpenOptions::new().write(true).truncate(true).open(name(dir, number));
    file.expect("open").write_all(&[b'x'; PAGE]).expect("write");
}

fn chmod(dir: &Path, number: u64) {
    fs::set_permissions(name(dir, number), fs::Permissions::from_mode(0o640)).expect("chmod");
}

fn set_times(dir: &Path, number: u64) {
    let time = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::empty();
    rustix::fs::utimensat(rustix::fs::CWD, name(dir, number), &times, flags).expect("utimens");
}

fn list(dir: &Path, _: u64) {
    assert!(fs::read_dir(dir).expect("list").count() > 0);
}

fn read_link(dir: &Path, _: u64) {
    fs::read_link(dir.join("link")).expect("readlink");
}

fn make_dir(dir: &Path, number: u64) {
    fs::create_dir(dir.join(format!("dir-{number}"))).expect("mkdir");
}

fn rename(dir: &Path, number: u64) {
    fs::rename(name(dir, number), dir.join(format!("new-{number}"))).expect("rename");
}

fn unlink(dir: &Path, number: u64) {
    fs::remove_file(dir.join(format!("new-{number}"))).expect("unlink");
}

/// An open file without a name, read once.
fn unlinked(dir: &Path) -> File {
    create(dir, 999);
    let file = File::open(name(dir, 999)).expect("open");
    fs::remove_file(name(dir, 999)).expect("unlink");
    read_again(&file);
    file
}

fn read_again(mut file: &File) {
    let mut buffer = [0; PAGE];
    for _ in 0..TIMES {
        file.rewind().expect("seek");
        file.read_exact(&mut buffer).expect("read");
    }
}

const LARGE: usize = 32 << 20;
/// The kernel's largest request.
const REQUEST: usize = 1 << 20;

fn large_transfers(mount: &Mount, count: &dyn Fn(&dyn Fn()) -> Counts) -> Vec<String> {
    let path = mount.path("large");
    let bytes = vec![b'w'; LARGE];
    let written = count(&|| fs::write(&path, &bytes).expect("write"));
    let mut complaints = Vec::new();
    let limit = (LARGE / REQUEST) as u64 + 4;
    complaints.extend(complaint("write 32 MiB", limit, &written));
    // Of this file only: others may be at work beside this test.
    let file = File::open(&path).expect("open");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("drop its pages");
    let read = count(&|| assert_eq!(fs::read(&path).expect("read").len(), LARGE));
    complaints.extend(complaint("read 32 MiB, cold", 2 * limit, &read));
    let requests: u64 = read.values().sum();
    assert!(requests > limit / 2, "the file was not read anew");
    complaints
}
