//! One failing call, whichever it is: of all calls to the lower file system, those that only look
//! included, and for every way to fail.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_extension::{Errno, Ino, Result, Whence};

use super::cores::on_all_cores;
use super::crash::Life;
use super::disk::{Carried, Disk, Fate, Part, Platter, Record};
use super::history::History;
use super::model::Operation;
use super::random::Random;
use super::rig::{self, Rig, user};

/// Ways to fail. A write may have been carried out in any part, then; a read may have filled a part
/// of the buffer. Reads that are short without an error are no fault of a disk: a lower file
/// returns less than asked for at its end only.
const FAULTS: [(Errno, Carried); 5] = [
    (Errno::IO, Carried::All),
    (Errno::NOSPC, Carried::Half),
    (Errno::DQUOT, Carried::Nothing),
    (Errno::INTR, Carried::Nothing),
    (Errno::IO, Carried::Half),
];

/// A step of the script.
enum Act {
    Content(Operation),
    /// Looks for data and holes.
    Seek,
    /// The user decides for an algorithm, which is kept in the store.
    Choose(&'static str),
    Create,
    /// The file that the script is about leaves its name.
    Rename,
}

/// A short life that walks through every change of form.
fn script(sealed_look: &[u8]) -> Vec<Act> {
    let text = Random(7).bytes(90 << 10, true);
    let act = |kind, offset, len, data: &[u8]| {
        Act::Content(Operation { file: 0, kind, offset, len, data: data.to_vec() })
    };
    let [write, truncate, clear, punch, sync, settle, read] = [20, 45, 53, 55, 70, 80, 90];
    vec![
        act(write, 0, 0, &text),
        act(sync, 0, 0, &[]),
        act(settle, 0, 0, &[]),
        act(read, 30_000, 9000, &[]),
        act(write, 40_000, 0, &text[..100]),
        act(sync, 0, 0, &[]),
        act(write, 40_050, 0, &text[..100]),
        Act::Seek,
        act(write, 95_000, 0, &text[..9000]),
        act(punch, 1000, 40_000, &[]),
        act(truncate, 99_000, 0, &[]),
        act(sync, 0, 0, &[]),
        Act::Choose("lz4"),
        act(settle, 0, 0, &[]),
        act(read, 0, 99_000, &[]),
        act(truncate, 50_000, 0, &[]),
        act(write, 60_000, 0, &text[..20_000]),
        Act::Rename,
        act(sync, 0, 0, &[]),
        act(settle, 0, 0, &[]),
        act(clear, 0, 0, &[]),
        act(write, 0, 0, &text[..5000]),
        Act::Create,
        // From raw to log at once.
        act(write, 0, 0, sealed_look),
        act(write, 10_000, 0, &text),
        Act::Choose("default"),
        act(settle, 0, 0, &[]),
    ]
}

/// Bytes of a user that begin like a sealed file.
fn sealed_look() -> Vec<u8> {
    let disk = Disk::default();
    let file = disk.create("file", 1000);
    let rig = Rig::start(&disk, &[]).expect("start");
    rig.write(file, 0, &Random(1).bytes(50_000, true)).expect("write");
    rig.settle();
    let mut head = vec![0; 300];
    disk.lower(file).read_exact_at(0, &mut head).expect("an image is longer");
    head
}

impl Act {
    fn run(&self, rig: &Rig, life: &mut Life) -> Result<()> {
        let (call, ino) = (user(1000), life.inos[0]);
        match self {
            Self::Content(operation) => life.try_step(rig, operation),
            Self::Seek => {
                rig.layer.lseek(&call, ino, 0, Whence::Data)?;
                rig.layer.lseek(&call, ino, 0, Whence::Hole).map(drop)
            }
            Self::Choose(name) => {
                rig.layer.control_set(&call, Ino::ROOT, "algorithm", name.as_bytes())
            }
            Self::Create => {
                rig.layer.mknod(&call, Ino::ROOT, OsStr::new("made"), 0o644, 0).map(drop)
            }
            Self::Rename => {
                let (from, to) = (OsStr::new("file0"), OsStr::new("renamed"));
                let flags = hsci_extension::RenameFlags::empty();
                rig.layer.rename(&call, (Ino::ROOT, from), (Ino::ROOT, to), flags)
            }
        }
    }
}

/// What was acknowledged is there if the process dies now, or the power is cut: with all that was
/// not synced, and with nothing of it.
fn check_ends(life: &Life, context: &str) {
    let killed = life.disk.copy();
    killed.set_fate(Fate::default());
    let Record { base, events } = killed.take_record();
    let mut platter = Platter::new(&base);
    events.iter().for_each(|event| platter.take(event));
    let cut = |part| platter.crash(&vec![part; platter.waiting.len()]);
    let ends = [("kill", killed), ("all kept", cut(Part::All)), ("all lost", cut(Part::Nothing))];
    for (end, disk) in ends {
        let context = format!("{context}, {end}");
        let rig = Rig::start(&disk, &[]).expect(&context);
        for (ino, history) in life.inos.iter().zip(&life.histories) {
            history.check(&rig.read_all(*ino).expect(&context), &context);
        }
    }
}

/// Runs the script with one failing call. Returns how many calls there were.
fn live(sealed_look: &[u8], fail_at: u64, (errno, carried): (Errno, Carried)) -> u64 {
    let context = format!("{errno:?} of call {fail_at}, {carried:?} carried out");
    let mut life = Life::new();
    life.disk.start_record();
    let rig = Rig::start(&life.disk, &[]).expect(&context);
    let looks = true;
    let fate =
        Fate { fail_at: Some(fail_at), errno: Some(errno), carried, looks, ..Fate::default() };
    life.disk.set_fate(fate);
    let pause = |life: &Life, paused| life.disk.with(|state| state.fate.paused = paused);
    for (number, act) in script(sealed_look).iter().enumerate() {
        let context = format!("{context}, act {number}");
        let before = life.disk.with(|state| state.calls);
        pause(&life, false);
        let done = act.run(&rig, &mut life);
        pause(&life, true);
        let after = life.disk.with(|state| state.calls);
        if let Err(error) = done {
            let hit = (before..after).contains(&fail_at);
            assert!(hit, "{context}: another operation fails: {error}");
            assert_eq!(error.errno(), errno, "{context}: the caller gets another error");
        }
        if (before..after).contains(&fail_at) {
            check_ends(&life, &context);
        }
        if after > fail_at {
            life.check(&rig, &context);
        }
    }
    let calls = life.disk.with(|state| state.calls);
    drop(rig);
    life.disk.set_fate(Fate::default());
    life.check_alive(&mut Random(fail_at), &context);
    calls
}

/// Runs `live` with each call failing in each way, until there is no such call.
fn sweep(what: &str, live: impl Fn(u64, (Errno, Carried)) -> u64 + Sync) {
    let (most, runs) = (AtomicU64::new(0), AtomicU64::new(0));
    on_all_cores(|job| {
        let (fail_at, fault) = ((job / FAULTS.len()) as u64, FAULTS[job % FAULTS.len()]);
        let calls = live(fail_at, fault);
        if fail_at < calls {
            most.fetch_max(fail_at + 1, Ordering::Relaxed);
            runs.fetch_add(1, Ordering::Relaxed);
        }
        fail_at < calls
    });
    let (most, runs) = (most.into_inner(), runs.into_inner());
    println!("faults {what}: {most} calls x {} errors, {runs} lives, 0 violations", FAULTS.len());
    assert!(runs >= most * FAULTS.len() as u64 * 9 / 10, "{runs} lives for {most} calls");
}

#[test]
fn one_failing_call_at_any_point_spoils_nothing_else() {
    let look = sealed_look();
    sweep("in use", |fail_at, fault| live(&look, fail_at, fault));
}

/// A disk with a journal that is committed and not installed, and what its file holds.
fn interrupted() -> (Disk, Ino, Vec<u8>) {
    let bytes = Random(1).bytes(90_000, true);
    for fail_at in 0.. {
        let disk = Disk::default();
        let file = disk.create("file", 1000);
        let rig = Rig::start(&disk, &[]).expect("start");
        rig.write(file, 0, &bytes).expect("write");
        rig.sync(file).expect("sync");
        let fate = Fate { fail_at: Some(fail_at), forever: true, ..Fate::default() };
        disk.set_fate(fate);
        rig.settle();
        drop(rig);
        disk.set_fate(Fate::default());
        if rig::check(&disk).1.iter().any(|finding| finding.place == "journal") {
            return (disk, file, bytes);
        }
    }
    unreachable!("some call is the first behind the commit");
}

#[test]
fn one_failing_call_of_recovery_spoils_nothing() {
    let (disk, file, bytes) = interrupted();
    sweep("of recovery", |fail_at, (errno, carried)| {
        let context = format!("{errno:?} of call {fail_at} of recovery, {carried:?} carried out");
        let disk = disk.copy();
        let looks = true;
        let errno = Some(errno);
        disk.set_fate(Fate { fail_at: Some(fail_at), errno, carried, looks, ..Fate::default() });
        let started = Rig::start(&disk, &[]);
        let calls = disk.with(|state| {
            state.fate.paused = true;
            state.calls
        });
        let mut history = History::new(bytes.clone());
        if let Ok(rig) = started {
            history.check(&rig.read_all(file).expect(&context), &context);
            let write =
                Operation { file: 0, kind: 20, offset: 7000, len: 3, data: b"new".to_vec() };
            history.change(&write);
            write.run(&rig, file, bytes.len() as u64).expect(&context);
            rig.sync(file).expect(&context);
            history.sync();
        } else {
            assert!(fail_at < calls, "{context}: the start fails without a reason");
        }
        disk.set_fate(Fate::default());
        let rig = Rig::start(&disk, &[]).expect(&context);
        history.check(&rig.read_all(file).expect(&context), &context);
        drop(rig);
        assert_eq!(rig::check(&disk).1, [], "{context}: the check finds something");
        assert_eq!(disk.store_names(), [] as [&str; 0], "{context}: left in the store");
        calls
    });
}

/// A journal that cannot be removed, or of which nobody knows whether it counts, may put an image back
/// at the next start: nothing may be written over it until then.
#[test]
fn a_journal_that_stays_takes_nothing_back() {
    let look = sealed_look();
    for (forever, settles) in [(false, false), (true, false), (false, true), (true, true)] {
        for fail_at in 0..40 {
            let disk = Disk::default();
            let file = disk.create("file", 1000);
            let rig = Rig::start(&disk, &[]).expect("start");
            rig.write(file, 0, &Random(1).bytes(50_000, true)).expect("write");
            rig.sync(file).expect("sync");
            disk.set_fate(Fate { fail_at: Some(fail_at), forever, ..Fate::default() });
            if settles {
                rig.settle();
            } else {
                let _ = rig.write(file, 0, &look);
            }
            // While the disk fails, a file that holds the old bytes still refuses others.
            let bytes = Random(fail_at).bytes(60_000, true);
            let replaced = rig.set_len(file, 0).and_then(|()| rig.write(file, 0, &bytes));
            let synced = replaced.and_then(|()| rig.sync(file)).is_ok();
            disk.set_fate(Fate::default());
            let context = format!("call {fail_at} fails, forever {forever}, settles {settles}");
            if !synced {
                // The next attempt ends the doubt.
                rig.set_len(file, 0).and_then(|()| rig.write(file, 0, &bytes)).expect(&context);
                rig.sync(file).expect(&context);
            }
            drop(rig);
            let rig = Rig::start(&disk, &[]).expect("start");
            assert!(rig.read_all(file).expect(&context) == bytes, "{context}");
        }
    }
}
