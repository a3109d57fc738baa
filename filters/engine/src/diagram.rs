//! Decision diagrams: each node asks for the value of one variable, each leaf is an answer. Variables
//! come in one order on every path, and equal diagrams are one, so that what many rules say together
//! takes no more room than what it amounts to (Bryant, "Graph-based algorithms for Boolean function
//! manipulation", 1986, with variables of many values).

use std::collections::HashMap;

use crate::Limit;
use hsci_abi::tables::LEAF;

/// Edges of all diagrams together, also of those that are only steps to others.
const MAX_EDGES: usize = 1 << 23;

/// A diagram: a node, or with [`LEAF`] set a leaf.
pub(crate) type Diagram = u32;

/// The diagram that always answers `value`.
pub(crate) fn leaf(value: u32) -> Diagram {
    LEAF | value
}

/// How the answers of two diagrams are joined. For each, leaf 0 says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Join {
    /// Both are 1.
    And,
    /// One is 1.
    Or,
    /// The first, unless it says nothing.
    Over,
    /// The options of both; where both set one, that of the first.
    Options,
    /// The bits of both.
    Bits,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DiagramNode {
    pub(crate) variable: u32,
    pub(crate) fallback: Diagram,
    /// Values that lead elsewhere, ascending.
    pub(crate) edges: Vec<(u32, Diagram)>,
}

/// One option: name and value as indices of texts, and the rule that sets it.
pub(crate) type Setting = (u32, u32, u32);

/// All diagrams of a policy.
pub(crate) struct Diagrams {
    nodes: Vec<DiagramNode>,
    known: HashMap<DiagramNode, Diagram>,
    joined: HashMap<(Join, Diagram, Diagram), Diagram>,
    edges: usize,
    /// Sets of options, each ascending by name; leaf values of [`Join::Options`]. The first is empty.
    pub(crate) option_sets: Vec<Vec<Setting>>,
    known_options: HashMap<Vec<Setting>, u32>,
}

impl Diagrams {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            known: HashMap::new(),
            joined: HashMap::new(),
            edges: 0,
            option_sets: vec![Vec::new()],
            known_options: HashMap::from([(Vec::new(), 0)]),
        }
    }

    pub(crate) fn node(&self, diagram: Diagram) -> Option<&DiagramNode> {
        (diagram & LEAF == 0).then(|| &self.nodes[diagram as usize])
    }

    /// The diagram that asks for a variable; edges ascending.
    pub(crate) fn ask(
        &mut self,
        variable: u32,
        fallback: Diagram,
        mut edges: Vec<(u32, Diagram)>,
    ) -> Result<Diagram, Limit> {
        edges.retain(|(_, next)| *next != fallback);
        if edges.is_empty() {
            return Ok(fallback);
        }
        let node = DiagramNode { variable, fallback, edges };
        if let Some(known) = self.known.get(&node) {
            return Ok(*known);
        }
        self.edges += node.edges.len();
        if self.edges > MAX_EDGES {
            return Err(Limit::Diagrams);
        }
        let index = self.nodes.len() as u32;
        self.known.insert(node.clone(), index);
        self.nodes.push(node);
        Ok(index)
    }

    /// The leaf of a set of options, ascending by name.
    pub(crate) fn options(&mut self, set: Vec<Setting>) -> Diagram {
        let next = self.option_sets.len() as u32;
        let index = *self.known_options.entry(set).or_insert_with_key(|set| {
            self.option_sets.push(set.clone());
            next
        });
        leaf(index)
    }

    /// The opposite of a diagram of leaves 0 and 1, or any other renaming of leaves.
    pub(crate) fn rename(
        &mut self,
        diagram: Diagram,
        name: &impl Fn(u32) -> u32,
        done: &mut HashMap<Diagram, Diagram>,
    ) -> Result<Diagram, Limit> {
        if diagram & LEAF != 0 {
            return Ok(leaf(name(diagram & !LEAF)));
        }
        if let Some(known) = done.get(&diagram) {
            return Ok(*known);
        }
        let DiagramNode { variable, fallback, mut edges } = self.nodes[diagram as usize].clone();
        let fallback = self.rename(fallback, name, done)?;
        for (_, next) in &mut edges {
            *next = self.rename(*next, name, done)?;
        }
        let renamed = self.ask(variable, fallback, edges)?;
        done.insert(diagram, renamed);
        Ok(renamed)
    }

    /// Joins many diagrams in order; halves are joined first, so that intermediate results are small.
    pub(crate) fn join_all(&mut self, join: Join, all: &[Diagram]) -> Result<Diagram, Limit> {
        match all {
            [] => Ok(leaf(u32::from(join == Join::And))),
            [one] => Ok(*one),
            _ => {
                let (first, second) = all.split_at(all.len() / 2);
                let first = self.join_all(join, first)?;
                let second = self.join_all(join, second)?;
                self.join(join, first, second)
            }
        }
    }

    /// Joins two diagrams.
    pub(crate) fn join(
        &mut self,
        join: Join,
        first: Diagram,
        second: Diagram,
    ) -> Result<Diagram, Limit> {
        if let Some(joined) = self.join_leaves(join, first, second) {
            return Ok(joined);
        }
        let key = (join, first, second);
        if let Some(known) = self.joined.get(&key) {
            return Ok(*known);
        }
        let variable = [first, second]
            .iter()
            .filter_map(|diagram| self.node(*diagram))
            .map(|node| node.variable)
            .min();
        // Two leaves that were not joined above do not exist.
        let Some(variable) = variable else { return Ok(first) };
        let (first, second) = (self.cofactors(first, variable), self.cofactors(second, variable));
        let fallback = self.join(join, first.0, second.0)?;
        let mut edges = Vec::with_capacity(first.1.len().max(second.1.len()));
        let (mut left, mut right) = (first.1.iter().peekable(), second.1.iter().peekable());
        while let Some(value) = [left.peek(), right.peek()].iter().flatten().map(|e| e.0).min() {
            let next = |edge: Option<&(u32, Diagram)>, other| edge.map_or(other, |edge| edge.1);
            let one = next(left.next_if(|edge| edge.0 == value), first.0);
            let other = next(right.next_if(|edge| edge.0 == value), second.0);
            edges.push((value, self.join(join, one, other)?));
        }
        let joined = self.ask(variable, fallback, edges)?;
        self.joined.insert(key, joined);
        Ok(joined)
    }

    /// What is decided without asking further.
    fn join_leaves(&mut self, join: Join, first: Diagram, second: Diagram) -> Option<Diagram> {
        let (nothing, yes) = (leaf(0), leaf(1));
        match join {
            Join::And if first == nothing || second == yes => Some(first),
            Join::And if second == nothing || first == yes => Some(second),
            Join::Or if first == yes || second == nothing => Some(first),
            Join::Or if second == yes || first == nothing => Some(second),
            Join::And | Join::Or if first == second => Some(first),
            Join::And | Join::Or => None,
            Join::Over | Join::Options | Join::Bits if first == nothing => Some(second),
            Join::Over | Join::Options | Join::Bits if second == nothing => Some(first),
            Join::Bits if first & second & LEAF != 0 => Some(first | second),
            Join::Bits if first == second => Some(first),
            Join::Over if first & LEAF != 0 => Some(first),
            Join::Options if first & second & LEAF != 0 => {
                let mut set = self.option_sets[(first & !LEAF) as usize].clone();
                let earlier = self.option_sets[(second & !LEAF) as usize].clone();
                let is_set = |key| set.iter().any(|setting: &Setting| setting.0 == key);
                let added: Vec<_> = earlier.into_iter().filter(|one| !is_set(one.0)).collect();
                set.extend(added);
                set.sort_unstable();
                Some(self.options(set))
            }
            Join::Over | Join::Options | Join::Bits => None,
        }
    }

    /// What a diagram amounts to for each value of a variable.
    fn cofactors(&self, diagram: Diagram, variable: u32) -> (Diagram, Vec<(u32, Diagram)>) {
        match self.node(diagram) {
            Some(node) if node.variable == variable => (node.fallback, node.edges.clone()),
            _ => (diagram, Vec::new()),
        }
    }
}
