//! Random calls, most of which some rule of a policy matches.

use hsci_language::glob::{Component, Pattern, Piece};
use hsci_language::policy::Rule;
use hsci_language::{Call, Facts, FileType, Memory, NO_LOGIN, Operation, Policy, Subject};

use crate::Random;
use crate::policies::{
    CGROUPS, COMMANDS, EXECUTABLES, GIDS, NAMES, NAMESPACES, SIZES, TIMES, UIDS, glob,
};

pub(crate) fn call(random: &mut Random, policy: &Policy) -> Call {
    let rule = random.pick(&policy.rules);
    let mut operation = *random.pick(Operation::ALL);
    while !rule.operations.contains(operation) && !random.one_in(64) {
        operation = *random.pick(Operation::ALL);
    }
    let path = path(random, policy, rule);
    let gids = (0..random.below(4)).map(|_| *random.pick(GIDS)).collect();
    let mut subject = Subject {
        uid: *random.pick(UIDS),
        gids,
        executable: random.pick(EXECUTABLES).as_bytes().to_vec(),
        command: random.pick(COMMANDS).as_bytes().to_vec(),
        cgroup: random.pick(CGROUPS).as_bytes().to_vec(),
        pid_namespace: *random.pick(NAMESPACES),
        user_namespace: *random.pick(NAMESPACES),
        capabilities: (random.below(1 << 20) as u64) << (20 * random.below(3)),
        secure: !random.one_in(4),
        login: if random.one_in(3) { NO_LOGIN } else { *random.pick(UIDS) },
        ancestors: (0..random.below(4))
            .map(|_| random.pick(EXECUTABLES).as_bytes().to_vec())
            .collect(),
    };
    if random.one_in(10) {
        subject = Subject::default();
    }
    let size = *random.pick(SIZES);
    let facts = Facts {
        flags: random.below(16) as u32,
        file_type: *random.pick(FileType::ALL),
        owner: if random.one_in(3) { subject.uid } else { *random.pick(UIDS) },
        size: if random.one_in(2) { size } else { size.saturating_sub(1) },
        mode: random.below(0o10000) as u32,
        time: time(random),
    };
    let bits = |random: &mut Random| random.below(1 << 16) as u32;
    let memory = Memory { marks: bits(random).into(), over: bits(random) };
    Call { operation, path, subject, facts, memory }
}

/// At a time that policies name, near it, or at any of the week or of the century.
fn time(random: &mut Random) -> u64 {
    let some = random.pick(TIMES).1 + 60 * random.below(7 * 24 * 60) as u64;
    match random.below(3) {
        0 => random.pick(TIMES).1 - random.below(2) as u64,
        1 => some,
        _ => 1 + random.below(4_000_000_000) as u64,
    }
}

/// A path that a rule's pattern matches, or that is near one, or any.
pub(crate) fn path(random: &mut Random, policy: &Policy, rule: &Rule) -> Vec<u8> {
    let patterns = rule.patterns(&policy.targets);
    let pattern = random.pick(&patterns);
    let mut path = instance(random, pattern);
    if random.one_in(4) {
        path.extend_from_slice(format!("/{}", random.pick(NAMES)).as_bytes());
    }
    if random.one_in(8) {
        path = format!("/{}", glob(random).replace(['*', '?', '[', ']', '{', '}', '!'], "b"))
            .into_bytes();
    }
    if random.one_in(8) && path.len() > 1 {
        // Near a match, with names that are never empty.
        let at = random.below(path.len());
        if path[at] != b'/' {
            path[at] = *random.pick(b"abx.\xe9");
        }
    }
    path
}

fn instance(random: &mut Random, pattern: &Pattern) -> Vec<u8> {
    let mut path = Vec::new();
    for component in &pattern.components {
        match component {
            Component::AnyDepth => {
                for _ in 0..random.below(3) {
                    path.push(b'/');
                    path.extend_from_slice(random.pick(NAMES).as_bytes());
                }
            }
            Component::Name(pieces) => {
                let start = path.len();
                path.push(b'/');
                for piece in pieces {
                    match piece {
                        Piece::Byte(byte) => path.push(*byte),
                        Piece::Set(set) => {
                            let bytes: Vec<u8> = set.iter().collect();
                            path.push(*random.pick(&bytes));
                        }
                        Piece::Star => {
                            for _ in 0..random.below(3) {
                                path.push(*random.pick(b"abc.1\xc3"));
                            }
                        }
                    }
                }
                if path.len() == start + 1 {
                    path.push(b'b');
                }
            }
        }
    }
    path
}
