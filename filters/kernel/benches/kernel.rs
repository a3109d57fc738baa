//! What a call costs in the kernel by number of rules and length of path, and what loading costs.
//!
//! Times are taken in the program itself, over many repetitions; the least of several runs is printed.

#[path = "../../engine/benches/shared/rules.rs"]
mod rules;

use std::time::{Duration, Instant};

use hsci_abi::evaluate::{EVENT_CALL, EVENT_GIVEN};
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
        let head = put(&mut evaluator, count, &rules::text(count));
        let mut least = |path: &str, time: fn(&Answer) -> Duration, repeat| {
            ns(&mut evaluator, &call(Operation::WriteData, path, EVENT_GIVEN), time, repeat)
        };
        let ruled = least("/srv/projects/p00000/a", Answer::judge_time, REPEAT);
        let unruled = least("/usr/bin/env", Answer::judge_time, REPEAT);
        let short = least("/srv/projects/p00001/x.key", Answer::step_time, REPEAT);
        let long = least(&deep, Answer::step_time, REPEAT / 100);
        println!("{head} {ruled:>12.1} {unruled:>8.1} {short:>14.1} {long:>12.0}");
    }
    println!(
        "\nwith 64 marks and 16 rates\n\
         rules    compile       load      bytes  judge ruled  known caller  sets a mark  is counted  (ns)"
    );
    for count in rules::COUNTS {
        let head = put(&mut evaluator, count, &rules::remembering(count));
        let mut judged = |operation, path, event| {
            let question = call(operation, path, event);
            ns(&mut evaluator, &question, Answer::judge_time, REPEAT)
        };
        let ruled = judged(Operation::WriteData, "/srv/projects/p00000/a", EVENT_GIVEN);
        let known = judged(Operation::WriteData, "/srv/projects/p00000/a", EVENT_CALL);
        let marks = judged(Operation::ReadData, "/srv/secret7/a", EVENT_CALL);
        let counted = judged(Operation::Unlink, "/srv/many7/a", EVENT_CALL);
        println!("{head} {ruled:>12.1} {known:>13.1} {marks:>12.1} {counted:>11.1}");
    }
}

/// Puts a policy in force; what that took.
fn put(evaluator: &mut Evaluator, count: usize, text: &str) -> String {
    let policy = rules::policy(text);
    let start = Instant::now();
    let tables = hsci_engine::compile(&policy).expect("it fits").tables;
    let compiled = start.elapsed().as_secs_f64() * 1e3;
    let start = Instant::now();
    evaluator.put(&tables).expect("the map takes the tables");
    let loaded = start.elapsed().as_secs_f64() * 1e3;
    format!("{count:>6} {compiled:>7.1} ms {loaded:>7.1} ms {:>10}", evaluator.table_len())
}

fn call(operation: Operation, path: &str, event: u32) -> Question {
    let mut question = Question::default();
    question.operation = u32::from(operation.number());
    (question.uid, question.facts.owner) = (1000, 1000);
    (question.event, question.process, question.now) = (event, 77, 1 << 40);
    question.set_path(path.as_bytes());
    question
}

/// Nanoseconds for one repetition.
fn ns(
    evaluator: &mut Evaluator,
    question: &Question,
    time: fn(&Answer) -> Duration,
    repeat: u32,
) -> f64 {
    let mut question = *question;
    question.repeat = repeat;
    let runs = (0..RUNS).map(|_| {
        let answer = evaluator.ask(&question).expect("a run").expect("a policy");
        time(&answer).as_nanos() as f64 / f64::from(repeat)
    });
    runs.fold(f64::MAX, f64::min)
}
