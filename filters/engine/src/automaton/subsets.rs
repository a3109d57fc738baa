//! The subset construction.

use std::collections::{BTreeMap, HashMap};

use hsci_language::glob::ByteSet;

use super::nfa::{Nfa, Stay};
use super::{MAX_STATES, MAX_TRANSITIONS};
use crate::Limit;

/// Work that is done before an automaton is given up, counted in nodes of all subsets.
const MAX_WORK: usize = 1 << 23;

/// A state of the deterministic automaton.
#[derive(Debug, Default)]
pub(crate) struct DfaState {
    pub(crate) fallback: u32,
    pub(crate) slash: u32,
    /// Bytes that lead elsewhere than the fallback, ascending.
    pub(crate) edges: Vec<(u8, u32)>,
    /// What ends here, ascending.
    pub(crate) accepts: Vec<u32>,
}

/// The automaton; state 0 is dead.
pub(crate) struct Dfa {
    pub(crate) states: Vec<DfaState>,
    /// The start state of each root.
    pub(crate) starts: Vec<u32>,
}

/// Makes a nondeterministic automaton deterministic.
pub(crate) fn determinize(nfa: &Nfa, roots: &[u32]) -> Result<Dfa, Limit> {
    let mut builder = Builder {
        nfa,
        subsets: vec![Vec::new()],
        known: HashMap::from([(Vec::new(), 0)]),
        work: 0,
        transitions: 0,
    };
    let starts = roots.iter().map(|root| builder.state(vec![*root]));
    let starts = starts.collect::<Result<Vec<_>, _>>()?;
    let mut states = Vec::new();
    while states.len() < builder.subsets.len() {
        let state = builder.expand(states.len())?;
        states.push(state);
    }
    Ok(Dfa { states, starts })
}

struct Builder<'a> {
    nfa: &'a Nfa,
    /// The nodes of each state, ascending.
    subsets: Vec<Vec<u32>>,
    known: HashMap<Vec<u32>, u32>,
    work: usize,
    transitions: usize,
}

impl Builder<'_> {
    /// The state of a set of nodes and of all that is reached from them without a byte.
    fn state(&mut self, mut nodes: Vec<u32>) -> Result<u32, Limit> {
        let mut done = 0;
        while let Some(node) = nodes.get(done) {
            nodes.extend_from_slice(&self.nfa.nodes[*node as usize].free);
            done += 1;
        }
        nodes.sort_unstable();
        nodes.dedup();
        self.work += nodes.len();
        if let Some(known) = self.known.get(&nodes) {
            return Ok(*known);
        }
        if self.subsets.len() == MAX_STATES || self.work > MAX_WORK {
            return Err(Limit::States);
        }
        let index = self.subsets.len() as u32;
        self.subsets.push(nodes.clone());
        self.known.insert(nodes, index);
        Ok(index)
    }

    fn expand(&mut self, index: usize) -> Result<DfaState, Limit> {
        let subset = std::mem::take(&mut self.subsets[index]);
        let nodes = subset.iter().map(|node| (*node, &self.nfa.nodes[*node as usize]));
        let (mut slash, mut any, mut accepts) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_byte: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        let mut sets = Vec::new();
        for (index, node) in nodes {
            match node.stay {
                Stay::Never => {}
                Stay::Name => any.push(index),
                Stay::Always => {
                    any.push(index);
                    slash.push(index);
                }
            }
            slash.extend_from_slice(&node.after_slash);
            accepts.extend_from_slice(&node.accepts);
            for (byte, next) in &node.after_byte {
                by_byte.entry(*byte).or_default().push(*next);
            }
            for (set, next) in &node.after_set {
                if *set == ByteSet::name_bytes() {
                    any.push(*next);
                } else {
                    sets.push((*set, *next));
                }
            }
        }
        for (set, next) in &sets {
            set.iter().for_each(|byte| by_byte.entry(byte).or_default().push(*next));
        }
        accepts.sort_unstable();
        accepts.dedup();
        let slash = self.state(slash)?;
        let (fallback, edges) = self.edges(&any, by_byte)?;
        Ok(DfaState { fallback, slash, edges, accepts })
    }

    /// The transitions of a state: nodes that any byte of a name leads to, and further ones by byte.
    fn edges(
        &mut self,
        any: &[u32],
        by_byte: BTreeMap<u8, Vec<u32>>,
    ) -> Result<(u32, Vec<(u8, u32)>), Limit> {
        let others = self.state(any.to_vec())?;
        let mut edges = Vec::with_capacity(by_byte.len());
        for (byte, mut next) in by_byte {
            next.extend_from_slice(any);
            edges.push((byte, self.state(next)?));
        }
        // A set that was written by what it leaves out names most bytes: the state that most of
        // them share becomes the fallback.
        let mut fallback = others;
        if edges.len() > 128 {
            let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
            edges.iter().for_each(|(_, next)| *counts.entry(*next).or_default() += 1);
            let (most, count) =
                counts.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default();
            if count > 255 - edges.len() {
                fallback = most;
                let named = edges.clone();
                let is_named = |byte| named.binary_search_by_key(&byte, |edge| edge.0).is_ok();
                let missing = (0..=255).filter(|byte| *byte != b'/' && !is_named(*byte));
                edges.extend(missing.map(|byte| (byte, others)));
                edges.sort_unstable();
            }
        }
        edges.retain(|(_, next)| *next != fallback);
        self.transitions += edges.len();
        if self.transitions > MAX_TRANSITIONS {
            return Err(Limit::States);
        }
        Ok((fallback, edges))
    }
}
