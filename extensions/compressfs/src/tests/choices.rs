//! Whose choice of an algorithm rules.

use hsci_extension::{Call, Errno, Ino};

use super::disk::Disk;
use super::random::Random;
use super::rig::{Rig, user};

fn algorithm(rig: &Rig, ino: Ino) -> String {
    rig.settle();
    let usage = rig.control(ino, "usage");
    usage["codecs"][0]["algorithm"].as_str().expect("an algorithm").to_owned()
}

#[test]
fn each_user_has_a_choice_that_outlives_the_mount() {
    let disk = Disk::default();
    let (one, two) = (disk.create("one", 1000), disk.create("two", 1001));
    let text = Random(1).bytes(50_000, true);
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.layer.control_set(&user(1000), Ino::ROOT, "algorithm", b"lz4").expect("anybody may");
    drop(rig);
    let rig = Rig::start(&disk, &[("algorithm", "deflate:6")]).expect("start");
    assert_eq!(rig.control_as(1000, Ino::ROOT, "algorithm")["algorithm"], "lz4");
    assert_eq!(rig.control_as(1001, Ino::ROOT, "algorithm")["from"], "mount");
    rig.layer.write(&user(1000), one, 0, &text).expect("write");
    rig.layer.write(&user(1001), two, 0, &text).expect("write");
    assert_eq!(algorithm(&rig, one), "lz4");
    assert_eq!(algorithm(&rig, two), "deflate:6");
    // What was made by choice stays when nobody says otherwise.
    rig.layer.control_set(&user(1000), Ino::ROOT, "algorithm", b"default").expect("anybody may");
    assert_eq!(algorithm(&rig, one), "lz4");
}

#[test]
fn the_word_of_the_file_stands_above_the_users() {
    let disk = Disk::default();
    let file = disk.create("file", 1000);
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.layer.control_set(&user(1000), Ino::ROOT, "algorithm", b"lz4").expect("anybody may");
    let refused = rig.choose(1001, file, "zstd:9").expect_err("not the owner's");
    assert_eq!(refused.errno(), Errno::PERM);
    let unknown = rig.choose(1000, file, "zstd:99").expect_err("no such level");
    assert_eq!(unknown.errno(), Errno::INVAL);
    rig.choose(1000, file, "zstd:9").expect("the owner's");
    rig.write(file, 0, &Random(1).bytes(50_000, true)).expect("write");
    assert_eq!(algorithm(&rig, file), "zstd:9");
    let of = rig.control(file, "algorithm-of");
    assert_eq!((&of["algorithm"], &of["from"]), (&"zstd:9".into(), &"file".into()));
}

#[test]
fn private_names_are_hidden_and_refused() {
    let disk = Disk::default();
    let file = disk.create("file", 1000);
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.write(file, 0, &Random(1).bytes(50_000, false)).expect("write");
    rig.settle();
    assert_eq!(rig.form(file), "raw");
    assert_eq!(rig.layer.listxattr(&user(0), file).expect("a list"), [] as [&str; 0]);
    let name = std::ffi::OsStr::new("user.hsci.summary");
    let get = rig.layer.getxattr(&user(0), file, name).expect_err("hidden");
    assert_eq!(get.errno(), Errno::NODATA);
    let remove = rig.layer.removexattr(&user(0), file, name).expect_err("reserved");
    assert_eq!(remove.errno(), Errno::PERM);
}

/// A call to which a rule of a policy gives an algorithm.
fn ruled(uid: u32, algorithm: &str) -> Call {
    user(uid).with_options(Some([("algorithm".to_owned(), algorithm.to_owned())].into()))
}

#[test]
fn a_rule_stands_above_users_and_below_files_also_after_a_restart() {
    let disk = Disk::default();
    let (one, two) = (disk.create("one", 1000), disk.create("two", 1000));
    let (three, four) = (disk.create("three", 1000), disk.create("four", 1000));
    let text = Random(1).bytes(50_000, true);
    // Nothing is settled before the mount ends.
    let rig = Rig::start(&disk, &[("settle", "1h")]).expect("start");
    rig.layer.control_set(&user(1000), Ino::ROOT, "algorithm", b"deflate:1").expect("anybody may");
    rig.choose(1000, two, "zstd:9").expect("the owner's");
    for file in [one, two, four] {
        rig.layer.write(&ruled(1000, "lz4"), file, 0, &text).expect("write");
    }
    rig.layer.write(&ruled(1000, "made up"), three, 0, &text).expect("write");
    // The last writer was not ruled.
    rig.layer.write(&user(1000), four, 0, &text).expect("write");
    let told = rig.layer.control_get(&ruled(1000, "lz4"), Ino::ROOT, "algorithm").expect("told");
    assert_eq!(told, br#"{"algorithm":"lz4","from":"policy"}"#);
    drop(rig);
    let rig = Rig::start(&disk, &[]).expect("start");
    assert_eq!(algorithm(&rig, one), "lz4");
    assert_eq!(algorithm(&rig, two), "zstd:9");
    assert_eq!(algorithm(&rig, three), "deflate:1");
    assert_eq!(algorithm(&rig, four), "deflate:1");
}

#[test]
fn a_rule_of_an_earlier_write_rules_no_more() {
    let disk = Disk::default();
    let (sealed, raw) = (disk.create("sealed", 1000), disk.create("raw", 1000));
    let text = |seed| Random(seed).bytes(50_000, true);
    let rig = Rig::start(&disk, &[("algorithm", "deflate:1"), ("settle", "1h")]).expect("start");
    for file in [sealed, raw] {
        rig.layer.write(&ruled(1000, "lz4"), file, 0, &text(1)).expect("write");
    }
    assert_eq!(algorithm(&rig, sealed), "lz4");
    drop(rig);
    // Nothing rules any more, and what is written now is settled later.
    let rig = Rig::start(&disk, &[("algorithm", "deflate:1"), ("settle", "1h")]).expect("start");
    for file in [sealed, raw] {
        rig.layer.write(&user(1000), file, 0, &text(2)).expect("write");
    }
    assert_eq!(algorithm(&rig, sealed), "deflate:1");
    rig.layer.write(&user(1000), raw, 0, &text(3)).expect("write");
    drop(rig);
    let rig = Rig::start(&disk, &[("algorithm", "deflate:1")]).expect("start");
    assert_eq!(algorithm(&rig, sealed), "deflate:1");
    assert_eq!(algorithm(&rig, raw), "deflate:1");
}
