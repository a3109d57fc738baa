//! Files in use.

use super::*;
use crate::content::open_files::MOST_IDLE;
use crate::testkit::Fault;
use crate::{Errno, SetAttr, SetTime};

#[test]
fn idle_files_go_out_of_use_beyond_a_bound_and_busy_ones_stay() {
    let rig = Rig::new(Fake::new());
    let files: Vec<Ino> = (0..2 * MOST_IDLE)
        .map(|number| {
            let ino = rig.create(&format!("file-{number}"));
            rig.write(ino, b"text");
            ino
        })
        .collect();
    assert!(rig.layer.open_files_in_use() <= MOST_IDLE);
    assert!(rig.layer.content().closed.load(Ordering::Relaxed) >= MOST_IDLE);

    rig.layer.content().busy.store(true, Ordering::Relaxed);
    for ino in &files {
        rig.write(*ino, b"again");
    }
    let in_use = rig.layer.open_files_in_use();
    assert!(in_use > MOST_IDLE, "{in_use} in use although nothing may be dropped");
    rig.layer.content().busy.store(false, Ordering::Relaxed);
    for ino in files {
        rig.layer.forget(ino, 1);
    }
    assert_eq!(rig.layer.open_files_in_use(), 0);
    assert_eq!(rig.tree.known_inodes(), 0);
}

#[test]
fn who_looks_again_at_a_file_that_is_not_in_use_has_it_opened_no_more_until_it_changes() {
    let rig = Rig::new(Fake::new());
    let call = Call::internal();
    let ino = make(&*rig.tree, Ino::ROOT, "name");
    rig.tree.write(&call, ino, 0, b"text").expect("write");
    let looks = |size| {
        let before = rig.layer.content().opened.load(Ordering::Relaxed);
        for _ in 0..3 {
            let entry = rig.layer.lookup(&call, Ino::ROOT, "name".as_ref()).expect("a file");
            assert_eq!(entry.attr.size, size);
        }
        rig.layer.content().opened.load(Ordering::Relaxed) - before
    };
    assert_eq!(looks(4), 3, "what has just changed may do so again within the same time");
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(looks(4), 1);
    rig.tree.write(&call, ino, 4, b"more").expect("write");
    assert_eq!(looks(8), 3);
}

#[test]
fn a_damaged_file_shows_its_stored_size_and_can_be_removed() {
    let rig = Rig::new(Fake::new());
    let call = Call::internal();
    let ino = rig.create("name");
    rig.write(ino, b"text");
    assert!(rig.layer.forget(ino, 1));
    rig.layer.content().damaged.store(true, Ordering::Relaxed);
    let entry = rig.layer.lookup(&call, Ino::ROOT, "name".as_ref()).expect("the name is usable");
    assert_eq!(entry.attr.size, 4);
    let read = rig.layer.read(&call, entry.ino, 0, &mut [0; 4]);
    assert_eq!(read, Err(Error::Damaged("on purpose".to_owned())));
    rig.layer.unlink(&call, Ino::ROOT, "name".as_ref()).expect("unlink");
    assert!(rig.layer.forget(entry.ino, 1));
    assert_eq!(rig.tree.known_inodes(), 0, "the failed read keeps nothing");
}

#[test]
fn errors_of_the_lower_file_reach_the_caller_unchanged() {
    let rig = Rig::new(Fake::new());
    let call = Call::internal();
    let ino = rig.create("name");
    rig.write(ino, b"text");
    rig.tree.faults().plan(Some(Fault::once(0, Errno::NOSPC)));
    let full = rig.layer.write(&call, ino, 0, b"more");
    assert_eq!(full, Err(Errno::NOSPC.into()));
    rig.tree.faults().plan(Some(Fault::once(0, Errno::IO)));
    assert_eq!(rig.layer.fsync(&call, ino, true), Err(Errno::IO.into()));
    // Not in use any more, so that it is asked for its length from outside.
    rig.layer.retain(ino).expect("a second lookup");
    rig.layer.forget(ino, 1);
    rig.tree.faults().plan(Some(Fault::once(0, Errno::IO)));
    let entry = rig.layer.lookup(&call, Ino::ROOT, "name".as_ref());
    assert_eq!(entry, Err(Errno::IO.into()));
    assert!(rig.layer.forget(ino, 1), "the failed lookup does not count");
}

#[test]
fn times_are_the_extensions_while_it_disturbs_them() {
    let rig = Rig::new(Fake::new());
    let call = Call::internal();
    let ino = rig.create("name");
    rig.write(ino, b"text");
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    *rig.layer.content().times.lock() = Some(Times { accessed: time, modified: time });
    assert_eq!(rig.layer.getattr(&call, ino).expect("attributes").mtime, time);
    let entry = rig.layer.lookup(&call, Ino::ROOT, "name".as_ref()).expect("the name");
    assert_eq!(entry.attr.mtime, time);
}

#[test]
fn size_mode_and_times_change_in_one_call() {
    let rig = Rig::new(Fake::new());
    let ino = rig.create("name");
    rig.write(ino, b"a longer text");
    let call = Call::new(1000, 1000, 0);
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let changes = SetAttr {
        size: Some(4),
        mode: Some(0o4755),
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    };
    let attr = rig.layer.setattr(&call, ino, &changes).expect("all changes");
    assert_eq!((attr.size, attr.mode, attr.mtime), (4, 0o4755, time));
    let changes = SetAttr { size: Some(3), ..SetAttr::default() };
    let attr = rig.layer.setattr(&call, ino, &changes).expect("a truncation");
    assert_eq!((attr.size, attr.mode), (3, 0o755), "a user's truncation clears set-user-id");
    assert!(attr.mtime > time);
}

#[test]
fn a_change_of_length_moves_the_time_whatever_the_extension_writes() {
    let rig = Rig::new(Fake::new());
    let call = Call::internal();
    let ino = rig.create("name");
    rig.write(ino, b"text");
    let before = rig.layer.getattr(&call, ino).expect("attributes");
    std::thread::sleep(Duration::from_millis(2));
    let changes = SetAttr { size: Some(4), ..SetAttr::default() };
    let after = rig.layer.setattr(&call, ino, &changes).expect("a truncation to the same length");
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
}

#[test]
fn files_are_closed_before_the_extension_shuts_down() {
    let rig = Rig::new(Fake::new());
    for name in ["one", "two", "three"] {
        let ino = rig.create(name);
        rig.write(ino, b"text");
    }
    rig.layer.shutdown();
    assert_eq!(rig.told(), ["shutdown, 3 closed"]);
}

#[test]
fn a_copy_both_ways_at_once_ends() {
    let rig = Rig::new(Fake::new());
    let (one, two) = (rig.create("one"), rig.create("two"));
    for ino in [one, two] {
        rig.write(ino, &vec![b'x'; 1 << 20]);
    }
    let layer = &*rig.layer;
    std::thread::scope(|scope| {
        for (from, to) in [(one, two), (two, one), (one, one), (two, two)] {
            scope.spawn(move || {
                for _ in 0..20 {
                    let copied =
                        layer.copy_file_range(&Call::internal(), (from, 0), (to, 0), 1 << 20);
                    assert_eq!(copied, Ok(1 << 20));
                }
            });
        }
    });
}

/// Writes, reads, attributes, forgets and settling of few files at once: everybody reads what they
/// have written last, and nothing is kept in the end.
#[test]
fn everything_at_once_keeps_files_whole() {
    const PART: usize = 700;
    const THREADS: usize = 4;
    let fake = Fake::settling(Duration::ZERO, |files| {
        files.iter().for_each(|file| drop(file.write()));
        vec![Settled::Changed; files.len()]
    });
    let rig = Rig::new(fake);
    let names: Vec<String> = (0..4).map(|number| format!("file-{number}")).collect();
    for name in &names {
        let ino = rig.create(name);
        rig.write(ino, &[0; THREADS * PART]);
        rig.layer.forget(ino, 1);
    }
    let (layer, names) = (&*rig.layer, &names);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let call = Call::internal();
                let offset = (thread * PART) as u64;
                for round in 0..2000 {
                    let name = &names[(round + thread) % names.len()];
                    let entry = layer.lookup(&call, Ino::ROOT, name.as_ref()).expect("lookup");
                    assert_eq!(entry.attr.size, (THREADS * PART) as u64);
                    let written = [round as u8; PART];
                    layer.write(&call, entry.ino, offset, &written).expect("write");
                    let mut read = [0xee; PART];
                    assert_eq!(layer.read(&call, entry.ino, offset, &mut read), Ok(PART));
                    assert!(read == written, "thread {thread}, round {round}: old bytes");
                    layer.forget(entry.ino, 1);
                }
            });
        }
    });
    rig.layer.shutdown();
    assert_eq!(rig.tree.known_inodes(), 0);
}
