//! What a call costs by the number of layers that pass it on.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::ffi::OsStr;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use hsci_extension::testkit::MemoryTree;
use hsci_extension::{Call, Ino, Layer, Stack};

/// A layer that overrides nothing.
struct Pass(Arc<Stack>);

impl Layer for Pass {
    fn lower(&self) -> &Stack {
        &*self.0
    }
}

fn stack(layers: usize) -> Arc<Stack> {
    let base: Arc<Stack> = MemoryTree::new();
    (0..layers).fold(base, |below, _| Arc::new(Pass(below)))
}

fn calls(criterion: &mut Criterion) {
    let call = Call::new(1000, 1000, 0);
    for layers in [0, 1, 3] {
        let stack = stack(layers);
        let made = stack.mknod(&call, Ino::ROOT, OsStr::new("file"), 0o100_644, 0);
        let file = made.expect("a file").ino;
        stack.write(&call, file, 0, &[7; 4096]).expect("written");
        let mut buffer = [0; 4096];
        criterion.bench_function(&format!("getattr/{layers}"), |bench| {
            bench.iter(|| stack.getattr(black_box(&call), black_box(file)));
        });
        criterion.bench_function(&format!("read_4k/{layers}"), |bench| {
            bench.iter(|| stack.read(black_box(&call), black_box(file), 0, &mut buffer));
        });
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
