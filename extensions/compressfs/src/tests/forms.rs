//! Which form a file takes, and what that costs.

use super::disk::{Disk, Fate};
use super::random::Random;
use super::rig::{self, Rig};

#[test]
fn a_life_through_all_forms() {
    let disk = Disk::default();
    let file = disk.create("file", 1000);
    let rig = Rig::start(&disk, &[]).expect("start");
    let mut text = Random(1).bytes(100_000, true);
    rig.write(file, 0, &text).expect("write");
    assert_eq!(rig.form(file), "raw");
    rig.settle();
    assert_eq!(rig.form(file), "sealed");
    rig.write(file, 50_000, b"new").expect("write");
    text[50_000..50_003].copy_from_slice(b"new");
    assert_eq!(rig.form(file), "log");
    assert!(rig.read_all(file).expect("read") == text);
    rig.settle();
    assert_eq!(rig.form(file), "sealed");
    assert!(rig.read_all(file).expect("read") == text);
    rig.set_len(file, 0).expect("truncate");
    assert_eq!(rig.form(file), "raw");
}

#[test]
fn what_is_not_worth_it_stays_raw_and_is_not_tried_twice() {
    let disk = Disk::default();
    let (noise, small) = (disk.create("noise", 1000), disk.create("small", 1000));
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.write(noise, 0, &Random(1).bytes(100_000, false)).expect("write");
    rig.write(small, 0, &Random(1).bytes(4096, true)).expect("write");
    rig.settle();
    assert_eq!((rig.form(noise), rig.form(small)), ("raw".to_owned(), "raw".to_owned()));
    disk.set_fate(Fate::default());
    rig.settle();
    assert_eq!(disk.with(|state| state.calls), 0, "something was tried again");
}

#[test]
fn bytes_that_look_like_an_image_are_the_users_own() {
    let disk = Disk::default();
    let (file, copy) = (disk.create("file", 1000), disk.create("copy", 1000));
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.write(file, 0, &Random(1).bytes(100_000, true)).expect("write");
    rig.settle();
    let lower = disk.lower(file);
    let mut image = vec![0; lower.len().expect("length") as usize];
    lower.read_exact_at(0, &mut image).expect("read");
    for target in [copy, file] {
        rig.set_len(target, 0).expect("truncate");
        rig.write(target, 100, &image[100..]).expect("write");
        rig.write(target, 0, &image[..100]).expect("write");
        rig.sync(target).expect("sync");
    }
    drop(rig);
    let rig = Rig::start(&disk, &[]).expect("start");
    for target in [copy, file] {
        assert!(rig.read_all(target).expect("read") == image);
    }
    drop(rig);
    assert_eq!(rig::check(&disk).1, []);
}

/// However long a hole is that comes after what is sealed, nothing is written for it.
#[test]
fn a_file_that_is_made_huge_costs_what_it_holds() {
    for algorithm in ["zstd:3", "lz4", "deflate:6"] {
        let disk = Disk::default();
        let file = disk.create("huge", 1000);
        let rig = Rig::start(&disk, &[("algorithm", algorithm)]).expect("start");
        let text = Random(1).bytes(300_000, true);
        rig.write(file, 0, &text).expect("write");
        rig.settle();
        let sealed = disk.used();
        for len in [1 << 30, 1 << 38, 1 << 40] {
            rig.set_len(file, len).expect("longer");
            rig.settle();
            assert!(disk.used() <= sealed + 8, "{} pages of {sealed} for {len}", disk.used());
            assert_eq!(rig.len(file).expect("length"), len);
        }
        // With some data at its end, and of another algorithm, likewise.
        rig.write(file, (1 << 40) - 7, b"the end").expect("write");
        rig.choose(1000, file, "zstd:5").expect("chosen");
        rig.settle();
        assert!(disk.used() <= sealed + 20, "{algorithm}: {} pages of {sealed}", disk.used());
        let call = rig::user(0);
        let data = rig.layer.lseek(&call, file, 1 << 20, hsci_extension::Whence::Data);
        assert!(data.expect("data") > (1 << 40) - (2 << 20));
        drop(rig);
        let (checked, found) = rig::check(&disk);
        assert_eq!((checked.files, found), (1, Vec::new()));
        let rig = Rig::start(&disk, &[]).expect("start");
        assert!(rig.read(file, 0, 300_000).expect("read") == text);
        assert!(rig.read(file, (1 << 40) - 10, 10).expect("read") == b"\0\0\0the end");
        // Short again, it is what any file is.
        rig.set_len(file, 300_000).expect("shorter");
        rig.settle();
        assert_eq!(rig.form(file), "sealed");
        assert!(rig.read_all(file).expect("read") == text);
    }
}

#[test]
fn a_gibibyte_of_hole_costs_next_to_nothing_and_stays_one() {
    let disk = Disk::default();
    let file = disk.create("sparse", 1000);
    let rig = Rig::start(&disk, &[("chunk", "1M")]).expect("start");
    let text = Random(1).bytes(200_000, true);
    rig.write(file, 1 << 30, &text).expect("write");
    rig.settle();
    assert_eq!(rig.form(file), "sealed");
    assert!(disk.used() < 60, "{} pages", disk.used());
    let call = rig::user(0);
    let data = rig.layer.lseek(&call, file, 0, hsci_extension::Whence::Data).expect("data");
    assert_eq!(data, 1 << 30);
    assert!(rig.read(file, 1 << 30, 300_000).expect("read") == text);
}
