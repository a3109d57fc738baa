//! What is remembered between calls: marks and rates.

use hsci_abi::callers::Shared;
use hsci_abi::memory::{Known, Memory, Owner};
use hsci_abi::tables::{
    CONDITION_SECURE, Effect, LEAF, NONE, Row, SubjectClass, VARIABLE_CONDITION, VARIABLE_MARK,
};
use hsci_language::{Facts, Operation};

use super::{Tables, Verdict};

impl Tables {
    /// A call is counted, decided and remembered: what becomes of it after all calls before.
    pub fn judge_then<S: Shared>(
        &self,
        memory: Memory<'_, S>,
        process: Known,
        now: u64,
        call: (Operation, u32, &mut SubjectClass, &Facts),
    ) -> Verdict {
        let (operation, class, subject, facts) = call;
        let over = self.count(memory, process, now, (operation, class, subject, facts));
        let verdict = self.verdict(operation, class, (subject, over), facts);
        if verdict.decision.errno == 0 {
            self.remember(memory, process, &verdict, true);
        }
        verdict
    }

    /// Reads the caller's marks, and takes a token of each rate that counts the call: those that are
    /// exceeded, as bits.
    pub fn count<S: Shared>(
        &self,
        memory: Memory<'_, S>,
        process: Known,
        now: u64,
        (operation, class, subject, facts): (Operation, u32, &mut SubjectClass, &Facts),
    ) -> u32 {
        let marks = memory.marks(process);
        (subject.marks_low, subject.marks_high) = (marks as u32, (marks >> 32) as u32);
        let counted = self.counted(operation, class, subject, facts);
        let rates = self.rates.iter().zip(0..).filter(|(_, number)| counted >> number & 1 != 0);
        let exceeded = rates.filter(|(rate, number)| {
            let owner = match rate.per_user {
                0 => Owner::Lineage(memory.lineage(process, subject.uid)),
                _ => Owner::User(subject.uid),
            };
            !memory.take(owner, *number, rate, now)
        });
        exceeded.map(|(_, number)| 1 << number).sum()
    }

    /// What a call that goes on does to marks; with `clears`, also which it takes.
    pub fn remember<S: Shared>(
        &self,
        memory: Memory<'_, S>,
        process: Known,
        verdict: &Verdict,
        clears: bool,
    ) {
        if verdict.effect == 0 {
            return;
        }
        let mut effect = self.effects[verdict.effect as usize];
        if !clears {
            (effect.clear_low, effect.clear_high) = (0, 0);
        }
        memory.mark(process, &effect);
    }

    /// Which rules set or clear marks: the mark, whether it is set, the rule.
    pub fn mark_rules(&self, effect: u32) -> impl Iterator<Item = (u32, bool, u32)> {
        let Effect { set_low, set_high, first, count, .. } = self.effects[effect as usize];
        let set = u64::from(set_low) | u64::from(set_high) << 32;
        let rules = &self.mark_rules[first as usize..(first + count) as usize];
        rules.iter().map(move |one| (one.mark, set >> one.mark & 1 != 0, one.rule))
    }

    /// True if what becomes of an operation on paths of a class depends on earlier calls, or is remembered.
    #[must_use]
    pub fn asks_memory(&self, operation: Operation, class: u32) -> bool {
        let Row { decision, audit, options, effects, counted } = self.row(operation, class);
        let asks =
            |root: &u32| self.nodes_below(*root).any(|node| self.is_of_memory(node.variable));
        effects != LEAF || counted != LEAF || [decision, audit, options].iter().any(asks)
    }

    fn is_of_memory(&self, variable: u32) -> bool {
        let condition = variable.checked_sub(VARIABLE_CONDITION);
        let condition = condition.and_then(|index| self.conditions.get(index as usize));
        variable >= VARIABLE_MARK || condition.is_some_and(|one| one.kind == CONDITION_SECURE)
    }

    /// True if rules use marks or rates, or ask how a program was executed.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.roots.remembers != 0
    }

    /// Names of marks by number, empty where there is none.
    #[must_use]
    pub fn marks(&self) -> Vec<String> {
        let name = |mark: &u32| if *mark == NONE { "" } else { self.text(*mark) };
        self.marks.iter().map(|mark| name(mark).to_owned()).collect()
    }
}
