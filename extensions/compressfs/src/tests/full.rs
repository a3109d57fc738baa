//! A store without any free space is made smaller in what was kept for that.

use hsci_extension::Ino;

use super::disk::{Disk, Fate, Part, Platter, Record};
use super::history::History;
use super::pages::PAGE;
use super::random::Random;
use super::rig::{self, Rig};

/// Pages of the disk.
const CAPACITY: u64 = 2048;
const LEN: usize = 150_000;
const FILES: u64 = 12;

fn is_full(disk: &Disk) {
    disk.set_fate(Fate { capacity: CAPACITY, ..Fate::default() });
}

/// A disk that is full, with files that could be smaller, and what they hold.
fn full() -> (Disk, Rig, Vec<(Ino, Vec<u8>)>) {
    let disk = Disk::default();
    is_full(&disk);
    let rig = Rig::start(&disk, &[]).expect("start");
    let texts = (0..FILES).map(|number| {
        let ino = disk.create(&format!("text{number}"), 1000);
        let bytes = Random(number).bytes(LEN, true);
        rig.write(ino, 0, &bytes).expect("write");
        rig.sync(ino).expect("sync");
        (ino, bytes)
    });
    let texts = texts.collect();
    let ballast = disk.create("ballast", 1000);
    let noise = Random(99).bytes(PAGE, false);
    let mut at = 0;
    while rig.write(ballast, at, &noise).is_ok() {
        at += noise.len() as u64;
    }
    assert_eq!(disk.used(), CAPACITY, "no page is free");
    (disk, rig, texts)
}

fn check(rig: &Rig, texts: &[(Ino, Vec<u8>)], context: &str) {
    for (ino, bytes) in texts {
        History::new(bytes.clone()).check(&rig.read_all(*ino).expect(context), context);
    }
}

/// Settles while each call fails that comes after so many; how many there were.
fn settle_and_fail(fail_at: u64) -> u64 {
    let context = format!("calls from {fail_at} on fail");
    let (disk, rig, texts) = full();
    let fate =
        Fate { capacity: CAPACITY, fail_at: Some(fail_at), forever: true, ..Fate::default() };
    disk.set_fate(fate);
    rig.settle();
    let calls = disk.with(|state| state.calls);
    is_full(&disk);
    check(&rig, &texts, &context);
    drop(rig);
    let rig = Rig::start(&disk, &[]).expect(&context);
    check(&rig, &texts, &context);
    // What could not be had back is not missed: the next attempt has room.
    rig.settle();
    check(&rig, &texts, &context);
    drop(rig);
    assert_eq!(rig::check(&disk).1, [], "{context}");
    calls
}

#[test]
fn a_full_store_is_made_smaller_and_keeps_space_for_the_next_time() {
    let (disk, rig, texts) = full();
    rig.settle();
    check(&rig, &texts, "settled");
    for (ino, _) in &texts {
        assert_eq!(rig.form(*ino), "sealed");
    }
    let raw = FILES * (LEN as u64).div_ceil(PAGE as u64);
    assert!(disk.used() < CAPACITY - raw / 2, "{} of {CAPACITY} pages", disk.used());
    assert!(disk.store_names().iter().any(|name| name == "reserve"), "{:?}", disk.store_names());
    drop(rig);
    disk.set_fate(Fate::default());
    drop(Rig::start(&disk, &[]).expect("start"));
    assert_eq!(disk.store_names(), [] as [&str; 0], "nothing is kept where there is plenty");
}

#[test]
fn a_full_store_that_is_made_smaller_loses_nothing_in_any_cut() {
    let (disk, rig, texts) = full();
    disk.start_record();
    rig.settle();
    drop(rig);
    let Record { base, events } = disk.take_record();
    let (mut random, mut states) = (Random(7), 0);
    let mut platter = Platter::new(&base);
    for number in 0..=events.len() {
        let all = |part| vec![part; platter.waiting.len()];
        let mut ends = vec![all(Part::Nothing), all(Part::All)];
        ends.extend((0..4).map(|_| Part::draw(&platter, &mut random)));
        for parts in ends {
            let context = format!("{number} events, {parts:?}");
            let disk = platter.crash(&parts);
            is_full(&disk);
            check(&Rig::start(&disk, &[]).expect(&context), &texts, &context);
            assert_eq!(rig::check(&disk).1, [], "{context}");
            states += 1;
        }
        if let Some(event) = events.get(number) {
            platter.take(event);
        }
    }
    println!("{states} states of {} events", events.len());
    assert!(states > 200, "{states} states");
}

#[test]
fn a_full_store_that_fails_while_it_is_made_smaller_loses_nothing() {
    let calls = settle_and_fail(u64::MAX);
    for fail_at in 0..calls {
        settle_and_fail(fail_at);
    }
}
