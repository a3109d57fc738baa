//! What a chunk costs: compressed by settling, decompressed by a first read, read out of memory. All of it over a tree
//! in memory, by the contract alone.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::ffi::OsStr;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hsci_compressfs::CompressFs;
use hsci_extension::testkit::{MemoryTree, start};
use hsci_extension::{Call, FileSystem, Ino};

const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 16;
const ALGORITHMS: [&str; 6] = ["lz4", "zstd:1", "zstd:3", "zstd:9", "deflate:6", "none"];

/// Lines of varying words, about as compressible as a log.
fn text() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = Vec::new();
    while text.len() < CHUNK * CHUNKS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let line =
            format!("worker[{}]: request {state:016x} took {} us\n", state % 9000, state >> 50);
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(CHUNK * CHUNKS);
    text
}

fn begin(tree: &Arc<MemoryTree>, algorithm: &str) -> Arc<dyn FileSystem> {
    let options = [
        ("algorithm", algorithm),
        ("settle", "3600"),
        ("scan", "no"),
        ("threads", "1"),
        ("chunk", "256K"),
    ];
    start::<CompressFs>(tree, &options).expect("started")
}

fn settle(layer: &dyn FileSystem, call: &Call) {
    layer.control_set(call, Ino::ROOT, "settle", b"").expect("settling");
    loop {
        let progress = layer.control_get(call, Ino::ROOT, "settle").expect("progress");
        if !String::from_utf8_lossy(&progress).contains("\"running\":true") {
            return;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn chunks(criterion: &mut Criterion) {
    let (call, text) = (Call::new(0, 0, 0), text());
    let mut group = criterion.benchmark_group("chunks");
    group.sample_size(10).throughput(Throughput::Bytes(text.len() as u64));
    for algorithm in ALGORITHMS {
        let tree = MemoryTree::new();
        let layer = begin(&tree, algorithm);
        let made = layer.mknod(&call, Ino::ROOT, OsStr::new("file"), 0o100_644, 0);
        let file = made.expect("a file").ino;
        group.bench_function(format!("settle/{algorithm}"), |bench| {
            bench.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    layer.write(&call, file, 0, &text).expect("written");
                    let begun = Instant::now();
                    settle(&*layer, &call);
                    took += begun.elapsed();
                }
                took
            });
        });
        layer.write(&call, file, 0, &text).expect("written");
        settle(&*layer, &call);
        let mut whole = vec![0; text.len()];
        assert_eq!(layer.read(&call, file, 0, &mut whole).expect("read"), text.len());
        assert_eq!(whole, text);
        let mut page = [0; 4096];
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function(format!("read_4k_known/{algorithm}"), |bench| {
            bench.iter(|| layer.read(black_box(&call), file, 0, &mut page).expect("read"));
        });
        group.throughput(Throughput::Bytes(text.len() as u64));
        layer.shutdown();
        group.bench_function(format!("first_read/{algorithm}"), |bench| {
            bench.iter_batched(
                || {
                    let layer = begin(&tree, algorithm);
                    let file =
                        layer.lookup(&call, Ino::ROOT, OsStr::new("file")).expect("there").ino;
                    (layer, file)
                },
                |(layer, file)| {
                    assert_eq!(layer.read(&call, file, 0, &mut whole).expect("read"), text.len());
                    layer
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, chunks);
criterion_main!(benches);
