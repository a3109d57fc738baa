//! Random sequences of calls by trees of processes.

use hsci_language::memory::{INIT, State, step};
use hsci_language::{Call, Judgement, Policy};

use crate::calls;
use crate::generator::Random;
use crate::policies::UIDS;

/// Time that passes between two policies: all buckets of the first are full again.
const PAUSE: u64 = 1_000_000_000_000;

/// Something that a process does.
#[derive(Debug)]
pub(crate) enum Event {
    Call { process: u32, now: u64, call: Box<Call> },
    Fork { parent: u32, user: u32, child: u32 },
    Exit { process: u32 },
}

/// Processes that live, with their users.
pub(crate) struct Tree {
    alive: Vec<(u32, u32)>,
    next: u32,
    now: u64,
}

impl Tree {
    /// Of a round: no process and no time of another one is used.
    pub(crate) fn new(round: u64) -> Self {
        Self { alive: Vec::new(), next: INIT + 1, now: (round + 1) * PAUSE }
    }

    pub(crate) fn next(&mut self, random: &mut Random, policy: &Policy) -> Event {
        let few = self.alive.len() < 2;
        if few || (random.one_in(12) && self.alive.len() < 12) {
            return self.fork(random, few);
        }
        let index = random.below(self.alive.len());
        if random.one_in(40) {
            return Event::Exit { process: self.alive.swap_remove(index).0 };
        }
        if random.one_in(30) {
            self.alive[index].1 = *random.pick(UIDS);
        }
        let (process, user) = self.alive[index];
        self.now += *random.pick(&[0, 1, 40_000_000, 500_000_000]);
        let mut call = calls::call(random, policy);
        call.subject.uid = user;
        Event::Call { process, now: self.now, call: Box::new(call) }
    }

    fn fork(&mut self, random: &mut Random, by_init: bool) -> Event {
        let (parent, user) =
            if by_init || random.one_in(8) { (INIT, 0) } else { *random.pick(&self.alive) };
        let child = self.next;
        self.next += 1;
        self.alive.push((child, user));
        Event::Fork { parent, user, child }
    }

    /// Ends all that live.
    pub(crate) fn end(self) -> impl Iterator<Item = u32> {
        self.alive.into_iter().map(|(process, _)| process)
    }
}

/// What the interpreter says of an event, and the marks of its process afterwards.
pub(crate) fn expected(
    policy: &Policy,
    state: &mut State,
    event: &Event,
) -> Option<(Judgement, u64)> {
    match event {
        Event::Call { process, now, call } => {
            let judgement = step(policy, state, *process, *now, call);
            Some((judgement, state.marks(*process)))
        }
        Event::Fork { parent, user, child } => {
            state.fork(*parent, *user, *child);
            None
        }
        Event::Exit { process } => {
            state.exit(*process);
            None
        }
    }
}
