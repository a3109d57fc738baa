//! Files that are never quiet, and segments.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::crash::Life;
use super::disk::{Change, Covers, Disk, Event, Fate};
use super::history::History;
use super::model::Operation;
use super::pages::PAGE;
use super::random::Random;
use super::rig::{self, Rig};
use crate::settle::SEALED_GROWING;

/// Small segments, and a time of quiet that never comes while somebody writes.
const GROWING: [(&str, &str); 1] = [("settle", "20ms")];

/// What programs that know nothing of us print of a lower file.
fn printed(disk: &Disk, ino: hsci_extension::Ino) -> Vec<u8> {
    let lower = disk.lower(ino);
    let mut bytes = vec![0; lower.len().expect("length") as usize];
    lower.read_exact_at(0, &mut bytes).expect("read");
    zstd::decode_all(&bytes[..]).expect("frames and nothing else")
}

#[test]
fn a_file_that_is_never_quiet_is_sealed_while_it_grows() {
    let disk = Disk::default();
    let file = disk.create("log", 1000);
    let rig = Rig::start(&disk, &GROWING).expect("start");
    let (mut random, mut text) = (Random(1), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut sealed_at = Vec::new();
    // Until most of several segments is sealed, with a line every few milliseconds.
    while sealed_at.len() < 4 {
        let line = random.bytes(3000, true);
        rig.write(file, text.len() as u64, &line).expect("write");
        text.extend(line);
        let stored = disk.used() * PAGE as u64;
        let is_later = sealed_at.last().is_none_or(|last| text.len() > last + (128 << 10));
        if rig.form(file) == "log" && stored < text.len() as u64 / 2 && is_later {
            sealed_at.push(text.len());
        }
        assert!(rig.read_all(file).expect("read") == text);
        assert!(Instant::now() < deadline, "sealed at {sealed_at:?} of {}", text.len());
        std::thread::sleep(Duration::from_millis(2));
    }
    rig.settle();
    assert_eq!(rig.form(file), "sealed");
    assert!(rig.read_all(file).expect("read") == text);
    assert!(printed(&disk, file) == text);
    drop(rig);
    assert_eq!(rig::check(&disk).1, []);
    let rig = Rig::start(&disk, &[]).expect("start");
    assert!(rig.read_all(file).expect("read") == text);
}

#[test]
fn what_a_journal_holds_is_durable_before_its_record_is_written() {
    let disk = Disk::default();
    let file = disk.create("log", 1000);
    let rig = Rig::start(&disk, &GROWING).expect("start");
    disk.start_record();
    let (mut random, mut len) = (Random(3), 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while rig.form(file) != "log" || disk.used() * PAGE as u64 > len / 2 {
        let line = random.bytes(3000, true);
        rig.write(file, len, &line).expect("write");
        len += line.len() as u64;
        assert!(Instant::now() < deadline, "{len} bytes are not sealed");
        std::thread::sleep(Duration::from_millis(2));
    }
    rig.settle();
    let (mut records, mut unsynced) = (0, HashSet::new());
    for event in disk.take_record().events {
        match event {
            Event::Change { change: Change::Write { ino, data, .. }, .. } => {
                if data.windows(8).any(|bytes| bytes == b"HSCIjrnl") {
                    records += 1;
                    assert!(!unsynced.contains(&ino), "record {records} came before the rest");
                }
                unsynced.insert(ino);
            }
            Event::Sync(Covers::Data(ino) | Covers::File(ino)) => drop(unsynced.remove(&ino)),
            Event::Sync(Covers::All) => unsynced.clear(),
            _ => {}
        }
    }
    assert!(records > 1, "{records} records");
}

/// Bytes of content that were written since the recording began.
fn written_of(disk: &Disk) -> usize {
    let events = disk.take_record().events;
    let len = |event: &Event| match event {
        Event::Change { change: Change::Write { data, .. }, .. } => data.len(),
        _ => 0,
    };
    events.iter().map(len).sum()
}

#[test]
fn a_file_that_rests_now_and_then_is_not_made_anew_for_each_line() {
    let disk = Disk::default();
    let file = disk.create("log", 1000);
    let rig = Rig::start(&disk, &[]).expect("start");
    let mut random = Random(2);
    let mut text = random.bytes(3 << 20, true);
    rig.write(file, 0, &text).expect("write");
    rig.settle();
    let mut written = 0;
    for round in 0..40 {
        let line = random.bytes(500, true);
        rig.write(file, text.len() as u64, &line).expect("write");
        text.extend(line);
        disk.start_record();
        rig.settle();
        // The first one takes the chunk that is not full out of the image.
        if round > 0 {
            written += written_of(&disk);
        }
        assert_eq!(rig.form(file), "sealed");
    }
    assert!(rig.read_all(file).expect("read") == text);
    assert!(printed(&disk, file) == text);
    assert!(written < 40 * (64 << 10), "{written} bytes written for 40 lines");
    drop(rig);
    assert_eq!(rig::check(&disk).1, []);
}

/// Mostly appends, that a power cut or a kill interrupts.
fn draw(random: &mut Random, len: u64) -> Operation {
    let mut operation = Operation::draw(random);
    (operation.file, operation.kind) = (
        0,
        match random.below(20) {
            0 => 75,
            1 => 20,
            2 => 60,
            3 if random.below(4) == 0 => 50,
            _ => 5,
        },
    );
    operation.offset %= len + 1;
    operation.len = operation.len.min(9000);
    operation.data = random.bytes(operation.len as usize, true);
    operation
}

fn live(life: &mut Life, rig: &Rig, random: &mut Random, is_killed: bool) {
    let fail_at = random.below(1200);
    life.disk.set_fate(Fate { fail_at: Some(fail_at), forever: true, ..Fate::default() });
    while life.disk.with(|state| state.calls <= fail_at) {
        let operation = draw(random, life.histories[0].now().len() as u64);
        let failed = life.try_step(rig, &operation).is_err();
        if failed && is_killed {
            return;
        }
        if is_killed {
            life.histories[0].sync();
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Writes come sooner after one another than that.
const HASTE: [(&str, &str); 1] = [("settle", "2ms")];

#[test]
fn a_power_cut_while_a_file_grows_loses_nothing_that_was_synced() {
    let before = SEALED_GROWING.load(Ordering::Relaxed);
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut life = Life::new();
        life.disk.start_record();
        for cut in 0..4 {
            let context = format!("seed {seed}, cut {cut}");
            let rig = Rig::start(&life.disk, &HASTE).expect(&context);
            live(&mut life, &rig, &mut random, false);
            drop(rig);
            let machine = life.disk.machine();
            life.disk = life.disk.after_power_cut(&mut random);
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            life.check(&rig, &context);
            if life.disk.machine() == machine {
                life.inos.iter().for_each(|ino| rig.sync(*ino).expect(&context));
            }
        }
        life.check_alive(&mut random, &format!("seed {seed}"));
    }
    let sealed = SEALED_GROWING.load(Ordering::Relaxed) - before;
    println!("{sealed} times sealed while it grew");
    assert!(sealed > 20, "sealed {sealed} times while it grew");
}

#[test]
fn a_kill_while_a_file_grows_loses_nothing_that_was_acknowledged() {
    let before = SEALED_GROWING.load(Ordering::Relaxed);
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut life = Life::new();
        for kill in 0..4 {
            let context = format!("seed {seed}, kill {kill}");
            let rig = Rig::start(&life.disk, &HASTE).expect(&context);
            live(&mut life, &rig, &mut random, true);
            drop(rig);
            life.disk.set_fate(Fate::default());
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            life.check(&rig, &context);
            life.histories.iter_mut().for_each(History::sync);
        }
        life.check_alive(&mut random, &format!("seed {seed}"));
    }
    let sealed = SEALED_GROWING.load(Ordering::Relaxed) - before;
    println!("{sealed} times sealed while it grew");
    assert!(sealed > 20, "sealed {sealed} times while it grew");
}
