//! A checked policy to tables.
//!
//! The same policy always makes the same tables, byte for byte: whatever is numbered is numbered in
//! the order of the policy, and no order comes from a hash table.

mod emit;
mod leads;
mod rows;
mod subjects;

use std::collections::HashMap;

use hsci_language::Policy;
use hsci_language::glob::{Component, Pattern};

use crate::automaton::{self, Nfa};
use crate::tables::Tables;
use hsci_abi::tables::{CONDITION_SECURE, NONE, Rate};
use rows::Rows;
use subjects::Subjects;

/// Tables may be this long, in bytes.
pub const MAX_IMAGE_LEN: usize = 16 << 20;

/// What a policy may have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// The automaton of all globs.
    #[error("the automaton of all globs becomes too large")]
    States,
    /// The diagrams of all conditions.
    #[error("what the conditions of all rules amount to becomes too large")]
    Diagrams,
    /// Named groups.
    #[error("more than 64 groups are named")]
    Groups,
    /// Named ancestors.
    #[error("more than 32 different globs of ancestors are named")]
    Ancestors,
    /// Conditions on facts.
    #[error(
        "more than 32 different conditions on flags, sizes, owners, permissions, times, capabilities and ancestors are stated"
    )]
    Conditions,
    /// All tables.
    #[error("the tables become longer than 16 MiB")]
    Image,
}

/// Why a policy does not fit into tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit}")]
pub struct Refusal {
    /// What there is too much of.
    pub limit: Limit,
    /// Index of the first rule with which it is too much: without it and those after it, the policy
    /// fits. Nothing if the targets alone are too much.
    pub rule: Option<usize>,
}

/// A compiled policy.
#[derive(Debug)]
pub struct Compiled {
    /// The tables.
    pub tables: Tables,
    /// Indices of rules that decide no call at all, because others always win.
    pub unused: Vec<usize>,
}

/// Compiles a policy.
pub fn compile(policy: &Policy) -> Result<Compiled, Refusal> {
    try_compile(policy).map_err(|limit| Refusal { limit, rule: culprit(policy) })
}

/// The first rule with which a policy does not fit, found by halving.
fn culprit(policy: &Policy) -> Option<usize> {
    let mut part = Policy { rules: Vec::new(), expectations: Vec::new(), ..policy.clone() };
    let mut fits = |count: usize| {
        part.rules = policy.rules[..count].to_vec();
        part.rates = policy.rates.iter().copied().filter(|rate| rate.rule < count).collect();
        try_compile(&part).is_ok()
    };
    if !fits(0) {
        return None;
    }
    let (mut small, mut large) = (0, policy.rules.len());
    while large - small > 1 {
        let middle = small.midpoint(large);
        if fits(middle) { small = middle } else { large = middle }
    }
    Some(small)
}

fn try_compile(policy: &Policy) -> Result<Compiled, Limit> {
    let scopes = Scopes::new(policy);
    let mut nfa = Nfa::default();
    let paths = nfa.root();
    scopes.add_to(&mut nfa, paths);
    let mut subjects = Subjects::new(policy)?;
    let roots = [&[paths][..], &subjects.add_to(&mut nfa)].concat();
    let dfa = automaton::determinize(&nfa, &roots)?;
    let (mut states, cells) = automaton::pack(&dfa);

    subjects.take_classes(&dfa, &mut states);
    let classes = path_classes(&dfa, &mut states);
    let mut rows = Rows::new(policy, &scopes, &subjects)?;
    for class in &classes {
        rows.add_class(class)?;
    }
    let mut tables = Tables { states, cells, ..Tables::default() };
    tables.roots.path = dfa.starts[0];
    tables.roots.rules = policy.rules.len() as u32;
    tables.rates = policy.rates.iter().map(rate).collect();
    subjects.emit(&dfa, &mut tables);
    let asks_how = tables.conditions.iter().any(|one| one.kind == CONDITION_SECURE);
    let remembers = !policy.marks.is_empty() || !policy.rates.is_empty() || asks_how;
    tables.roots.remembers = u32::from(remembers);
    let unused = rows.emit(&mut tables);
    leads::mark(&dfa, &mut tables);
    if tables.size() > MAX_IMAGE_LEN {
        return Err(Limit::Image);
    }
    Ok(Compiled { tables, unused })
}

fn rate(rate: &hsci_language::policy::Rate) -> Rate {
    let (interval, window) = (rate.interval(), rate.window());
    Rate {
        interval_low: interval as u32,
        interval_high: (interval >> 32) as u32,
        window_low: window as u32,
        window_high: (window >> 32) as u32,
        per_user: rate.per_user.into(),
    }
}

/// Distinct sets of paths that rules speak of, and targets.
struct Scopes {
    /// Patterns of each scope, then those of each target.
    patterns: Vec<Vec<Pattern>>,
    /// Rules of each scope, ascending.
    rules: Vec<Vec<u32>>,
}

impl Scopes {
    fn new(policy: &Policy) -> Self {
        let mut known: HashMap<Vec<Pattern>, usize> = HashMap::new();
        let (mut patterns, mut rules) = (Vec::new(), Vec::<Vec<u32>>::new());
        for (index, rule) in policy.rules.iter().enumerate() {
            let of_rule = rule.patterns(&policy.targets);
            let scope = *known.entry(of_rule).or_insert_with_key(|of_rule| {
                patterns.push(of_rule.clone());
                rules.push(Vec::new());
                rules.len() - 1
            });
            rules[scope].push(index as u32);
        }
        for target in &policy.targets {
            let below = |root: &Pattern| {
                let everything = Pattern { absolute: false, components: vec![Component::AnyDepth] };
                everything.below(root)
            };
            patterns.push(target.root.patterns.iter().map(below).collect());
        }
        Self { patterns, rules }
    }

    fn add_to(&self, nfa: &mut Nfa, root: u32) {
        for (index, patterns) in self.patterns.iter().enumerate() {
            for pattern in patterns {
                nfa.add(root, pattern, index as u32);
            }
        }
    }

    /// The scopes among what a path matches, and the target.
    fn split<'a>(&self, accepts: &'a [u32]) -> (&'a [u32], u32) {
        let border = accepts.partition_point(|index| (*index as usize) < self.rules.len());
        let target = accepts.get(border).map_or(NONE, |index| *index - self.rules.len() as u32);
        (&accepts[..border], target)
    }
}

/// Numbers what the paths of the automaton match; class 0 is nothing. Marks the states.
fn path_classes(dfa: &automaton::Dfa, states: &mut [hsci_abi::tables::State]) -> Vec<Vec<u32>> {
    let mut classes = vec![Vec::new()];
    let mut known: HashMap<&[u32], u32> = HashMap::from([(&[][..], 0)]);
    for state in reachable(dfa, dfa.starts[0]) {
        let accepts = &dfa.states[state as usize].accepts;
        let class = *known.entry(accepts).or_insert_with(|| {
            classes.push(accepts.clone());
            classes.len() as u32 - 1
        });
        states[state as usize].class = class;
    }
    classes
}

/// The states that are reached from a start, ascending; the dead state is not among them.
fn reachable(dfa: &automaton::Dfa, start: u32) -> Vec<u32> {
    let mut seen = vec![false; dfa.states.len()];
    seen[0] = true;
    let mut queue = vec![start];
    let mut found = Vec::new();
    while let Some(at) = queue.pop() {
        if std::mem::replace(&mut seen[at as usize], true) {
            continue;
        }
        found.push(at);
        let state = &dfa.states[at as usize];
        queue.extend(state.edges.iter().map(|(_, next)| *next));
        queue.extend([state.fallback, state.slash]);
    }
    found.sort_unstable();
    found
}
