//! Power cuts, failing calls and full disks at every point of a life.

use hsci_extension::{Errno, Ino, Severity};

use super::disk::{Disk, Fate};
use super::model::Operation;
use super::random::Random;
use super::rig::{self, Rig};

const FILES: usize = 3;

/// What a file may hold: the bytes when it was last synced, and after each change since.
struct History(Vec<Vec<u8>>);

impl History {
    fn now(&self) -> &Vec<u8> {
        self.0.last().expect("there is always a version")
    }

    /// Every byte must come from one of the versions, or be a zero where bytes were on their way.
    fn check(&self, found: &[u8], context: &str) {
        if let [only] = &self.0[..] {
            assert_eq!(only.len(), found.len(), "{context}: length of a synced file");
            assert!(only == found, "{context}: bytes of a synced file");
            return;
        }
        let lens = || self.0.iter().map(Vec::len);
        let possible = lens().min().expect("versions")..=lens().max().expect("versions");
        assert!(possible.contains(&found.len()), "{context}: {} not in {possible:?}", found.len());
        for (at, byte) in found.iter().enumerate() {
            let known = *byte == 0 || self.0.iter().any(|version| version.get(at) == Some(byte));
            assert!(known, "{context}: the byte at {at} comes from nowhere");
        }
    }
}

struct Life {
    disk: Disk,
    inos: Vec<Ino>,
    histories: Vec<History>,
}

impl Life {
    fn new() -> Self {
        let disk = Disk::default();
        let inos = (0..FILES).map(|n| disk.create(&format!("file{n}"), 1000)).collect();
        let histories = (0..FILES).map(|_| History(vec![Vec::new()])).collect();
        Self { disk, inos, histories }
    }

    /// Runs one operation; what is known afterwards goes into the history. False if it failed.
    fn step(&mut self, rig: &Rig, operation: &Operation) -> bool {
        let history = &mut self.histories[operation.file];
        let mut bytes = history.now().clone();
        let len = bytes.len() as u64;
        if operation.apply(&mut bytes) {
            history.0.push(bytes);
        }
        let done = operation.run(rig, self.inos[operation.file], len).is_ok();
        if done && (70..80).contains(&operation.kind) {
            let now = history.now().clone();
            history.0 = vec![now];
        }
        done
    }

    /// Everything read is what it may be; what it is counts from now on.
    fn check(&mut self, rig: &Rig, context: &str) {
        for (ino, history) in self.inos.iter().zip(&mut self.histories) {
            let context = format!("{context}, {ino:?}, {}", rig.form(*ino));
            let found = rig.read_all(*ino).expect(&context);
            history.check(&found, &context);
            *history = History(vec![found]);
        }
    }

    /// Everything works, and nothing is left over.
    fn check_alive(&mut self, random: &mut Random, context: &str) {
        let rig = Rig::start(&self.disk, &[]).expect(context);
        self.check(&rig, context);
        for _ in 0..20 {
            assert!(self.step(&rig, &Operation::draw(random)), "{context}: an operation fails");
        }
        rig.settle();
        self.check(&rig, context);
        drop(rig);
        let (_, findings) = rig::check(&self.disk);
        assert_eq!(findings, [], "{context}: the check finds something");
        assert_eq!(self.disk.store_names(), [] as [&str; 0], "{context}: left in the store");
    }
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_synced() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut life = Life::new();
        for cut in 0..3 {
            let context = format!("seed {seed}, cut {cut}");
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            let fail_at = random.below(400);
            life.disk.set_fate(Fate { fail_at: Some(fail_at), forever: true, ..Fate::default() });
            while life.disk.with(|state| state.calls <= fail_at) {
                life.step(&rig, &Operation::draw(&mut random));
            }
            drop(rig);
            life.disk = life.disk.after_power_cut(&mut random);
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            life.check(&rig, &context);
        }
        life.check_alive(&mut random, &format!("seed {seed}"));
    }
}

#[test]
fn a_process_killed_at_any_point_loses_nothing_that_was_acknowledged() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut life = Life::new();
        for kill in 0..4 {
            let context = format!("seed {seed}, kill {kill}");
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            let fail_at = random.below(300);
            life.disk.set_fate(Fate { fail_at: Some(fail_at), forever: true, ..Fate::default() });
            let mut waiting = None;
            while life.disk.with(|state| state.calls <= fail_at) {
                let operation = Operation::draw(&mut random);
                let known = life.histories[operation.file].0.len();
                if !life.step(&rig, &operation) {
                    life.histories[operation.file].0.truncate(known);
                    waiting = Some(operation);
                    break;
                }
            }
            drop(rig);
            life.disk.set_fate(Fate::default());
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            // The kernel sends again what was not answered.
            if let Some(operation) = waiting {
                assert!(life.step(&rig, &operation), "{context}: the operation fails again");
            }
            for history in &mut life.histories {
                history.0 = vec![history.now().clone()];
            }
            life.check(&rig, &context);
        }
        life.check_alive(&mut random, &format!("seed {seed}"));
    }
}

/// A short life that walks through every change of form.
fn scripted(random: &mut Random) -> Vec<Operation> {
    let text = random.bytes(90 << 10, true);
    let operation = |kind, offset, len, data: &[u8]| Operation {
        file: 0,
        kind,
        offset,
        len,
        data: data.to_vec(),
    };
    let [write, truncate, clear, punch, sync, settle] = [20, 45, 53, 55, 70, 80];
    vec![
        operation(write, 0, 0, &text),
        operation(sync, 0, 0, &[]),
        operation(settle, 0, 0, &[]),
        operation(write, 40_000, 0, &text[..100]),
        operation(sync, 0, 0, &[]),
        operation(write, 40_050, 0, &text[..100]),
        operation(write, 95_000, 0, &text[..9000]),
        operation(punch, 1000, 40_000, &[]),
        operation(truncate, 99_000, 0, &[]),
        operation(sync, 0, 0, &[]),
        operation(settle, 0, 0, &[]),
        operation(truncate, 50_000, 0, &[]),
        operation(write, 60_000, 0, &text[..20_000]),
        operation(sync, 0, 0, &[]),
        operation(settle, 0, 0, &[]),
        operation(clear, 0, 0, &[]),
        operation(write, 0, 0, &text),
        operation(settle, 0, 0, &[]),
    ]
}

#[test]
fn one_failing_call_at_any_point_spoils_nothing_else() {
    for errno in [Errno::IO, Errno::NOSPC] {
        for fail_at in 0.. {
            let mut random = Random(7);
            let mut life = Life::new();
            let context = format!("{errno:?} of call {fail_at}");
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            let fate = Fate { fail_at: Some(fail_at), errno: Some(errno), ..Fate::default() };
            life.disk.set_fate(fate);
            for operation in scripted(&mut random) {
                let before = life.disk.with(|state| state.calls);
                let done = life.step(&rig, &operation);
                let hit = (before..life.disk.with(|state| state.calls)).contains(&fail_at);
                assert!(done || hit, "{context}: another operation fails");
                life.check(&rig, &context);
            }
            let calls = life.disk.with(|state| state.calls);
            drop(rig);
            life.disk.set_fate(Fate::default());
            life.check_alive(&mut random, &context);
            if fail_at > calls {
                assert!(calls > 50, "the script makes {calls} calls only");
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_fails_the_write_that_hits_it_and_loses_nothing() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let mut life = Life::new();
        let rig = Rig::start(&life.disk, &[]).expect("start");
        life.disk.set_fate(Fate { capacity: 40 + random.below(60), ..Fate::default() });
        let mut failures = 0;
        for step in 0..200 {
            let operation = Operation::draw(&mut random);
            let context = format!("seed {seed}, step {step}, kind {}", operation.kind);
            failures += u32::from(!life.step(&rig, &operation));
            life.check(&rig, &context);
        }
        assert!(failures > 0, "seed {seed}: the disk was never full");
        // Room comes back with the files that go.
        for (ino, history) in life.inos.iter().zip(&mut life.histories) {
            rig.set_len(*ino, 0).expect("a file can always be emptied");
            *history = History(vec![Vec::new()]);
        }
        rig.settle();
        rig.write(life.inos[0], 0, &random.bytes(20_000, true)).expect("there is room again");
        rig.set_len(life.inos[0], 0).expect("a file can always be emptied");
        drop(rig);
        life.disk.set_fate(Fate::default());
        life.check_alive(&mut random, &format!("seed {seed}"));
    }
}

#[test]
fn a_store_is_read_without_touching_it_whatever_happened_to_it() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let mut life = Life::new();
        let rig = Rig::start(&life.disk, &[]).expect("start");
        let fail_at = random.below(300);
        life.disk.set_fate(Fate { fail_at: Some(fail_at), forever: true, ..Fate::default() });
        while life.disk.with(|state| state.calls <= fail_at) {
            life.step(&rig, &Operation::draw(&mut random));
        }
        drop(rig);
        life.disk = life.disk.after_power_cut(&mut random);
        life.disk.set_fate(Fate { fail_at: Some(0), forever: true, ..Fate::default() });
        let (_, findings) = rig::check(&life.disk);
        let grave = findings.iter().find(|finding| finding.severity == Severity::Damage);
        assert_eq!(grave, None, "seed {seed}");
        let rig = Rig::read_only(&life.disk).expect("start");
        life.check(&rig, &format!("seed {seed}"));
        drop(rig);
        assert_eq!(life.disk.with(|state| state.calls), 0, "seed {seed}: something was written");
    }
}
