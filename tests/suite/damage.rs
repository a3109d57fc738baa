//! Stored bytes that are not what was written: every position of small files is flipped in turn, one
//! copy of the file for each position, all copies in one store.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use hsci_tests::{Mount, Random, Run, Test, machine, mount};
use rustix::io::Errno;
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "damage::every_byte_of_a_sealed_zstd_file", seconds: 240, body: zstd },
    Test { name: "damage::every_byte_of_a_sealed_lz4_file", seconds: 240, body: lz4 },
    Test { name: "damage::every_byte_of_a_sealed_gzip_file", seconds: 240, body: deflate },
    Test { name: "damage::every_byte_of_a_file_in_log_form", seconds: 300, body: log_form },
    Test { name: "damage::damaged_ranges_can_be_overwritten", seconds: 60, body: overwrite },
    Test { name: "damage::a_file_whose_start_is_lost_is_damaged", seconds: 60, body: lost_start },
    Test { name: "damage::cut_off_files", seconds: 240, body: cut_off },
    Test {
        name: "damage::a_repair_drops_what_is_damaged_and_nothing_else",
        seconds: 60,
        body: repair,
    },
];

const CHUNK: usize = 32 << 10;
/// Three chunks and a bit.
const LEN: usize = 3 * CHUNK + 1000;
const PIECE: usize = 4096;

/// Text that compresses to little, and differs from chunk to chunk.
fn content() -> Vec<u8> {
    let lines = (0..).map(|number: usize| format!("chunk {} of the file\n", number / 1500));
    let mut bytes: Vec<u8> = lines.take(6000).flat_map(String::into_bytes).collect();
    bytes.truncate(LEN);
    assert_eq!(bytes.len(), LEN);
    bytes
}

fn zstd(dir: &Path) {
    every_byte(dir, "zstd:3");
}

fn lz4(dir: &Path) {
    every_byte(dir, "lz4");
}

fn deflate(dir: &Path) {
    every_byte(dir, "deflate:6");
}

/// A mount with one sealed file, unmounted again; returns the stored bytes.
fn sealed(dir: &Path, algorithm: &str) -> (Mount, Vec<u8>) {
    let options = format!("chunk=32K,settle=10m,algorithm={algorithm}");
    let mut mount = Mount::new(dir, "mount", "compressfs", &options);
    fs::write(mount.path("sound"), content()).expect("write");
    mount.settle();
    mount.unmount();
    let stored = fs::read(mount.lower().join("sound")).expect("stored");
    assert!(stored.len() < LEN / 4, "the file is sealed: {} bytes", stored.len());
    (mount, stored)
}

/// Puts a damaged copy into the store for each position, and returns their names.
fn flip_each(mount: &Mount, stored: &[u8], positions: impl Iterator<Item = usize>) -> Vec<String> {
    let mut random = Random::new(Random::seed("damage"));
    let copies = positions.map(|position| {
        let mut copy = stored.to_vec();
        copy[position] ^= 1 << random.below(8);
        let name = format!("flipped-{position}");
        fs::write(mount.lower().join(&name), copy).expect("copy");
        name
    });
    copies.collect()
}

fn every_byte(dir: &Path, algorithm: &str) {
    let (mut mount, stored) = sealed(dir, algorithm);
    let names = flip_each(&mount, &stored, 0..stored.len());
    all_are_named(&mount, &names);
    mount.mount();
    let expected = content();
    let mut failing = 0;
    for name in &names {
        let chunks = failing_chunks(&mount, name, &[&expected]);
        assert!(chunks.len() <= 1, "{name}: damage in chunks {chunks:?}");
        failing += chunks.len();
    }
    println!("{} positions, {failing} of them make a chunk unreadable", names.len());
    assert!(failing > 0, "chunks are verified");
    assert!(failing_chunks(&mount, "sound", &[&expected]).is_empty());
}

/// `check` finds damage, and names every one of the files and no other.
fn all_are_named(mount: &Mount, names: &[String]) {
    let done = mount::hsci(["check", "--json"], mount.lower());
    assert_eq!(done.code, 1, "check: {}", done.err);
    let report: Value = serde_json::from_str(&done.out).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    let path = |finding: &Value| {
        finding["path"].as_str().expect("a path").trim_start_matches('/').to_owned()
    };
    let named: BTreeSet<String> = findings.iter().map(path).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "check does not name {} files: {missing:?}", missing.len());
    assert!(!named.contains("sound"), "check names a sound file");
}

/// Reads a file in pieces: each is what one of `versions` holds there, or fails with EIO. Returns the
/// chunks with failing pieces.
fn failing_chunks(mount: &Mount, name: &str, versions: &[&[u8]]) -> BTreeSet<usize> {
    let path = mount.path(name);
    let size = fs::metadata(&path).unwrap_or_else(|error| panic!("{name}: {error}")).len();
    assert!(versions.iter().any(|bytes| bytes.len() as u64 == size), "{name}: size {size}");
    let mut failing = BTreeSet::new();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) => {
            assert_eq!(Errno::from_io_error(&error), Some(Errno::IO), "{name}: {error}");
            return (0..(size as usize).div_ceil(CHUNK)).collect();
        }
    };
    // Whole chunks from the end on, so that read-ahead does not hide where an error lies.
    for start in (0..size as usize).step_by(PIECE).rev() {
        let mut buffer = vec![0; PIECE.min(size as usize - start)];
        match file.read_exact_at(&mut buffer, start as u64) {
            Ok(()) => {
                let holds =
                    |bytes: &&&[u8]| bytes.get(start..start + buffer.len()) == Some(&buffer);
                assert!(
                    versions.iter().any(|bytes| holds(&bytes)),
                    "{name}: wrong bytes at {start}: {:?}",
                    buffer.iter().zip(&versions[1][start..]).position(|(one, other)| one != other)
                );
            }
            Err(error) => {
                assert_eq!(Errno::from_io_error(&error), Some(Errno::IO), "{name} at {start}");
                failing.insert(start / CHUNK);
            }
        }
    }
    failing
}

/// A sealed file that was written to and synced. Its last commit cannot be told from one that a crash
/// has torn: then the state before it counts.
fn log_form(dir: &Path) {
    let (mut mount, sealed) = sealed(dir, "zstd:3");
    mount.mount();
    let before = content();
    let mut after = before.clone();
    after[CHUNK + 10..CHUNK + 5010].fill(b'#');
    let file = File::options().write(true).open(mount.path("sound")).expect("open");
    file.write_all_at(&after[CHUNK + 10..CHUNK + 5010], CHUNK as u64 + 10).expect("write");
    file.sync_data().expect("fdatasync");
    drop(file);
    mount.unmount();
    let stored = fs::read(mount.lower().join("sound")).expect("stored");
    assert!(stored.len() > sealed.len() && stored.len() < LEN, "in log form: {}", stored.len());
    // The changed chunk lies there as it is: of its bytes every 16th is enough.
    let image = sealed.len().next_multiple_of(PIECE);
    let is_slot = |position: usize| position > image && position < image + PIECE + CHUNK;
    let positions = (0..stored.len()).filter(|at| !is_slot(*at) || at.is_multiple_of(16));
    let names = flip_each(&mount, &stored, positions);
    let check = mount::hsci(["check"], mount.lower());
    assert_eq!(check.code, 1, "check: {}", check.err);
    mount.mount();
    for name in &names {
        let chunks = failing_chunks(&mount, name, &[&before, &after]);
        assert!(chunks.len() <= 1, "{name}: damage in chunks {chunks:?}");
    }
    println!("{} positions", names.len());
    assert!(failing_chunks(&mount, "sound", &[&after]).is_empty());
}

fn overwrite(dir: &Path) {
    let (mut mount, stored) = sealed(dir, "zstd:3");
    let names = flip_each(&mount, &stored, (0..stored.len()).step_by(7));
    mount.mount();
    let expected = content();
    let mut mended = 0;
    for name in &names {
        let failing = failing_chunks(&mount, name, &[&expected]);
        let Some(chunk) = failing.first() else { continue };
        let range = chunk * CHUNK..(chunk * CHUNK + CHUNK).min(LEN);
        let file = File::options().write(true).open(mount.path(name)).expect("open");
        file.write_all_at(&expected[range.clone()], range.start as u64)
            .unwrap_or_else(|error| panic!("{name}: overwriting chunk {chunk}: {error}"));
        drop(file);
        assert_eq!(fs::read(mount.path(name)).expect("read"), expected, "{name}");
        mended += 1;
    }
    assert!(mended > 0, "some positions make a chunk unreadable");
    mount.remount();
    for name in &names {
        assert_eq!(fs::read(mount.path(name)).expect("read"), expected, "{name}");
    }
    println!("{mended} files mended by overwriting");
}

/// Files that end early: whatever can still be proven is served, and nothing else.
fn cut_off(dir: &Path) {
    let (mut mount, stored) = sealed(dir, "zstd:3");
    // Shorter than its head, a file does not look like an image, and is what it is.
    let lengths = (160..stored.len()).step_by(5);
    let names: Vec<String> = lengths
        .map(|len| {
            let name = format!("cut-{len}");
            fs::write(mount.lower().join(&name), &stored[..len]).expect("copy");
            name
        })
        .collect();
    all_are_named(&mount, &names);
    mount.mount();
    for name in &names {
        failing_chunks(&mount, name, &[&content()]);
    }
    let status = Run::new(machine::hsci()).arg("status").arg(mount.dir()).done();
    status.ok();
}

/// Files by several algorithms in one store, of which one chunk each is damaged, and one that lost its header.
fn repair(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "chunk=32K,settle=10m");
    let algorithms = ["zstd:3", "lz4", "deflate:6"];
    for algorithm in algorithms {
        mount.hsci(["algorithm", "set", algorithm]).ok();
        fs::write(mount.path(algorithm), content()).expect("write");
    }
    fs::write(mount.path("headless"), content()).expect("write");
    fs::write(mount.path("sound"), content()).expect("write");
    mount.settle();
    let refused = mount::hsci(["check", "--repair"], mount.lower());
    assert_eq!(
        (refused.code, refused.err.contains("unmount that first")),
        (5, true),
        "{}",
        refused.err
    );
    mount.unmount();
    for algorithm in algorithms {
        flip(&mount.lower().join(algorithm), &[200]);
    }
    flip(&mount.lower().join("headless"), &[50, 114]);
    let headless = fs::read(mount.lower().join("headless")).expect("stored");
    let severities = || {
        let done = mount::hsci(["check", "--repair", "--json"], mount.lower());
        assert_eq!(done.code, 1, "{}", done.err);
        let report: Value = serde_json::from_str(&done.out).expect("JSON");
        let findings = report["findings"].as_array().expect("findings");
        let text = |finding: &Value, key| finding[key].as_str().expect("a text").to_owned();
        findings.iter().map(|one| (text(one, "path"), text(one, "severity"))).collect::<Vec<_>>()
    };
    let mut found = severities();
    found.sort();
    let mut expected =
        algorithms.map(|algorithm| (algorithm.to_owned(), "lost".to_owned())).to_vec();
    expected.push(("headless".to_owned(), "damage".to_owned()));
    expected.sort();
    assert_eq!(found, expected);
    let changed = |name: &str| fs::metadata(mount.lower().join(name)).expect("stat").ctime_nsec();
    let before = algorithms.map(changed);
    assert_eq!(severities(), [("headless".to_owned(), "damage".to_owned())]);
    assert_eq!(algorithms.map(changed), before, "a second repair changes files");
    assert!(fs::read(mount.lower().join("headless")).expect("stored") == headless);
    mount.mount();
    let mut kept = content();
    kept[..CHUNK].fill(0);
    for algorithm in algorithms {
        assert!(fs::read(mount.path(algorithm)).expect("read") == kept, "{algorithm}");
    }
    assert!(fs::read(mount.path("sound")).expect("read") == content());
}

fn flip(path: &Path, positions: &[u64]) {
    let file = File::options().read(true).write(true).open(path).expect("open");
    for at in positions {
        let mut byte = [0];
        file.read_exact_at(&mut byte, *at).expect("read");
        file.write_all_at(&[byte[0] ^ 4], *at).expect("write");
    }
}

/// As by a disk that returns zeros for what it cannot read: no time changes.
fn lost_start(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "");
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    fs::write(mount.path("file"), text).expect("written");
    mount.settle();
    mount.unmount();
    let zero =
        "touch -r file ../time; dd if=/dev/zero of=file bs=4096 count=1 conv=notrunc status=none
        touch -r ../time file";
    Run::shell(zero).dir(mount.lower()).ok();
    let check = |arguments: &[&str]| {
        Run::new(machine::hsci()).arg("check").args(arguments).arg(mount.lower()).done()
    };
    for arguments in [&[][..], &["--repair"], &[]] {
        let found = check(arguments);
        assert_eq!((found.code, found.out.contains("damage: file: ")), (1, true), "{found:?}");
    }
    mount.mount();
    let read = fs::read(mount.path("file")).expect_err("not what is stored");
    assert_eq!(read.raw_os_error(), Some(Errno::IO.raw_os_error()));
    mount.unmount();
}
