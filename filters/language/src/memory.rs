//! What a policy remembers between calls, as plainly as the definition reads. Faster memories are measured
//! against it.
//!
//! A process has marks. What it starts inherits them, and executing a program changes nothing. Threads are
//! one process.
//!
//! A rate has a bucket for each user, or for each lineage. A **lineage** is a process with all that it
//! starts, and with all that these start, as long as they are the same user's. Each process that init starts
//! begins one, and so does a process that is another user's when a rate counts it or when it starts another.

use std::collections::BTreeMap;

use crate::call::{Call, Memory};
use crate::interpreter::{Judgement, counted, judge};
use crate::policy::{Policy, Rate};

/// The process that a machine begins with.
pub const INIT: u32 = 1;

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    processes: BTreeMap<u32, Process>,
    /// For each bucket: when it will be full again.
    buckets: BTreeMap<(Owner, usize), u64>,
    lineages: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    marks: u64,
    lineage: Lineage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lineage {
    number: u32,
    user: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Lineage(Lineage),
    User(u32),
}

impl State {
    /// A process of a user starts another one.
    pub fn fork(&mut self, parent: u32, user: u32, child: u32) {
        let (lineage, marks) = (self.lineage(parent, user), self.marks(parent));
        let lineage = if parent == INIT { self.begin(user) } else { lineage };
        self.processes.insert(child, Process { marks, lineage });
    }

    /// A process has ended.
    pub fn exit(&mut self, process: u32) {
        self.processes.remove(&process);
    }

    /// The marks of a process.
    #[must_use]
    pub fn marks(&self, process: u32) -> u64 {
        self.processes.get(&process).map_or(0, |process| process.marks)
    }

    fn begin(&mut self, user: u32) -> Lineage {
        self.lineages += 1;
        Lineage { number: self.lineages, user }
    }

    /// The lineage of a process, which is a user's now.
    fn lineage(&mut self, process: u32, user: u32) -> Lineage {
        let known = self.processes.get(&process).map(|process| process.lineage);
        let lineage = known.filter(|lineage| lineage.user == user);
        let lineage = lineage.unwrap_or_else(|| self.begin(user));
        let marks = self.marks(process);
        self.processes.insert(process, Process { marks, lineage });
        lineage
    }

    /// Takes a token; false if there is none.
    fn take(&mut self, owner: Owner, number: usize, rate: &Rate, now: u64) -> bool {
        let full = self.buckets.entry((owner, number)).or_default();
        let next = (*full).max(now) + rate.interval();
        let is_there = next - now <= rate.window();
        if is_there {
            *full = next;
        }
        is_there
    }
}

/// A process makes a call, at a time in nanoseconds: what becomes of it, after all calls before, and what is
/// remembered of it.
pub fn step(policy: &Policy, state: &mut State, process: u32, now: u64, call: &Call) -> Judgement {
    let user = call.subject.uid;
    let marks = state.marks(process);
    let mut call = Call { memory: Memory { marks, over: 0 }, ..call.clone() };
    let counting = counted(policy, &call);
    for (number, rate) in policy.rates.iter().enumerate() {
        if counting >> number & 1 == 0 {
            continue;
        }
        let owner = match rate.per_user {
            true => Owner::User(user),
            false => Owner::Lineage(state.lineage(process, user)),
        };
        if !state.take(owner, number, rate, now) {
            call.memory.over |= 1 << number;
        }
    }
    let judgement = judge(policy, &call);
    if judgement.denied.is_none() && !judgement.marks.is_empty() {
        let lineage = state.processes.get(&process).map(|process| process.lineage);
        let lineage = lineage.unwrap_or_else(|| state.begin(user));
        let of = |marks, (mark, (sets, _)): (&usize, &(bool, usize))| {
            marks & !(1 << mark) | u64::from(*sets) << mark
        };
        let marks = judgement.marks.iter().fold(marks, of);
        state.processes.insert(process, Process { marks, lineage });
    }
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::FixedNames;
    use crate::{Operation, Subject, check};

    const SECOND: u64 = 1_000_000_000;

    fn policy(text: &str) -> Policy {
        let checked = check(text, &FixedNames::default());
        checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
    }

    fn call(operation: Operation, path: &str) -> Call {
        let subject = Subject { uid: 1000, ..Subject::default() };
        Call::new(operation, path.as_bytes(), subject)
    }

    #[test]
    fn whoever_read_the_secret_and_all_that_it_starts_writes_no_longer() {
        let policy = policy(
            "mark tainted read-data on \"/secret/**\"\n\
             deny write-data on \"/public/**\" when marked tainted\n\
             unmark tainted exec on \"/declassify\"",
        );
        let mut state = State::default();
        let read = call(Operation::ReadData, "/secret/key");
        let write = call(Operation::WriteData, "/public/a");
        let is_denied =
            |state: &mut State, process| step(&policy, state, process, 0, &write).denied.is_some();
        state.fork(7, 1000, 8);
        assert!(!is_denied(&mut state, 7));
        step(&policy, &mut state, 7, 0, &read);
        state.fork(7, 1000, 9);
        state.fork(9, 1000, 10);
        assert!(is_denied(&mut state, 7) && is_denied(&mut state, 9) && is_denied(&mut state, 10));
        assert!(!is_denied(&mut state, 8), "started before");
        step(&policy, &mut state, 10, 0, &call(Operation::Exec, "/declassify"));
        assert!(!is_denied(&mut state, 10) && is_denied(&mut state, 9));
    }

    #[test]
    fn a_rate_stops_a_process_with_all_that_it_starts_and_lets_it_go_on_later() {
        let policy = policy("deny unlink on \"/home/**\" when rate > 3 per 3s");
        let mut state = State::default();
        let unlink = call(Operation::Unlink, "/home/a");
        state.fork(INIT, 0, 7);
        state.fork(7, 1000, 8);
        state.fork(INIT, 0, 9);
        let mut passes =
            |process, now| step(&policy, &mut state, process, now, &unlink).denied.is_none();
        assert!(passes(7, 0) && passes(8, 0) && passes(7, 0));
        assert!(!passes(7, 0) && !passes(8, SECOND - 1), "their bucket is empty");
        assert!(passes(9, 0), "another lineage");
        assert!(passes(8, SECOND) && !passes(8, SECOND), "a token is there again");
        assert!(passes(8, 100 * SECOND));
    }

    #[test]
    fn a_rate_per_user_has_one_bucket_for_all_processes() {
        let policy = policy("deny unlink on \"/home/**\" when rate > 1 per 1s per user");
        let mut state = State::default();
        let unlink = call(Operation::Unlink, "/home/a");
        state.fork(INIT, 0, 7);
        state.fork(INIT, 0, 8);
        assert!(step(&policy, &mut state, 7, 0, &unlink).denied.is_none());
        assert!(step(&policy, &mut state, 8, 0, &unlink).denied.is_some());
    }

    #[test]
    fn whoever_becomes_another_user_begins_a_lineage_that_later_children_share() {
        let policy = policy("deny unlink on \"/home/**\" when rate > 1 per 1s");
        let mut state = State::default();
        let unlink = call(Operation::Unlink, "/home/a");
        state.fork(INIT, 0, 7);
        state.fork(7, 0, 8);
        state.fork(8, 1000, 9);
        state.fork(8, 1000, 10);
        assert!(step(&policy, &mut state, 9, 0, &unlink).denied.is_none());
        assert!(step(&policy, &mut state, 10, 0, &unlink).denied.is_some());
    }

    #[test]
    fn a_call_that_is_denied_marks_nobody() {
        let policy = policy(
            "mark tainted read-data on \"/secret/**\"\ndeny read-data on \"/secret/**\"\n\
             deny write-data on \"/**\" when marked tainted",
        );
        let mut state = State::default();
        step(&policy, &mut state, 7, 0, &call(Operation::ReadData, "/secret/key"));
        assert_eq!(state.marks(7), 0);
    }

    #[test]
    fn marks_of_the_same_name_keep_their_numbers() {
        let mut next = policy(
            "mark fresh read-data on \"/a\"\nmark tainted read-data on \"/b\"\n\
             deny write-data on \"/c\" when marked fresh and marked tainted\n\
             expect deny: write-data \"/c\" by marked fresh, marked tainted",
        );
        next.keep_marks(&["other".to_owned(), "tainted".to_owned()]);
        assert_eq!(next.marks, ["", "tainted", "fresh"]);
        let expectation = &next.expectations[0];
        assert_eq!(expectation.call.memory.marks, 0b110);
        assert!(judge(&next, &expectation.call).denied.is_some());
    }
}
