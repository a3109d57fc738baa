//! Small files and large ones, by clients that do nothing else.

use super::{Action, Scenario, Stage, Step, Unit, client, shell};
use crate::client::{Kind, WARM_FILES};

pub(super) fn small(stage: &Stage<'_>) -> Scenario {
    let (files, operations) = (stage.scale.small_files, stage.scale.operations);
    let mut steps = Vec::new();
    for clients in [8, 2, 1] {
        let plural = if clients == 1 { "client" } else { "clients" };
        let create = Box::new(move |place: &_| client(place, Kind::Create, files, clients));
        steps.push(
            Step::new(
                format!("create 4K, {clients} {plural}"),
                Unit::PerSecond,
                Action::Rate(files as f64, create),
            )
            .writing(files * 4096),
        );
        let remove = |place: &_| shell(place, "rm -rf client-*");
        if clients > 1 {
            steps.push(Step::timed(format!("rm -rf, of {clients} {plural}"), remove));
        }
    }
    steps.push(Step::settle());
    for (name, kind) in [("open, read 4K, close, warm", Kind::Open), ("stat, warm", Kind::Stat)] {
        steps.push(Step::timed(format!("once: {name}"), move |place| {
            client(place, kind, WARM_FILES as u64, 1)
        }));
        let repeat = Box::new(move |place: &_| client(place, kind, operations, 1));
        let action = Action::Rate(operations as f64, repeat);
        steps.push(Step::new(name, Unit::PerSecond, action));
    }
    Scenario::new("small files", format!("{files} files of 4 KiB"), steps)
}

pub(super) fn large(stage: &Stage<'_>) -> Scenario {
    let bytes = stage.scale.file_bytes;
    let mib = bytes as f64 / f64::from(1 << 20);
    let transfer = |name: &str, kind: Kind, share: f64| {
        let work = Box::new(move |place: &_| client(place, kind, bytes, 1));
        Step::new(name, Unit::MibPerSecond, Action::Rate(mib * share, work))
    };
    // One page of sixteen.
    let random = 1.0 / 16.0;
    let steps = vec![
        transfer("write to fsync", Kind::WriteThrough, 1.0).cold().writing(bytes),
        transfer("read, warm", Kind::ReadThrough, 1.0),
        transfer("write again, warm, to fsync", Kind::WriteThrough, 1.0).writing(bytes),
        Step::settle(),
        transfer("read, cold", Kind::ReadThrough, 1.0).cold(),
        transfer("read 4K at random, cold", Kind::ReadRandom, random).cold(),
        transfer("read, to warm", Kind::ReadThrough, 1.0),
        transfer("read 4K at random, warm", Kind::ReadRandom, random),
        transfer("write 4K at random, to fsync", Kind::WriteRandom, random).writing(bytes / 16),
        Step::settle(),
        transfer("write 4K at random, cold, to fsync", Kind::WriteRandom, random)
            .cold()
            .writing(bytes / 16),
    ];
    Scenario::new("large file", format!("one file of {} MiB", bytes >> 20), steps)
}

/// So many files of 100 bytes.
pub(super) fn many(number: u64) -> Scenario {
    let walk = "find many -newermt 2100-01-01";
    let create = Box::new(move |place: &_| client(place, Kind::Many, number, 1));
    let memory = Action::MemoryOf(number, Box::new(move |place| shell(place, walk)));
    let steps = vec![
        Step::new("create", Unit::PerSecond, Action::Rate(number as f64, create)).cold(),
        Step::timed("walk with stat, cold", move |place| shell(place, walk)).cold(),
        Step::timed("walk with stat, again", move |place| shell(place, walk)),
        Step::settle(),
        Step::new("memory of a new server for an inode", Unit::Bytes, memory),
        Step::timed("rm -rf", |place| shell(place, "rm -rf many")),
    ];
    // An inode for each 8 KiB.
    let device_len = (8 << 30).max(number << 14);
    let about = "100 bytes each, a thousand in a directory";
    Scenario { device_len, ..Scenario::new(&format!("{number} files"), about, steps) }
}
