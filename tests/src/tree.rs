//! Trees as sequences of facts, and how two of them differ.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// What must be equal of one file in two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    kind: char,
    mode: u32,
    nlink: u64,
    owner: (u32, u32),
    /// Size in bytes; 0 for directories, whose size is the lower file system's own affair.
    size: u64,
    mtime: (i64, i64),
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The path by which the inode was first met: equal for all names of one inode.
    first_name: PathBuf,
    /// Hash of the content, or of the target of a symbolic link.
    content: u64,
}

/// Which facts to leave out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leave {
    /// Times of directories, which change in the order of operations on their entries.
    pub directory_times: bool,
    /// Times taken from the clock: those of this century. A test that sets times explicitly sets
    /// older or later ones.
    pub clock: bool,
}

/// Every file below a directory, the directory itself being the empty path.
///
/// # Panics
/// If anything cannot be read.
#[must_use]
pub fn facts(root: &Path, leave: Leave) -> BTreeMap<PathBuf, Fact> {
    let mut first_names = BTreeMap::new();
    let mut facts = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap_or_else(|error| panic!("walk: {error}"));
        let name = entry.path().strip_prefix(root).expect("below the root").to_owned();
        let meta = std::fs::symlink_metadata(entry.path())
            .unwrap_or_else(|error| panic!("stat {}: {error}", entry.path().display()));
        let first = first_names.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        facts.insert(name, fact(entry.path(), &meta, first, leave));
    }
    facts
}

fn fact(path: &Path, meta: &std::fs::Metadata, first_name: PathBuf, leave: Leave) -> Fact {
    let kind = meta.file_type();
    let content = if kind.is_symlink() {
        hash_bytes(HASH_START, std::fs::read_link(path).expect("readlink").as_os_str().as_bytes())
    } else if kind.is_file() {
        hash(path)
    } else {
        meta.rdev()
    };
    let recent = (CENTURY..CENTURY + 3_000_000_000).contains(&meta.mtime());
    let untimed = leave.directory_times && kind.is_dir() || leave.clock && recent;
    Fact {
        kind: letter(kind),
        mode: meta.mode() & 0o7777,
        nlink: meta.nlink(),
        owner: (meta.uid(), meta.gid()),
        size: if kind.is_dir() { 0 } else { meta.size() },
        mtime: if untimed { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) },
        xattrs: xattrs(path),
        first_name,
        content,
    }
}

fn letter(kind: std::fs::FileType) -> char {
    match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_file() => 'f',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () if kind.is_block_device() => 'b',
        () => 'c',
    }
}

/// Extended attributes without following links; those that only root of the system sees as well.
fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 1 << 16];
    let Ok(len) = rustix::fs::llistxattr(path, &mut names) else { return BTreeMap::new() };
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let name = CString::new(name).expect("no zero inside");
        let mut value = vec![0; 1 << 16];
        let len = rustix::fs::lgetxattr(path, name.as_c_str(), &mut value)
            .unwrap_or_else(|error| panic!("getxattr {name:?} of {}: {error}", path.display()));
        value.truncate(len);
        value
    };
    names.map(|name| (String::from_utf8_lossy(name).into_owned(), value(name))).collect()
}

/// The first second of this century.
const CENTURY: i64 = 946_684_800;
const HASH_START: u64 = 0xCBF2_9CE4_8422_2325;

/// FNV-1a over words of eight bytes: for comparing, not for keeping.
fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    for word in bytes.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        hash = (hash ^ u64::from_le_bytes(padded)).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    }
    hash
}

fn hash(path: &Path) -> u64 {
    let fail = |error: std::io::Error| -> ! { panic!("read {}: {error}", path.display()) };
    let mut file = File::open(path).unwrap_or_else(|error| fail(error));
    let mut buffer = vec![0; 1 << 20];
    let mut hash = HASH_START;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) => fail(error),
            }
        }
        if filled == 0 {
            return hash;
        }
        hash = hash_bytes(hash, &buffer[..filled]);
    }
}

/// Checks that two trees are equal.
///
/// # Panics
/// With the first differences, if they are not.
pub fn assert_equal(left: &Path, right: &Path, leave: Leave) {
    let differences = differences(&facts(left, leave), &facts(right, leave));
    assert!(
        differences.is_empty(),
        "{} and {} differ in {} places:\n{}",
        left.display(),
        right.display(),
        differences.len(),
        differences.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// What is different between two trees, one line a file.
#[must_use]
pub fn differences(left: &BTreeMap<PathBuf, Fact>, right: &BTreeMap<PathBuf, Fact>) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing = names.into_iter().filter(|name| left.get(*name) != right.get(*name));
    differing
        .map(|name| format!("{}:\n  {:?}\n  {:?}", name.display(), left.get(name), right.get(name)))
        .collect()
}
