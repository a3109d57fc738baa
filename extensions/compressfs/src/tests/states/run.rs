//! All states of one workload, or some of them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;

use super::choice::choices;
use super::life::{Histories, Life, Workload};
use super::{Tally, verify};
use crate::tests::disk::{Part, Platter, Record};
use crate::tests::random::Random;

/// A state: after so many events, with these parts of the changes that wait.
struct Point {
    events: usize,
    parts: Vec<Part>,
}

/// Looks at up to `quota` states of a workload, drawn by its seed.
pub(super) fn run(workload: &Workload<'_>, quota: usize, tally: &Tally) {
    let life = workload.live();
    let mut random = Random(workload.seed);
    let context =
        format!("{} {:?} seed {}", workload.prepared.form, brief(workload), workload.seed);
    let mut seen = HashSet::new();
    let mut points = points(&life.record, &mut random);
    shuffle(&mut points, &mut random);
    points.truncate(quota);
    points.sort_by_key(|point| point.events);
    let mut platter = Platter::new(&life.record.base);
    let mut taken = 0;
    for point in points {
        while taken < point.events {
            platter.take(&life.record.events[taken]);
            taken += 1;
        }
        let known = life.at(point.events);
        let context = format!("{context}, {} events, {:?}", point.events, point.parts);
        let disk = platter.crash(&point.parts);
        let digest = disk.digest();
        tally.different.lock().insert(digest);
        if !seen.insert((digest, place(&life, point.events))) {
            continue;
        }
        let recovery = verify::verify(&disk, known, random.next(), &context);
        tally.verified.fetch_add(1, Ordering::Relaxed);
        cut_recovery(&recovery, known, &mut random, tally, &context);
    }
}

/// The same content may be right at one time and wrong at another.
fn place(life: &Life, events: usize) -> u64 {
    let mut digest = DefaultHasher::new();
    std::ptr::from_ref(life.at(events)).hash(&mut digest);
    digest.finish()
}

/// Recovery is cut in its turn, somewhere.
fn cut_recovery(
    recovery: &Record,
    known: &Histories,
    random: &mut Random,
    tally: &Tally,
    context: &str,
) {
    if recovery.events.is_empty() {
        return;
    }
    let mut points = points(recovery, random);
    let Point { events, parts } = points.swap_remove(random.below(points.len() as u64) as usize);
    let mut platter = Platter::new(&recovery.base);
    recovery.events[..events].iter().for_each(|event| platter.take(event));
    let context = format!("{context}, then {events} events of recovery, {parts:?}");
    let disk = platter.crash(&parts);
    tally.different.lock().insert(disk.digest());
    verify::verify(&disk, known, random.next(), &context);
    tally.verified.fetch_add(1, Ordering::Relaxed);
    tally.nested.fetch_add(1, Ordering::Relaxed);
}

/// All points in time, and all choices at each.
fn points(record: &Record, random: &mut Random) -> Vec<Point> {
    let mut platter = Platter::new(&record.base);
    let mut points = Vec::new();
    for events in 0..=record.events.len() {
        points.extend(choices(&platter, random).into_iter().map(|parts| Point { events, parts }));
        if let Some(event) = record.events.get(events) {
            platter.take(event);
        }
    }
    points
}

fn shuffle(points: &mut [Point], random: &mut Random) {
    for place in (1..points.len()).rev() {
        points.swap(place, random.below(place as u64 + 1) as usize);
    }
}

/// The steps without their bytes.
fn brief(workload: &Workload<'_>) -> Vec<String> {
    use super::step::Step;
    let brief = |step: &Step| match step {
        Step::Content(operation) => {
            let crate::tests::model::Operation { file, kind, offset, len, .. } = operation;
            format!("file {file} kind {kind} {offset}+{len}")
        }
        step => format!("{step:?}"),
    };
    workload.steps.iter().map(brief).collect()
}
