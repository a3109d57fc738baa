//! The evaluator and the reference interpreter give the same answer to every call.
//!
//! `HSCI_AGREEMENT_CASES=10000000 cargo test --release -p hsci-engine --test agreement` runs more
//! cases, `HSCI_AGREEMENT_SEED` others. A failure prints the seed of its policy: set it, with one case.

mod calls;
mod generator;
mod policies;
mod sequences;

use hsci_engine::{Compiled, Tables, compile};
use hsci_language::{Call, Policy, check, judge};

use hsci_abi::memory::{Memory, OwnMemory};
use hsci_language::memory::{INIT, State};

use generator::{Random, names, number, policy};
use sequences::{Event, Tree};

/// Calls that each policy is asked about.
const CALLS: u64 = 200;

#[test]
fn evaluator_and_interpreter_agree() {
    let cases = number("HSCI_AGREEMENT_CASES", 200_000);
    let seed = number("HSCI_AGREEMENT_SEED", 1);
    println!("seed {seed}, {cases} cases");
    let (mut decided, mut denied, mut audited, mut told) = (0_u64, 0_u64, 0_u64, 0_u64);
    // Some policies are too large, as globs with `**` multiply.
    let mut refused = 0;
    let rounds = cases.div_ceil(CALLS);
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let (text, policy) = policy(&mut random);
        let Ok(compiled) = compile(&policy) else {
            refused += 1;
            continue;
        };
        let tables = Tables::read(&compiled.tables.image()).expect("what was written");
        for _ in 0..CALLS {
            let call = calls::call(&mut random, &policy);
            let expected = judge(&policy, &call);
            let found = tables.judge(&call);
            assert_eq!(found, expected, "seed {seed}\n{text}\n{call:?}");
            decided += u64::from(expected.decider.is_some());
            denied += u64::from(expected.denied.is_some());
            audited += u64::from(expected.auditor.is_some());
            told += u64::from(!expected.options.is_empty());
            for rule in [expected.decider, expected.auditor].into_iter().flatten() {
                assert!(
                    !compiled.unused.contains(&rule),
                    "seed {seed}: rule {rule} is used\n{text}"
                );
            }
        }
    }
    println!(
        "decided by a rule {decided}, denied {denied}, audited {audited}, with options {told}"
    );
    println!("{refused} of {rounds} policies refused");
    assert!(refused * 100 <= rounds);
    // Calls that no rule matches would show nothing.
    let enough = |count: u64, of: u64| count * of > cases;
    assert!(enough(decided, 5) && enough(denied, 10) && enough(audited, 20) && enough(told, 20));
}

/// What was done before, by whom and when, bears on a call as the definition says.
#[test]
fn evaluator_and_interpreter_remember_the_same() {
    let cases = number("HSCI_SEQUENCE_CALLS", 200_000);
    let seed = number("HSCI_AGREEMENT_SEED", 1);
    let (mut calls, mut marked, mut exceeded) = (0_u64, 0_u64, 0_u64);
    for round in 0.. {
        if calls >= cases {
            break;
        }
        let seed = seed.wrapping_add(round);
        let mut random = Random::new(seed);
        let (text, policy) = policy(&mut random);
        if policy.marks.is_empty() && policy.rates.is_empty() {
            continue;
        }
        let Ok(compiled) = compile(&policy) else { continue };
        let tables = Tables::read(&compiled.tables.image()).expect("what was written");
        let own = OwnMemory::default();
        let memory = Memory(&own);
        let (mut tree, mut state) = (Tree::new(round), State::default());
        for _ in 0..500 {
            let event = tree.next(&mut random, &policy);
            let expected = sequences::expected(&policy, &mut state, &event);
            match &event {
                Event::Fork { parent, user, child } => {
                    memory.inherit((*parent).into(), *user, (*child).into(), *parent == INIT);
                }
                Event::Exit { process } => memory.remove((*process).into()),
                Event::Call { process, now, call } => {
                    let process = memory.caller((*process).into()).expect("room");
                    let class = tables.class(tables.at(&call.path));
                    let mut subject = tables.classify(&call.subject);
                    let asked = (call.operation, class, &mut subject, &call.facts);
                    let verdict = tables.judge_then(memory, process, *now, asked);
                    let (operation, facts) = (call.operation, &call.facts);
                    let counted = tables.counted(operation, class, &subject, facts);
                    let found = (tables.judgement(&verdict, counted), memory.marks(process));
                    let expected = expected.expect("a call");
                    assert_eq!(found, expected, "seed {seed}\n{text}\n{event:?}");
                    calls += 1;
                    marked += u64::from(found.1 != 0);
                    exceeded += u64::from(found.0.counted != 0 && found.0.denied.is_some());
                }
            }
        }
        tree.end().for_each(|process| memory.remove(process.into()));
    }
    println!("{calls} calls, {marked} of them by marked processes, {exceeded} counted and denied");
    assert!(marked * 20 > calls && exceeded * 200 > calls);
}

#[test]
fn a_directory_s_state_continues_with_a_name() {
    let mut random = Random::new(number("HSCI_AGREEMENT_SEED", 1));
    for _ in 0..100 {
        let (_, policy) = policy(&mut random);
        let Ok(Compiled { tables, .. }) = compile(&policy) else { continue };
        for _ in 0..50 {
            let rule = random.pick(&policy.rules);
            let path = calls::path(&mut random, &policy, rule);
            let mut state = tables.start();
            let mut at = 0;
            for name in path.split(|byte| *byte == b'/').skip(1) {
                at += 1 + name.len();
                state = tables.step(state, &[b"/", name].concat());
                assert_eq!(state, tables.step(tables.start(), &path[..at]));
            }
        }
    }
}

/// Trees and renames: what decides a call below a directory, and not the same call on the directory itself,
/// decides it after every rename that is allowed.
#[test]
fn no_rename_leads_away_from_rules() {
    let mut random = Random::new(number("HSCI_AGREEMENT_SEED", 1));
    let (mut allowed, mut refused, mut kept) = (0_u64, 0_u64, 0_u64);
    for _ in 0..number("HSCI_RENAME_POLICIES", 300) {
        let (text, policy) = policy(&mut random);
        let Ok(Compiled { tables, .. }) = compile(&policy) else { continue };
        for _ in 0..40 {
            let call = calls::call(&mut random, &policy);
            // The last names of a path that some rule matches are what lies in the directory.
            let slashes: Vec<usize> =
                (1..call.path.len()).filter(|at| call.path[*at] == b'/').collect();
            let Some(cut) = slashes.get(random.below(slashes.len().max(1))) else { continue };
            let (from, rest) = call.path.split_at(*cut);
            let other = random.pick(&policy.rules);
            let mut to = calls::path(&mut random, &policy, other);
            if random.one_in(2) {
                // Another name in the same directory, as most renames are.
                let parent = from.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                to = [&from[..parent], b"/", random.pick(policies::NAMES).as_bytes()].concat();
            }
            for (from, to) in [(from, to.as_slice()), (to.as_slice(), from)] {
                if !tables.may_move(tables.at(from), tables.at(to)) {
                    refused += 1;
                    continue;
                }
                allowed += 1;
                let judged =
                    |path: &[u8]| judge(&policy, &Call { path: path.to_vec(), ..call.clone() });
                let (above, before) = (judged(from), judged(&[from, rest].concat()));
                let after = judged(&[to, rest].concat());
                if before.decider.is_some() && before.decider != above.decider {
                    kept += 1;
                    assert_eq!(before.decider, after.decider, "{text}\n{call:?} {from:?} {to:?}");
                }
                if before.auditor.is_some() && before.auditor != above.auditor {
                    assert_eq!(before.auditor, after.auditor, "{text}\n{call:?} {from:?} {to:?}");
                }
            }
        }
    }
    println!("{allowed} renames allowed, {refused} refused, {kept} left a deciding rule in force");
    assert!(allowed > 1000 && refused > 1000 && kept > 50);
}

#[test]
fn the_same_policy_makes_the_same_tables() {
    let mut random = Random::new(7);
    for _ in 0..50 {
        let (text, policy) = policy(&mut random);
        let again = check(&text, &names()).policy.expect("as before");
        let image = |policy: &Policy| compile(policy).expect("small enough").tables.image();
        assert_eq!(image(&policy), image(&again));
    }
}

/// No byte of an image can be changed so that reading it, or using what was read, goes wrong.
#[test]
fn damaged_images_are_refused_or_harmless() {
    let mut random = Random::new(11);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..60 {
        let (_, policy) = policy(&mut random);
        let image = compile(&policy).expect("small enough").tables.image();
        for _ in 0..60 {
            let mut damaged = image.clone();
            let at = random.below(damaged.len());
            damaged[at] = *random.pick(&[0, 1, 0x7F, 0x80, 0xFF, damaged[at] ^ 1]);
            if random.one_in(8) {
                damaged.truncate(at);
            }
            assert!(damaged == image || Tables::read(&damaged).is_err());
            // As if the damage had been there before the checksum was made.
            if damaged.len() > 16 {
                let sum = crc32c::crc32c(&damaged[16..]);
                damaged[12..16].copy_from_slice(&sum.to_le_bytes());
            }
            match Tables::read(&damaged) {
                Err(_) => refused += 1,
                Ok(tables) => {
                    read += 1;
                    for _ in 0..20 {
                        let _ = tables.judge(&calls::call(&mut random, &policy));
                    }
                }
            }
        }
    }
    println!("{refused} refused, {read} read");
    assert!(refused > 100 && read > 100);
}
