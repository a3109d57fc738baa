//! What a call costs in the kernel by number of rules and length of path, and what loading costs.
//!
//! Times are taken in the program itself, over many repetitions; the least of several runs is printed.

#[path = "../../engine/benches/shared/rules.rs"]
mod rules;

use std::time::{Duration, Instant};

use hsci_kernel::evaluate::{Answer, Evaluator, Question};
use hsci_language::Operation;

const REPEAT: u32 = 10_000;
const RUNS: usize = 20;

fn main() {
    // `cargo test` runs benches, too, only to see whether they start.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut evaluator = match Evaluator::load() {
        Ok(evaluator) => evaluator,
        Err(error) => return println!("skipped: {error}"),
    };
    let deep = format!("/srv/projects/p00001{}/x.key", "/directory".repeat(400));
    println!(
        "rules    compile       load      bytes  judge ruled  unruled  path 26 bytes  4,027 bytes  (ns)"
    );
    for count in rules::COUNTS {
        let policy = rules::policy(&rules::text(count));
        let start = Instant::now();
        let tables = hsci_engine::compile(&policy).expect("it fits").tables;
        let compiled = start.elapsed();
        let start = Instant::now();
        evaluator.put(&tables).expect("the map takes the tables");
        let loaded = start.elapsed();
        let bytes = evaluator.table_len();
        let mut least = |path: &str, time: fn(&Answer) -> Duration, repeat| {
            ns(&mut evaluator, path, time, repeat)
        };
        let ruled = least("/srv/projects/p00000/a", Answer::judge_time, REPEAT);
        let unruled = least("/usr/bin/env", Answer::judge_time, REPEAT);
        let short = least("/srv/projects/p00001/x.key", Answer::step_time, REPEAT);
        let long = least(&deep, Answer::step_time, REPEAT / 100);
        println!(
            "{count:>6} {:>7.1} ms {:>7.1} ms {bytes:>10} {ruled:>12.1} {unruled:>8.1} {short:>14.1} {long:>12.0}",
            compiled.as_secs_f64() * 1e3,
            loaded.as_secs_f64() * 1e3,
        );
    }
}

/// Nanoseconds for one repetition.
fn ns(evaluator: &mut Evaluator, path: &str, time: fn(&Answer) -> Duration, repeat: u32) -> f64 {
    let mut question = Question::default();
    question.operation = u32::from(Operation::WriteData.number());
    (question.uid, question.facts.owner, question.repeat) = (1000, 1000, repeat);
    question.set_path(path.as_bytes());
    let runs = (0..RUNS).map(|_| {
        let answer = evaluator.ask(&question).expect("a run").expect("a policy");
        time(&answer).as_nanos() as f64 / f64::from(repeat)
    });
    runs.fold(f64::MAX, f64::min)
}
