//! What the host's table of inodes and its lower directory cost a request, where the directory is in memory.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hsci_extension::{Call, FileSystem as _, Ino};
use hsci_host::lower::LowerTree;

/// Files that are known while single ones are looked up.
const KNOWN: [usize; 2] = [10, 100_000];

fn requests(criterion: &mut Criterion) {
    let call = Call::new(0, 0, 0);
    for known in KNOWN {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        for number in 0..known {
            fs::write(directory.path().join(number.to_string()), [7; 4096]).expect("a file");
        }
        let root = File::open(directory.path()).expect("opened");
        let tree = LowerTree::open(root.into()).expect("a tree");
        let look = |name: &str| tree.lookup(&call, Ino::ROOT, OsStr::new(name)).expect("found").ino;
        let inodes: Vec<Ino> = (0..known).map(|number| look(&number.to_string())).collect();
        let file = inodes[known / 2];
        criterion.bench_function(&format!("getattr/{known}"), |bench| {
            bench.iter(|| tree.getattr(black_box(&call), black_box(file)).expect("attributes"));
        });
        criterion.bench_function(&format!("lookup_known/{known}"), |bench| {
            bench.iter(|| {
                tree.forget(look("7"), 1);
            });
        });
        tree.forget(inodes[3], 1);
        criterion.bench_function(&format!("lookup_and_forget/{known}"), |bench| {
            bench.iter(|| {
                tree.forget(look("3"), 1);
            });
        });
        let mut page = [0; 4096];
        criterion.bench_function(&format!("read_4k/{known}"), |bench| {
            bench
                .iter(|| tree.read(black_box(&call), black_box(file), 0, &mut page).expect("read"));
        });
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
