//! Directories that lead to paths of other rules: they are not renamed away from them, nor onto them.

use hsci_abi::tables::{LEADS_ON, LEAF, NONE};

use super::reachable;
use crate::automaton::Dfa;
use crate::tables::Tables;

/// What rules say of paths, as far as it bears on whether calls fail or are reported: equal numbers are
/// equal answers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// The first class of paths of which the same is said.
    class: u32,
    target: u32,
    /// No rule says anything.
    is_plain: bool,
}

/// What is said of all paths that begin with one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// No rule matches any, and none is in a target.
    Nothing,
    One(Kind),
    Many,
}

impl Below {
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::One(one), Self::One(other)) if one == other => self,
            // Everything below a target is in it: where nothing else is said, nothing is lost.
            (Self::One(one), Self::One(other)) if one.target == other.target => {
                match (one.is_plain, other.is_plain) {
                    (true, _) => Self::One(other),
                    (_, true) => Self::One(one),
                    _ => Self::Many,
                }
            }
            _ => Self::Many,
        }
    }
}

/// Marks the states of paths.
pub(super) fn mark(dfa: &Dfa, tables: &mut Tables) {
    let kinds = kinds(tables);
    let states = reachable(dfa, dfa.starts[0]);
    let kind = |state: u32| kinds[tables.states[state as usize].class as usize];
    let mut below = vec![Below::Nothing; dfa.states.len()];
    let mut before = vec![Vec::new(); dfa.states.len()];
    for &state in &states {
        let next = &dfa.states[state as usize];
        let edges = next.edges.iter().map(|(_, next)| *next);
        edges.chain([next.fallback, next.slash]).for_each(|next| before[next as usize].push(state));
        if kind(state) != PLAIN {
            below[state as usize] = Below::One(kind(state));
        }
    }
    // A state changes at most twice, so that this ends soon.
    let mut queue = states.clone();
    while let Some(state) = queue.pop() {
        let found = below[state as usize];
        for &earlier in &before[state as usize] {
            let joined = below[earlier as usize].join(found);
            if joined != below[earlier as usize] {
                below[earlier as usize] = joined;
                queue.push(earlier);
            }
        }
    }
    let leads_on = |state: &u32| {
        let own = kind(*state);
        match below[dfa.states[*state as usize].slash as usize] {
            Below::Nothing => false,
            Below::One(other) => other != own && !(other.is_plain && other.target == own.target),
            Below::Many => true,
        }
    };
    let marked: Vec<u32> = states.iter().copied().filter(leads_on).collect();
    marked.into_iter().for_each(|state| tables.states[state as usize].class |= LEADS_ON);
}

/// The class of paths of which no rule speaks.
const PLAIN: Kind = Kind { class: 0, target: NONE, is_plain: true };

/// The kind of each class of paths.
fn kinds(tables: &Tables) -> Vec<Kind> {
    let width = tables.roots.operation_classes as usize;
    let mut known = std::collections::HashMap::new();
    let of_class = |(class, path): (usize, &hsci_abi::tables::PathClass)| {
        let first = path.rows as usize;
        let rows = &tables.row_indices[first..first + width];
        let rows = rows.iter().map(|row| &tables.rows[*row as usize]);
        let said = rows.map(|row| [row.decision, row.audit, row.effects, row.counted]);
        let said: Vec<[u32; 4]> = said.collect();
        let is_plain = said.iter().all(|said| *said == [LEAF; 4]);
        let class = *known.entry((path.target, said)).or_insert(class as u32);
        Kind { class, target: path.target, is_plain }
    };
    tables.path_classes.iter().enumerate().map(of_class).collect()
}
