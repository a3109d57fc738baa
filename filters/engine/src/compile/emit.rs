//! Diagrams and hash areas as records.

use std::collections::{BTreeSet, HashMap};

use super::rows::Rows;
use crate::diagram::{Diagram, Diagrams};
use crate::tables::Tables;
use hsci_abi::tables::{
    Edge, Effect, LEAF, MarkRule, NONE, Node, OptionEntry, OptionSet, PROBES, Row, Text,
    VARIABLE_GROUP, hash,
};

const FREE: Edge = Edge { value: NONE, next: 0 };

/// Appends a hash area in which every key is found within [`PROBES`] slots; its base and mask.
pub(super) fn area(edges: &mut Vec<Edge>, pairs: &[(u32, u32)]) -> (u32, u32) {
    let base = edges.len();
    let mut len = pairs.len().next_power_of_two();
    loop {
        let mask = len as u32 - 1;
        if let Some(slots) = fill(pairs, mask) {
            edges.extend(slots);
            return (base as u32, mask);
        }
        len *= 2;
    }
}

fn fill(pairs: &[(u32, u32)], mask: u32) -> Option<Vec<Edge>> {
    let mut slots = vec![FREE; (mask + PROBES) as usize];
    for (value, next) in pairs {
        let first = hash(*value, mask) as usize;
        let mut probed = slots[first..first + PROBES as usize].iter_mut();
        let free = probed.find(|slot| slot.value == NONE)?;
        *free = Edge { value: *value, next: *next };
    }
    Some(slots)
}

/// Writes everything that rows lead to; the rules that some leaf names.
pub(super) fn rows(rows: Rows<'_>, tables: &mut Tables) -> BTreeSet<u32> {
    let mut writer = Writer {
        diagrams: &rows.diagrams,
        done: HashMap::new(),
        sets: HashMap::from([(0, 0)]),
        effects: HashMap::from([(0, 0)]),
        used: BTreeSet::new(),
        tables,
    };
    writer.tables.option_sets.push(OptionSet { first: 0, count: 0 });
    writer.tables.effects.push(Effect::default());
    writer.tables.decisions.clone_from(&rows.decisions);
    for row in &rows.rows {
        let decision = writer.diagram(row.decision, Leaves::Decisions);
        let audit = writer.diagram(row.audit, Leaves::Audits);
        let options = writer.diagram(row.options, Leaves::Options);
        let effects = writer.diagram(row.effects, Leaves::Effects);
        let counted = writer.diagram(row.counted, Leaves::Bits);
        writer.tables.rows.push(Row { decision, audit, options, effects, counted });
    }
    let used = writer.used;
    tables.path_classes = rows.classes;
    tables.row_indices = rows.indices;
    tables.marks = rows.marks;
    for text in &rows.texts {
        let (first, len) = (tables.bytes.len() as u32, text.len() as u32);
        tables.texts.push(Text { first, len });
        tables.bytes.extend_from_slice(text.as_bytes());
    }
    used
}

/// What the leaves of a diagram are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Leaves {
    Decisions,
    Audits,
    Options,
    Effects,
    Bits,
}

struct Writer<'a> {
    diagrams: &'a Diagrams,
    done: HashMap<(Leaves, Diagram), u32>,
    /// Option sets that are written, by their leaf.
    sets: HashMap<u32, u32>,
    /// Effects that are written, in the same way.
    effects: HashMap<u32, u32>,
    used: BTreeSet<u32>,
    tables: &'a mut Tables,
}

impl Writer<'_> {
    /// Writes a diagram after all that it leads to.
    fn diagram(&mut self, diagram: Diagram, leaves: Leaves) -> u32 {
        if let Some(written) = self.done.get(&(leaves, diagram)) {
            return *written;
        }
        let written = match self.diagrams.node(diagram) {
            None => LEAF | self.leaf(diagram & !LEAF, leaves),
            Some(node) => {
                let fallback = self.diagram(node.fallback, leaves);
                let edges = node.edges.iter().map(|(value, next)| (*value, *next));
                let edges: Vec<(u32, u32)> =
                    edges.map(|(value, next)| (value, self.diagram(next, leaves))).collect();
                let (base, mask) = match edges.as_slice() {
                    [(1, next)] if node.variable >= VARIABLE_GROUP => (*next, 0),
                    _ => area(&mut self.tables.edges, &edges),
                };
                self.tables.nodes.push(Node { variable: node.variable, fallback, base, mask });
                self.tables.nodes.len() as u32 - 1
            }
        };
        self.done.insert((leaves, diagram), written);
        written
    }

    fn leaf(&mut self, value: u32, leaves: Leaves) -> u32 {
        match leaves {
            Leaves::Decisions => {
                let rule = self.tables.decisions[value as usize].rule;
                self.used.extend((rule != NONE).then_some(rule));
                value
            }
            Leaves::Audits => {
                self.used.extend(value.checked_sub(1));
                value
            }
            Leaves::Options => self.option_set(value),
            Leaves::Effects => self.effect(value),
            Leaves::Bits => value,
        }
    }

    fn option_set(&mut self, value: u32) -> u32 {
        if let Some(written) = self.sets.get(&value) {
            return *written;
        }
        let set = &self.diagrams.option_sets[value as usize];
        let first = self.tables.options.len() as u32;
        for &(key, value, rule) in set {
            self.used.insert(rule);
            self.tables.options.push(OptionEntry { key, value, rule });
        }
        self.tables.option_sets.push(OptionSet { first, count: set.len() as u32 });
        let written = self.tables.option_sets.len() as u32 - 1;
        self.sets.insert(value, written);
        written
    }

    fn effect(&mut self, value: u32) -> u32 {
        if let Some(written) = self.effects.get(&value) {
            return *written;
        }
        let set = &self.diagrams.option_sets[value as usize];
        let (first, count) = (self.tables.mark_rules.len() as u32, set.len() as u32);
        let mut effect = Effect { first, count, ..Effect::default() };
        for &(mark, sets, rule) in set {
            self.used.insert(rule);
            self.tables.mark_rules.push(MarkRule { mark, rule });
            let word = match (sets, mark < 32) {
                (1, true) => &mut effect.set_low,
                (1, false) => &mut effect.set_high,
                (_, true) => &mut effect.clear_low,
                (_, false) => &mut effect.clear_high,
            };
            *word |= 1 << (mark & 31);
        }
        self.tables.effects.push(effect);
        let written = self.tables.effects.len() as u32 - 1;
        self.effects.insert(value, written);
        written
    }
}
