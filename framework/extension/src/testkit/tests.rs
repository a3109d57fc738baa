//! The test kit itself.

use super::*;
use crate::{Call, Credentials, Errno, LowerFile, Store};

fn bytes(file: &dyn LowerFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("length") as usize];
    file.read_exact_at(0, &mut bytes).expect("all bytes");
    bytes
}

#[test]
fn a_crash_leaves_what_was_synced_and_chosen_changes() {
    let file = Forgetful::new(MemoryFile::with_bytes(1, b"durable"));
    file.write_at(Credentials::HOST, 0, b"SYNCED").expect("write");
    file.sync(true).expect("sync");
    file.write_at(Credentials::HOST, 0, b"first").expect("write");
    file.set_len(5).expect("set_len");
    file.write_at(Credentials::HOST, 5, b" and last").expect("write");
    assert_eq!(bytes(&file), b"first and last");

    assert_eq!(file.crash(&mut |_| Kept::Lost).bytes(), b"SYNCEDe");
    assert_eq!(file.crash(&mut |_| Kept::Whole).bytes(), b"first and last");
    let mut left = 2;
    let mut torn = |_: &Change| {
        left -= 1;
        if left >= 0 { Kept::Whole } else { Kept::Torn(4) }
    };
    assert_eq!(file.crash(&mut torn).bytes(), b"first and");
    // Out of order: the length was cut, the bytes before it never came.
    let mut last = |change: &Change| match change {
        Change::Write(0, _) => Kept::Lost,
        _ => Kept::Whole,
    };
    assert_eq!(file.crash(&mut last).bytes(), b"SYNCE and last");
    assert_eq!(bytes(&file), b"first and last", "the file itself goes on");
}

#[test]
fn the_planned_call_fails_after_a_part_of_its_bytes() {
    let inner = Arc::new(MemoryFile::new(1));
    let faults = Arc::new(Faults::default());
    let file = Failing { inner: inner.clone(), faults: Arc::clone(&faults) };
    let fault = Fault { partial: 3, ..Fault::once(1, Errno::NOSPC) };
    faults.plan(Some(fault));
    assert_eq!(file.write_at(Credentials::HOST, 0, b"first"), Ok(()));
    assert_eq!(file.write_at(Credentials::HOST, 5, b"second"), Err(Errno::NOSPC.into()));
    assert_eq!(inner.bytes(), b"firstsec");
    assert_eq!(file.sync(false), Ok(()), "only one call fails");
    assert_eq!(faults.calls(), 3);
    faults.plan(Some(Fault { lasting: true, ..Fault::once(0, Errno::IO) }));
    for _ in 0..2 {
        assert_eq!(file.read_at(0, &mut [0]), Err(Errno::IO.into()));
    }
    faults.plan(None);
    assert_eq!(file.read_at(0, &mut [0]), Ok(1));
}

#[test]
fn names_of_a_store_are_lost_from_the_last_on() {
    let tree = MemoryTree::new();
    let store = tree.store();
    let kept = store.open("kept", true).expect("a new file");
    kept.write_at(Credentials::HOST, 0, b"text").expect("write");
    store.sync_all().expect("sync_all");
    store.open("lost", true).expect("a new file");
    store.rename("kept", "renamed").expect("rename");
    assert_eq!(store.names().expect("names"), ["lost", "renamed"]);

    let names =
        |keep: &mut dyn FnMut(&Change) -> Kept| tree.crash(keep).store().names().expect("names");
    assert_eq!(names(&mut |_| Kept::Lost), ["kept"]);
    let mut count = 0;
    let mut one = |_: &Change| {
        count += 1;
        if count == 1 { Kept::Whole } else { Kept::Lost }
    };
    assert_eq!(names(&mut one), ["kept", "lost"]);
    assert_eq!(names(&mut |_| Kept::Whole), ["lost", "renamed"]);
}

#[test]
fn a_tree_after_a_crash_has_its_names_and_what_was_synced() {
    let tree = MemoryTree::new();
    let call = Call::internal();
    let mode = 0o100_644;
    let make = |name: &str| {
        let made = tree.mknod(&call, Ino::ROOT, name.as_ref(), mode, 0);
        made.expect("a new file").ino
    };
    let (synced, other) = (make("synced"), make("other"));
    let unlinked = make("unlinked");
    for ino in [synced, other, unlinked] {
        tree.write(&call, ino, 0, b"text").expect("write");
    }
    tree.fsync(&call, synced, true).expect("fsync");
    tree.unlink(&call, Ino::ROOT, "unlinked".as_ref()).expect("unlink");
    let after = tree.crash(&mut |_| Kept::Lost);
    let read = |name: &str| bytes(&*after.file_at(name).expect("the name"));
    assert_eq!((read("synced"), read("other")), (b"text".to_vec(), Vec::new()));
    assert_eq!(after.file_at("unlinked").err(), Some(Errno::NOENT.into()));
    assert_eq!(after.known_inodes(), 0);
    let id = tree.file(synced).expect("the file").id().expect("its lasting name");
    assert_eq!(bytes(&*after.store().reopen_one(&id).expect("the same file")), b"text");
}

#[test]
fn lookups_are_counted() {
    let tree = MemoryTree::new();
    let call = Call::internal();
    let ino = tree.mknod(&call, Ino::ROOT, "name".as_ref(), 0o100_644, 0).expect("a file").ino;
    tree.retain(ino).expect("known");
    assert!(!tree.forget(ino, 1));
    assert!(tree.forget(ino, 1));
    assert_eq!(tree.getattr(&call, ino).err(), Some(Errno::STALE.into()));
    assert_eq!(tree.retain(ino).err(), Some(Errno::STALE.into()));
}
