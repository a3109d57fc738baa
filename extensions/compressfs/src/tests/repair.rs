//! What a repair drops, and what it keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsci_extension::{Credentials, Finding, Ino, Severity, Store};

use super::disk::{Disk, Fate};
use super::random::Random;
use super::rig::{Rig, check, repair, user};
use crate::format::HEAD_LEN;

const CHUNK: usize = 32 << 10;

/// A disk with a sealed file, its logical content, and the bytes that are stored of it.
fn sealed(algorithm: &str) -> (Disk, Vec<u8>, Vec<u8>) {
    let disk = Disk::default();
    let file = disk.create("whole", 1000);
    let rig = Rig::start(&disk, &[("algorithm", algorithm)]).expect("start");
    let noise = Random(2).bytes(CHUNK / 2, false);
    let text = [Random(1).bytes(CHUNK, true), vec![0; CHUNK], noise, vec![7; CHUNK]].concat();
    rig.write(file, 0, &text).expect("write");
    rig.settle();
    assert_eq!(rig.form(file), "sealed", "{algorithm}");
    drop(rig);
    let stored = stored(&disk, file);
    (disk, text, stored)
}

fn stored(disk: &Disk, file: Ino) -> Vec<u8> {
    let lower = disk.lower(file);
    let mut bytes = vec![0; lower.len().expect("length") as usize];
    lower.read_exact_at(0, &mut bytes).expect("read");
    bytes
}

/// A file that is stored as these bytes.
fn put(disk: &Disk, name: &str, bytes: &[u8]) -> Ino {
    let file = disk.create(name, 1000);
    disk.lower(file).write_at(Credentials::HOST, 0, bytes).expect("write");
    file
}

fn by_place(findings: &[Finding]) -> BTreeMap<&str, Vec<&Finding>> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for finding in findings {
        places.entry(finding.place.as_str()).or_default().push(finding);
    }
    places
}

/// A second repair finds nothing, and changes nothing.
fn is_done(disk: &Disk) {
    let (before, (_, findings)) = (disk.digest(), check(disk));
    assert_eq!(findings, []);
    disk.set_fate(Fate::default());
    assert_eq!(repair(disk), []);
    assert_eq!((disk.with(|state| state.calls), disk.digest()), (0, before), "repaired again");
}

#[test]
fn a_flipped_bit_costs_its_chunk_and_a_second_repair_does_nothing() {
    for algorithm in ["zstd:3", "lz4", "deflate:6"] {
        let (disk, text, image) = sealed(algorithm);
        let places = (0..HEAD_LEN).chain((HEAD_LEN..image.len()).step_by(97));
        let files: Vec<_> = places
            .map(|at| {
                let mut bytes = image.clone();
                bytes[at] ^= 1 << (at % 8);
                (at, put(&disk, &format!("{at}"), &bytes))
            })
            .collect();
        let findings = repair(&disk);
        let found = by_place(&findings);
        assert!(!found.contains_key("whole"), "{algorithm}: {:?}", found["whole"]);
        let rig = Rig::start(&disk, &[]).expect("start");
        let mut lost_chunks = 0;
        for (at, file) in files {
            let context = format!("{algorithm}, byte {at}");
            let found = found.get(&*at.to_string()).unwrap_or_else(|| panic!("{context}: missed"));
            let read = rig.read_all(file).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(read.len(), text.len(), "{context}");
            let lost: Vec<_> = read
                .chunks(CHUNK)
                .zip(text.chunks(CHUNK))
                .filter(|(is, was)| is != was)
                .inspect(|(is, _)| assert!(is.iter().all(|byte| *byte == 0), "{context}"))
                .collect();
            let said: Vec<_> = found.iter().map(|finding| finding.severity).collect();
            let expected = if lost.is_empty() { Severity::Notice } else { Severity::Lost };
            assert_eq!(said, [expected], "{context}: {found:?}");
            assert!(lost.len() <= 1, "{context}");
            lost_chunks += lost.len();
        }
        assert!(lost_chunks > 10, "{algorithm}: {lost_chunks} chunks were lost");
        drop(rig);
        is_done(&disk);
    }
}

#[test]
fn what_was_written_since_the_image_was_made_is_kept() {
    let (disk, mut text, mut image) = sealed("zstd:3");
    image[HEAD_LEN + 20] ^= 1;
    let file = put(&disk, "log", &image);
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.write(file, CHUNK as u64 + 5, b"later").expect("write");
    rig.sync(file).expect("sync");
    drop(rig);
    text[CHUNK + 5..CHUNK + 10].copy_from_slice(b"later");
    text[..CHUNK].fill(0);
    let findings = repair(&disk);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Lost);
    assert!(findings[0].text.contains("bytes 0 to 32768 are lost"), "{findings:?}");
    let rig = Rig::start(&disk, &[]).expect("start");
    assert!(rig.read_all(file).expect("read") == text);
    drop(rig);
    is_done(&disk);
}

#[test]
fn what_is_not_understood_is_left_byte_for_byte() {
    let (disk, _, image) = sealed("zstd:3");
    let cut_off = image[..image.len() / 2].to_vec();
    let mut no_header = image.clone();
    // One bit of the length in each copy of the header.
    (no_header[16 + 32], no_header[80 + 32]) = (no_header[16 + 32] ^ 1, no_header[80 + 32] ^ 1);
    let mut newer = image;
    for copy in [16, 80] {
        newer[copy + 16] = 4;
        let crc = crc32c::crc32c(&newer[copy..copy + 60]);
        newer[copy + 60..copy + 64].copy_from_slice(&crc.to_le_bytes());
    }
    let files = [("cut off", cut_off), ("no header", no_header), ("newer", newer)];
    let files = files.map(|(name, bytes)| (name, put(&disk, name, &bytes), bytes));
    let before = disk.digest();
    for _ in 0..2 {
        let findings = repair(&disk);
        let found = by_place(&findings);
        for (name, file, bytes) in &files {
            let said = &found[name];
            assert!(said.iter().any(|one| one.severity == Severity::Damage), "{name}: {said:?}");
            assert!(stored(&disk, *file) == *bytes, "{name} was changed: {said:?}");
        }
        assert_eq!(disk.digest(), before);
    }
}

#[test]
fn choices_of_users_that_can_be_read_are_kept() {
    let disk = Disk::default();
    let rig = Rig::start(&disk, &[]).expect("start");
    for (uid, algorithm) in [(1000, "lz4"), (1001, "zstd:9")] {
        let set = rig.layer.control_set(&user(uid), Ino::ROOT, "algorithm", algorithm.as_bytes());
        set.expect("anybody may");
    }
    drop(rig);
    let store: Arc<dyn Store> = Arc::new(disk.clone());
    let file = store.open("choices", false).expect("choices");
    file.write_at(Credentials::HOST, 0, b"10\xff0").expect("write");
    assert!(Rig::start(&disk, &[]).is_err(), "a damaged file of choices is noticed");
    let findings = repair(&disk);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].severity, &*findings[0].place), (Severity::Lost, "choices"));
    let rig = Rig::start(&disk, &[]).expect("start");
    assert_eq!(rig.control_as(1000, Ino::ROOT, "algorithm")["from"], "mount");
    assert_eq!(rig.control_as(1001, Ino::ROOT, "algorithm")["algorithm"], "zstd:9");
    drop(rig);
    assert!(disk.store_names().contains(&"choices.damaged".to_owned()));
    is_done(&disk);
}
