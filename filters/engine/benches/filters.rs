//! What a call costs by number of rules and length of path, and what compiling costs.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

#[path = "shared/rules.rs"]
mod rules;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hsci_engine::{Tables, compile};
use hsci_language::names::FixedNames;
use hsci_language::{Facts, Operation, Subject, check};

use rules::{COUNTS, policy, remembering, text};

fn tables(text: &str) -> Tables {
    compile(&policy(text)).expect("it fits").tables
}

fn verdicts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verdict");
    for count in COUNTS {
        let (plain, memory) = (tables(&text(count)), tables(&remembering(count)));
        let facts = Facts::of_owner(1000);
        for (name, path, tables) in [
            ("ruled", "/srv/projects/p00000/a", &plain),
            ("unruled", "/usr/bin/env", &plain),
            ("ruled_with_marks_and_rates", "/srv/projects/p00000/a", &memory),
        ] {
            let subject = tables.classify(&Subject { uid: 1000, ..Subject::default() });
            let class = tables.class(tables.step(tables.start(), path.as_bytes()));
            group.bench_function(BenchmarkId::new(name, count), |bench| {
                bench.iter(|| {
                    tables.verdict(
                        black_box(Operation::WriteData),
                        black_box(class),
                        black_box((&subject, 0)),
                        black_box(&facts),
                    )
                });
            });
        }
    }
    group.finish();
}

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    let deep = format!("/srv/projects/p00001{}/x.key", "/directory".repeat(400));
    for count in COUNTS {
        let tables = tables(&text(count));
        for (name, path) in [("short", "/srv/projects/p00001/x.key"), ("4000_bytes", deep.as_str())]
        {
            group.bench_function(BenchmarkId::new(name, count), |bench| {
                bench.iter(|| tables.step(tables.start(), black_box(path.as_bytes())));
            });
        }
        let parent = tables.step(tables.start(), b"/srv/projects/p00001");
        group.bench_function(BenchmarkId::new("one_name", count), |bench| {
            bench.iter(|| tables.step(black_box(parent), black_box(b"/x.key")));
        });
    }
    group.finish();
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for count in COUNTS {
        for (text, kind) in [(text(count), ""), (remembering(count), "_with_marks_and_rates")] {
            let id = |name| BenchmarkId::new(format!("{name}{kind}"), count);
            group.bench_function(id("check"), |bench| {
                bench.iter(|| check(black_box(&text), &FixedNames::default()));
            });
            let policy = policy(&text);
            group.bench_function(id("compile"), |bench| {
                bench.iter(|| compile(black_box(&policy)));
            });
            let image = compile(&policy).expect("it fits").tables.image();
            println!("{count} rules: {} bytes", image.len());
            group.bench_function(id("read"), |bench| {
                bench.iter(|| Tables::read(black_box(&image)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, verdicts, paths, compiling);
criterion_main!(benches);
