//! The promises, on one disk after a power cut.

use hsci_extension::{Ino, Severity};

use super::life::Histories;
use crate::tests::disk::{Disk, Record};
use crate::tests::random::Random;
use crate::tests::rig::{self, Rig};

/// Starts on the disk and checks everything. Returns what recovery has done.
pub(super) fn verify(disk: &Disk, known: &Histories, seed: u64, context: &str) -> Record {
    let (_, findings) = rig::check(disk);
    let grave = findings.iter().find(|finding| finding.severity == Severity::Damage);
    assert_eq!(grave, None, "{context}: damage before recovery");
    let tree = disk.tree();
    let mut files: Vec<Ino> =
        tree.values().filter(|ino| known.contains_key(ino)).map(|ino| Ino(*ino)).collect();
    files.sort();
    files.dedup();
    disk.start_record();
    let contents = recover(disk, &files, known, context);
    let record = disk.take_record();
    assert_eq!(disk.tree(), tree, "{context}: recovery changes names");
    check_clean(disk, context);
    let before = disk.digest();
    disk.set_fate(Default::default());
    let again = recover(disk, &files, known, context);
    assert!(again == contents, "{context}: another content after another recovery");
    let calls = disk.with(|state| state.calls);
    assert_eq!(calls, 0, "{context}: a second recovery changes something");
    assert_eq!(disk.digest(), before, "{context}: a second recovery changes something");
    work_on(disk, &files, contents, &mut Random(seed), context);
    record
}

/// Starts, reads all files, and stops.
fn recover(disk: &Disk, files: &[Ino], known: &Histories, context: &str) -> Vec<Vec<u8>> {
    let rig = Rig::start(disk, &[]).unwrap_or_else(|error| panic!("{context}: {error}"));
    let read = |ino: &Ino| {
        let context = format!("{context}, inode {}, {}", ino.0, rig.form(*ino));
        let found = rig.read_all(*ino).unwrap_or_else(|error| panic!("{context}: {error}"));
        known[&ino.0].check(&found, &context);
        found
    };
    files.iter().map(read).collect()
}

/// The check finds nothing, and the store holds nothing but users' choices.
fn check_clean(disk: &Disk, context: &str) {
    let (_, findings) = rig::check(disk);
    assert_eq!(findings, [], "{context}: the check finds something");
    let mut left = disk.store_names();
    left.retain(|name| name != "choices");
    assert_eq!(left, [] as [&str; 0], "{context}: left in the store");
}

/// The files are written, read back and settled, and survive the end of the mount.
fn work_on(
    disk: &Disk,
    files: &[Ino],
    mut contents: Vec<Vec<u8>>,
    random: &mut Random,
    context: &str,
) {
    let rig = Rig::start(disk, &[]).unwrap_or_else(|error| panic!("{context}: {error}"));
    let settles = random.below(4) == 0;
    for (ino, bytes) in files.iter().zip(&mut contents) {
        let at = random.below(bytes.len() as u64 + 500) as usize;
        let data = random.bytes(200, true);
        bytes.resize(bytes.len().max(at + data.len()), 0);
        bytes[at..at + data.len()].copy_from_slice(&data);
        rig.write(*ino, at as u64, &data).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(rig.read_all(*ino).expect(context) == *bytes, "{context}: {ino:?} is written");
        rig.sync(*ino).expect(context);
    }
    if settles {
        rig.settle();
    }
    for (ino, bytes) in files.iter().zip(&contents) {
        assert!(rig.read_all(*ino).expect(context) == *bytes, "{context}: {ino:?} is settled");
    }
    drop(rig);
    check_clean(disk, context);
}
