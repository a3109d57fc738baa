//! Every state that a power cut may leave behind.
//!
//! A workload runs on a disk that records all calls. Then, for each prefix of the calls, disks are
//! built that hold what was synced and some choice of what was not, and the extension is started
//! on each of them: it has to keep every promise that the operations up to there were given.
//!
//! The workloads are all sequences of up to two operations on a small file in each form, and
//! long ones drawn at random. `HSCI_CRASH_STATES` says how many different states are wanted.

mod choice;
mod life;
mod run;
mod step;
mod verify;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use self::life::{Prepared, Workload};
use self::step::Step;
use super::cores::on_all_cores;
use super::random::Random;

/// States that are looked at when nobody says how many.
const FEW: usize = 6000;
/// What all choices follow from.
const SEED: u64 = 20;

/// States seen so far.
#[derive(Default)]
struct Tally {
    /// By what the disk holds.
    different: Mutex<HashSet<u64>>,
    verified: AtomicUsize,
    /// States of which recovery itself was cut.
    nested: AtomicUsize,
}

impl Tally {
    fn different(&self) -> usize {
        self.different.lock().len()
    }
}

fn wanted() -> usize {
    let wanted = std::env::var("HSCI_CRASH_STATES").ok();
    wanted.map_or(FEW, |wanted| wanted.parse().expect("HSCI_CRASH_STATES is a number"))
}

#[test]
fn every_state_after_a_power_cut_keeps_the_promises() {
    let (wanted, tally, prepared) = (wanted(), Tally::default(), Prepared::all());
    let short = step::sequences();
    // Short workloads have few states: with many wanted, all of them are looked at.
    let quota = wanted.div_ceil(short.len() * prepared.len()) * if wanted > FEW { 100 } else { 1 };
    on_all_cores(|job| {
        let Some(steps) = short.get(job / prepared.len()) else {
            return false;
        };
        let prepared = &prepared[job % prepared.len()];
        let steps: Vec<Step> = steps.iter().map(|step| step(prepared)).collect();
        let workload = Workload { prepared, steps, seed: SEED + job as u64 };
        run::run(&workload, quota, &tally);
        true
    });
    let (of_short, short) = (tally.different(), short.len() * prepared.len());
    let long = AtomicUsize::new(0);
    on_all_cores(|job| {
        if tally.different() >= wanted {
            return false;
        }
        let mut random = Random(SEED << 32 | job as u64);
        let prepared = &prepared[job % prepared.len()];
        let steps = (0..40).map(|_| Step::draw(&mut random)).collect();
        let workload = Workload { prepared, steps, seed: random.next() };
        run::run(&workload, 400, &tally);
        long.fetch_add(1, Ordering::Relaxed);
        true
    });
    let (different, verified) = (tally.different(), tally.verified.into_inner());
    println!(
        "crash states: {different} different ({of_short} of {short} short workloads, the others of \
         {} long ones), {verified} verified, {} of them after a cut of recovery, seed {SEED}",
        long.into_inner(),
        tally.nested.into_inner(),
    );
    assert!(different >= wanted, "{different} states, {wanted} are wanted");
}
