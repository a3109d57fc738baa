//! What is written down for stats: that it serves them, and when it does not count.

use hsci_extension::{Credentials, Ino};

use super::disk::Disk;
use super::random::Random;
use super::rig::Rig;

const LONG: usize = 100_000;

/// A file that is sealed, one that stays raw, and a small one; all settled.
fn settled() -> (Disk, [Ino; 3]) {
    let disk = Disk::default();
    let files = ["text", "noise", "small"].map(|name| disk.create(name, 1000));
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.write(files[0], 0, &Random(1).bytes(LONG, true)).expect("write");
    rig.write(files[1], 0, &Random(1).bytes(LONG, false)).expect("write");
    rig.write(files[2], 0, &Random(1).bytes(3000, true)).expect("write");
    rig.settle();
    assert_eq!(files.map(|file| rig.form(file)), ["sealed", "raw", "raw"]);
    drop(rig);
    (disk, files)
}

#[test]
fn a_stat_of_a_settled_file_reads_nothing_of_its_content() {
    let (disk, files) = settled();
    let rig = Rig::start(&disk, &[]).expect("start");
    let before = disk.with(|state| state.reads);
    assert_eq!(files.map(|file| rig.len(file)), [Ok(100_000), Ok(100_000), Ok(3000)]);
    assert_eq!(disk.with(|state| state.reads), before, "a file was read for its length");
}

/// More files than stay in use.
#[test]
fn a_stat_of_what_was_written_and_not_settled_reads_nothing_of_it() {
    let disk = Disk::default();
    let rig = Rig::start(&disk, &[]).expect("start");
    let files: Vec<Ino> = (0..1500).map(|n| disk.create(&n.to_string(), 1000)).collect();
    let lens =
        |rig: &Rig| files.iter().map(|file| rig.len(*file).expect("len")).collect::<Vec<_>>();
    let text = Random(1).bytes(9000, true);
    let written: Vec<u64> = (0..files.len() as u64).map(|n| 5000 + n).collect();
    for (file, len) in files.iter().zip(&written) {
        rig.write(*file, 0, &text[..*len as usize]).expect("write");
    }
    let before = disk.with(|state| state.reads);
    assert_eq!(lens(&rig), written);
    assert_eq!(disk.with(|state| state.reads), before, "a file was read for its length");
    // What they are stored as changes while they are in use, and all of them are out of use again at some time.
    rig.settle();
    assert_eq!(files.iter().filter(|file| rig.form(**file) == "sealed").count(), files.len());
    assert_eq!(lens(&rig), written);
    for file in &files {
        rig.set_len(*file, 0).expect("emptied");
        rig.write(*file, 0, b"short").expect("write");
    }
    assert_eq!(lens(&rig), vec![5; files.len()]);
}

#[test]
fn no_change_leaves_a_summary_behind_whenever_the_process_dies() {
    let (disk, [text, ..]) = settled();
    type Change = fn(&Rig, Ino);
    let changes: [(Change, u64); 5] = [
        (|rig, file| rig.write(file, 100_000, b"more").expect("write"), 100_004),
        (|rig, file| rig.set_len(file, 70_000).expect("truncate"), 70_000),
        (|rig, file| rig.set_len(file, 170_000).expect("extend"), 170_000),
        (|rig, file| rig.set_len(file, 0).expect("empty"), 0),
        (|rig, file| rig.punch(file, 0, 50_000).expect("punch"), 100_000),
    ];
    for (number, (change, len)) in changes.into_iter().enumerate() {
        let disk = disk.copy();
        let rig = Rig::start(&disk, &[]).expect("start");
        change(&rig, text);
        let dead = disk.copy();
        let next = Rig::start(&dead, &[]).expect("start");
        assert_eq!(next.len(text), Ok(len), "change {number}");
    }
}

#[test]
fn a_summary_of_another_state_of_the_lower_file_does_not_count() {
    let (disk, [text, ..]) = settled();
    let lower = disk.lower(text);
    let (len, times) = (lower.len().expect("length"), lower.times().expect("times"));
    // Behind the back of everybody: as long, but changed later.
    lower.write_at(Credentials::HOST, 0, &vec![b'x'; len as usize]).expect("write");
    assert_eq!(Rig::start(&disk, &[]).expect("start").len(text), Ok(len));
    // Changed at the same time, but of another length.
    lower.set_len(len - 1).expect("truncate");
    lower.set_times(&times).expect("times");
    assert_eq!(Rig::start(&disk, &[]).expect("start").len(text), Ok(len - 1));
}
