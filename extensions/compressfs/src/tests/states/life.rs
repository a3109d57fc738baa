//! One workload, recorded, and what the files may hold at each point of it.

use std::collections::BTreeMap;

use hsci_extension::Ino;

use super::step::{self, Step};
use crate::tests::disk::{Disk, Record};
use crate::tests::history::History;
use crate::tests::random::Random;
use crate::tests::rig::{Rig, user};

/// Places of the files; the last one has yet to be made.
pub(super) const SUBJECT: usize = 0;
pub(super) const OTHER: usize = 1;
pub(super) const NEW: usize = 2;

/// A disk on which everything is durable, with the subject in one of the forms.
pub(super) struct Prepared {
    pub(super) form: &'static str,
    disk: Disk,
    files: Vec<Ino>,
    contents: Vec<Vec<u8>>,
    /// Bytes of a user that begin like a sealed file.
    pub(super) sealed_look: Vec<u8>,
}

/// What a workload does.
pub(super) struct Workload<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) steps: Vec<Step>,
    pub(super) seed: u64,
}

/// What each file may hold.
pub(super) type Histories = BTreeMap<u64, History>;

/// A workload that was carried out.
pub(super) struct Life {
    pub(super) record: Record,
    /// From which event on which histories hold; the first from the start.
    pub(super) known: Vec<(usize, Histories)>,
}

impl Prepared {
    /// One disk for each form.
    pub(super) fn all() -> Vec<Self> {
        ["raw", "sealed", "log", "segments"].into_iter().map(Self::new).collect()
    }

    fn new(form: &'static str) -> Self {
        let disk = Disk::default();
        let files: Vec<Ino> =
            [SUBJECT, OTHER].map(|file| disk.create(step::NAMES[file], 1000)).to_vec();
        let rig = Rig::start(&disk, &[]).expect("start");
        let mut contents = vec![Random(1).bytes(70_000, true), Random(2).bytes(20_000, true)];
        rig.write(files[OTHER], 0, &contents[OTHER]).expect("write");
        if form == "raw" {
            rig.settle();
        }
        rig.write(files[SUBJECT], 0, &contents[SUBJECT]).expect("write");
        if form != "raw" {
            rig.settle();
        }
        if form == "log" {
            let data = Random(3).bytes(1000, false);
            rig.write(files[SUBJECT], 40_000, &data).expect("write");
            contents[SUBJECT][40_000..41_000].copy_from_slice(&data);
        }
        if form == "segments" {
            let data = Random(4).bytes(9000, true);
            rig.write(files[SUBJECT], 70_000, &data).expect("write");
            contents[SUBJECT].extend(data);
            rig.settle();
            let usage = rig.control(files[SUBJECT], "usage");
            assert_eq!((&usage["form"], &usage["segments"]), (&"sealed".into(), &2.into()));
        } else {
            assert_eq!(rig.form(files[SUBJECT]), form);
        }
        files.iter().for_each(|file| rig.sync(*file).expect("sync"));
        let mut sealed_look = vec![0; 300];
        let image = disk.lower(files[OTHER]);
        image.read_exact_at(0, &mut sealed_look).expect("the other file has an image");
        drop(rig);
        Self { form, disk, files, contents, sealed_look }
    }
}

impl Workload<'_> {
    /// Carries it out.
    pub(super) fn live(&self) -> Life {
        let disk = self.prepared.disk.copy();
        disk.start_record();
        let mut files = self.prepared.files.clone();
        let contents = files.iter().zip(&self.prepared.contents);
        let mut histories: Histories =
            contents.map(|(ino, bytes)| (ino.0, History::new(bytes.clone()))).collect();
        let mut known = vec![(0, histories.clone())];
        let rig = Rig::start(&disk, &[]).expect("start");
        for step in &self.steps {
            // Once the step has begun, its change may be there.
            let begun = disk.recorded() + 1;
            let target = match step {
                Step::Content(operation) => files.get(operation.file).copied(),
                Step::SyncFile(file) => files.get(*file).copied(),
                _ => None,
            };
            if let (Step::Content(operation), Some(ino)) = (step, target) {
                let history = histories.get_mut(&ino.0).expect("each file has one");
                let len = history.now().len() as u64;
                history.change(operation);
                known.push((begun, histories.clone()));
                operation.run(&rig, ino, len).expect("nothing fails here");
            } else if let (Step::SyncFile(_), Some(ino)) = (step, target) {
                rig.layer.fsync(&user(1000), ino, false).expect("sync");
            } else if let Ok(Some(ino)) = step.run_names(&rig, &files) {
                // Files that lose their names are written on.
                files.truncate(NEW);
                files.push(ino);
                histories.insert(ino.0, History::default());
                known.push((begun, histories.clone()));
            }
            let syncs = match step {
                Step::Content(operation) => operation.is_sync(),
                step => matches!(step, Step::SyncFile(_)),
            };
            if let (true, Some(ino)) = (syncs, target) {
                histories.get_mut(&ino.0).expect("each file has one").sync();
                known.push((disk.recorded(), histories.clone()));
            }
        }
        drop(rig);
        Life { record: disk.take_record(), known }
    }
}

impl Life {
    /// What holds when so many events have happened.
    pub(super) fn at(&self, events: usize) -> &Histories {
        let known = self.known.iter().rev().find(|(from, _)| *from <= events);
        &known.expect("the first holds from the start").1
    }
}
