//! The interpreter, the evaluator in Rust and the one in the kernel give the same answer to every call.
//!
//! `HSCI_AGREEMENT_CASES=10000000 cargo test --release -p hsci-kernel --test agreement` runs more
//! cases, `HSCI_AGREEMENT_SEED` others; seeds count up, so that one that is near asks the same again. A failure prints the seed of its policy: set it, with one case.

#[path = "../../engine/tests/agreement/calls.rs"]
mod calls;
#[path = "../../engine/tests/agreement/generator.rs"]
mod generator;
#[path = "../../engine/tests/agreement/policies.rs"]
mod policies;
#[path = "../../engine/tests/agreement/sequences.rs"]
mod sequences;

use hsci_abi::evaluate::{EVENT_CALL, EVENT_EXIT, EVENT_FORK};
use hsci_abi::memory::{Memory, OwnMemory};
use hsci_engine::{Tables, compile};
use hsci_kernel::evaluate::{Answer, Evaluator, MAX_TEXT_LEN, Question};
use hsci_language::{Call, Facts, Judgement, judge};

use hsci_language::memory::{INIT, State};

use generator::{Random, number, policy};
use sequences::{Event, Tree};

/// Calls that each policy is asked about.
const CALLS: u64 = 200;
const THREADS: u64 = 8;

/// The evaluator, or nothing for those who may load none.
fn evaluator() -> Option<Evaluator> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may load programs");
        return None;
    }
    Some(Evaluator::load().expect("the kernel takes the evaluator"))
}

fn question(call: &Call) -> Question {
    let Facts { flags, file_type, owner, size, mode, time } = call.facts;
    let mut question = Question::default();
    (question.facts.flags, question.facts.owner, question.facts.size) = (flags, owner, size);
    question.facts.file_type = u32::from(file_type.number());
    (question.facts.mode, question.facts.time) = (mode, time);
    (question.marks, question.over) = (call.memory.marks, call.memory.over);
    question.operation = u32::from(call.operation.number());
    question.uid = call.subject.uid;
    question.pid_namespace = call.subject.pid_namespace;
    question.set_path(&call.path);
    let subject = &call.subject;
    question.set_subject(&subject.executable, &subject.command, &subject.cgroup);
    question.set_groups(&subject.gids);
    question.set_ancestors(&subject.ancestors);
    question.user_namespace = subject.user_namespace;
    (question.capabilities, question.login) = (subject.capabilities, subject.login);
    question.secure = subject.secure.into();
    question
}

/// The kernel's answer in the words of the language.
fn judgement(tables: &Tables, answer: &Answer) -> Judgement {
    let number = |index: Option<u32>| index.map(|index| index as usize);
    let options = tables.option_set(answer.verdict().options);
    Judgement {
        denied: u16::try_from(answer.verdict().errno)
            .ok()
            .and_then(hsci_language::DenyErrno::from_number),
        decider: number(answer.rule()),
        auditor: number(answer.audit()),
        options: options
            .map(|(key, value, rule)| (key.to_owned(), (value.to_owned(), rule as usize)))
            .collect(),
        target: number(answer.target()),
        marks: tables
            .mark_rules(answer.verdict().effect)
            .map(|(mark, sets, rule)| (mark as usize, (sets, rule as usize)))
            .collect(),
        counted: answer.verdict().counted,
    }
}

/// Makes a path as long as the kernel takes them.
fn lengthen(random: &mut Random, path: &mut Vec<u8>) {
    while path.len() + 1 < MAX_TEXT_LEN {
        let name = random.pick(policies::NAMES).as_bytes();
        let room = MAX_TEXT_LEN - path.len() - 1;
        path.push(b'/');
        path.extend_from_slice(&name[..name.len().min(room)]);
    }
}

/// What the cases were like.
#[derive(Default)]
struct Sum {
    decided: u64,
    denied: u64,
    long: u64,
    bound: u64,
    refused: u64,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.decided += other.decided;
        self.denied += other.denied;
        self.long += other.long;
        self.bound += other.bound;
        self.refused += other.refused;
    }
}

/// Compares the answers to the calls of one policy.
fn compare(evaluator: &mut Evaluator, seed: u64, sum: &mut Sum) {
    let mut random = Random::new(seed);
    let (text, policy) = policy(&mut random);
    let Ok(compiled) = compile(&policy) else {
        sum.refused += 1;
        return;
    };
    let tables = compiled.tables;
    evaluator.put(&tables).expect("the map takes the tables");
    for _ in 0..CALLS {
        let mut call = calls::call(&mut random, &policy);
        if random.one_in(50) {
            lengthen(&mut random, &mut call.path);
            sum.long += 1;
        }
        let expected = judge(&policy, &call);
        let rust = tables.judge(&call);
        let answer = evaluator.ask(&question(&call)).expect("a run").expect("a policy");
        assert_eq!(answer.verdict().status, 0, "seed {seed}\n{text}\n{call:?}");
        let kernel = judgement(&tables, &answer);
        assert_eq!(rust, expected, "seed {seed}\n{text}\n{call:?}");
        assert_eq!(kernel, expected, "seed {seed}\n{text}\n{call:?}");
        assert_eq!(answer.subject(), tables.classify(&call.subject));
        assert_eq!(answer.is_bound(), !tables.may_move(tables.at(&call.path), 0));
        sum.bound += u64::from(answer.is_bound());
        sum.decided += u64::from(expected.decider.is_some());
        sum.denied += u64::from(expected.denied.is_some());
    }
}

#[test]
fn three_evaluators_agree() {
    if evaluator().is_none() {
        return;
    }
    let cases = number("HSCI_AGREEMENT_CASES", 100_000);
    let seed = number("HSCI_AGREEMENT_SEED", 1);
    println!("seed {seed}, {cases} cases");
    let rounds = cases.div_ceil(CALLS);
    // The kernel waits some time before it gives old tables up: threads wait together.
    let work = |thread: u64| {
        let mut evaluator = evaluator().expect("as before");
        let mut sum = Sum::default();
        for round in (thread..rounds).step_by(THREADS as usize) {
            compare(&mut evaluator, seed.wrapping_add(round), &mut sum);
        }
        sum
    };
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        for thread in threads {
            sum.add(&thread.join().expect("the answers agree"));
        }
    });
    let Sum { decided, denied, long, bound, refused } = sum;
    println!(
        "decided by a rule {decided}, denied {denied}, long paths {long}, bound directories {bound}"
    );
    println!("{refused} of {rounds} policies refused");
    // Calls that no rule matches would show nothing.
    assert!(
        decided * 5 > cases
            && denied * 10 > cases
            && (long > 0 || cases < CALLS)
            && bound * 20 > cases
    );
}

/// The events of one policy; how many of them were calls, and by marked processes, and counted and denied.
fn compare_sequence(evaluator: &mut Evaluator, seed: u64, round: u64) -> [u64; 3] {
    let mut random = Random::new(seed);
    let (text, policy) = policy(&mut random);
    let Ok(compiled) = compile(&policy) else { return [0; 3] };
    let tables = compiled.tables;
    if policy.marks.is_empty() && policy.rates.is_empty() {
        return [0; 3];
    }
    evaluator.put(&tables).expect("the map takes the tables");
    let own = OwnMemory::default();
    let memory = Memory(&own);
    let (mut tree, mut state, mut sum) = (Tree::new(round), State::default(), [0; 3]);
    for _ in 0..500 {
        let event = tree.next(&mut random, &policy);
        let expected = sequences::expected(&policy, &mut state, &event);
        match &event {
            Event::Fork { parent, user, child } => {
                let is_init = *parent == INIT;
                memory.inherit((*parent).into(), *user, (*child).into(), is_init);
                let mut question = Question::default();
                (question.event, question.is_init) = (EVENT_FORK, is_init.into());
                (question.process, question.child) = ((*parent).into(), (*child).into());
                question.uid = *user;
                evaluator.ask(&question).expect("a run");
            }
            Event::Exit { process } => {
                memory.remove((*process).into());
                end(evaluator, *process);
            }
            Event::Call { process, now, call } => {
                let known = memory.caller((*process).into()).expect("room");
                let class = tables.class(tables.at(&call.path));
                let mut subject = tables.classify(&call.subject);
                let asked = (call.operation, class, &mut subject, &call.facts);
                let verdict = tables.judge_then(memory, known, *now, asked);
                let counted = tables.counted(call.operation, class, &subject, &call.facts);
                let rust = (tables.judgement(&verdict, counted), memory.marks(known));
                let mut question = question(call);
                (question.event, question.process) = (EVENT_CALL, (*process).into());
                question.now = *now;
                let answer = evaluator.ask(&question).expect("a run").expect("a policy");
                let told = || format!("seed {seed}\n{text}\n{event:?}");
                assert_eq!(answer.verdict().status, 0, "{}", told());
                let kernel = judgement(&tables, &answer);
                let expected = expected.expect("a call");
                assert_eq!(rust, expected, "{}", told());
                assert_eq!(kernel, expected.0, "{}", told());
                assert_eq!(answer.marks(), expected.1, "{}", told());
                sum[0] += 1;
                sum[1] += u64::from(expected.1 != 0);
                sum[2] += u64::from(expected.0.counted != 0 && expected.0.denied.is_some());
            }
        }
    }
    tree.end().for_each(|process| end(evaluator, process));
    sum
}

fn end(evaluator: &mut Evaluator, process: u32) {
    let mut question = Question::default();
    (question.event, question.process) = (EVENT_EXIT, process.into());
    evaluator.ask(&question).expect("a run");
}

/// `HSCI_SEQUENCE_CALLS=10000000` for more than the gate has time for.
#[test]
fn three_evaluators_remember_the_same() {
    if evaluator().is_none() {
        return;
    }
    let cases = number("HSCI_SEQUENCE_CALLS", 200_000);
    let seed = number("HSCI_AGREEMENT_SEED", 1);
    let work = |thread: u64| {
        let mut evaluator = evaluator().expect("as before");
        let mut sum = [0_u64; 3];
        for round in 0.. {
            if sum[0] * THREADS >= cases {
                break;
            }
            let number = round * THREADS + thread;
            let one = compare_sequence(&mut evaluator, seed.wrapping_add(number), round);
            (0..3).for_each(|index| sum[index] += one[index]);
        }
        sum
    };
    let mut sum = [0; 3];
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        for thread in threads {
            let one = thread.join().expect("the answers agree");
            (0..3).for_each(|index| sum[index] += one[index]);
        }
    });
    let [calls, marked, exceeded] = sum;
    println!("{calls} calls, {marked} of them by marked processes, {exceeded} counted and denied");
    assert!(marked * 20 > calls && exceeded * 200 > calls);
}

/// What is not known where the kernel asks must not be taken for an answer.
#[test]
fn a_rule_on_unknown_facts_decides_nothing() {
    let Some(mut evaluator) = evaluator() else { return };
    assert!(evaluator.ask(&Question::default()).expect("a run").is_none(), "without a policy");
    let text = "deny open \"/a\" when owner caller\ndeny open \"/b\" when type fifo\n\
                deny open \"/c\" when size > 5\ndeny open \"/d\" when owner 7\ndeny open \"/e\"";
    let policy = hsci_language::check(text, &generator::names()).policy.expect("no errors");
    let tables = compile(&policy).expect("it fits").tables;
    evaluator.put(&tables).expect("the map takes the tables");
    for (path, known, status) in [
        ("/a", 0, 2),
        ("/b", 0, 2),
        ("/c", 0, 2),
        ("/d", 0, 2),
        ("/e", 0, 0),
        ("/f", 0, 0),
        ("/a", 1, 0),
        ("/d", 1, 0),
    ] {
        let mut question = Question::default();
        question.facts.are_known = known;
        question.set_path(path.as_bytes());
        let answer = evaluator.ask(&question).expect("a run").expect("a policy");
        assert_eq!(answer.verdict().status, status, "{path}, known {known}");
    }
}
