//! Power cuts, kills and full disks at every point of a life.

use hsci_extension::{Ino, Result, Severity};

use super::disk::{Disk, Fate};
use super::history::History;
use super::model::Operation;
use super::random::Random;
use super::rig::{self, Rig};

const FILES: usize = 3;

/// Files in use, and what they may hold.
pub(super) struct Life {
    pub(super) disk: Disk,
    pub(super) inos: Vec<Ino>,
    pub(super) histories: Vec<History>,
}

impl Life {
    pub(super) fn new() -> Self {
        let disk = Disk::default();
        let inos = (0..FILES).map(|n| disk.create(&format!("file{n}"), 1000)).collect();
        let histories = (0..FILES).map(|_| History::default()).collect();
        Self { disk, inos, histories }
    }

    /// Runs one operation; false if it failed.
    fn step(&mut self, rig: &Rig, operation: &Operation) -> bool {
        self.try_step(rig, operation).is_ok()
    }

    /// Runs one operation; what is known afterwards goes into the history.
    pub(super) fn try_step(&mut self, rig: &Rig, operation: &Operation) -> Result<()> {
        let history = &mut self.histories[operation.file];
        let len = history.now().len() as u64;
        history.change(operation);
        operation.run(rig, self.inos[operation.file], len)?;
        if operation.is_sync() {
            history.sync();
        }
        Ok(())
    }

    /// Everything read is what it may be; what it is counts from now on.
    pub(super) fn check(&mut self, rig: &Rig, context: &str) {
        for (ino, history) in self.inos.iter().zip(&mut self.histories) {
            let context = format!("{context}, {ino:?}, {}", rig.form(*ino));
            let found = rig.read_all(*ino).expect(&context);
            history.check(&found, &context);
            *history = History::new(found);
        }
    }

    /// Everything works, and nothing is left over.
    pub(super) fn check_alive(&mut self, random: &mut Random, context: &str) {
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
        let mut left = self.disk.store_names();
        left.retain(|name| name != "choices");
        assert_eq!(left, [] as [&str; 0], "{context}: left in the store");
    }
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_synced() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut life = Life::new();
        life.disk.start_record();
        for cut in 0..3 {
            let context = format!("seed {seed}, cut {cut}");
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            let fail_at = random.below(400);
            life.disk.set_fate(Fate { fail_at: Some(fail_at), forever: true, ..Fate::default() });
            while life.disk.with(|state| state.calls <= fail_at) {
                life.step(&rig, &Operation::draw(&mut random));
            }
            drop(rig);
            let machine = life.disk.machine();
            life.disk = life.disk.after_power_cut(&mut random);
            let rig = Rig::start(&life.disk, &[]).expect(&context);
            life.check(&rig, &context);
            // Notes are believed while the machine runs on. What they tell lasts by the next sync.
            if life.disk.machine() == machine {
                life.inos.iter().for_each(|ino| rig.sync(*ino).expect(&context));
            }
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
                let known = life.histories[operation.file].clone();
                if !life.step(&rig, &operation) {
                    life.histories[operation.file] = known;
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
                history.sync();
            }
            life.check(&rig, &context);
        }
        life.check_alive(&mut random, &format!("seed {seed}"));
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
            *history = History::default();
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
        life.disk.start_record();
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
