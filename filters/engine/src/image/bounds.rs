//! Every index in tables that were read leads to something.

use hsci_language::{DenyErrno, Operations};

use crate::tables::Tables;
use hsci_abi::tables::{
    CONDITION_ANCESTOR, CONDITION_CAPABILITY, CONDITION_FLAG, CONDITION_OWNER_IS_CALLER,
    CONDITION_SECURE, LEADS_ON, LEAF, MAX_MARKS, MAX_RATES, NONE, Node, PROBES, VARIABLE_CONDITION,
    VARIABLE_END, VARIABLE_GROUP, VARIABLE_MARK, VARIABLE_RATE,
};

/// What leads nowhere.
type Fault = &'static str;

fn holds(condition: bool, fault: Fault) -> Result<(), Fault> {
    if condition { Ok(()) } else { Err(fault) }
}

impl Tables {
    pub(super) fn check_bounds(&self) -> Result<(), Fault> {
        self.check_automaton()?;
        self.check_areas()?;
        self.check_rows()?;
        self.check_nodes()?;
        self.check_leaves()
    }

    fn check_automaton(&self) -> Result<(), Fault> {
        let is_state = |state: u32| (state as usize) < self.states.len();
        let has_row = |base: u32| base as usize + 255 < self.cells.len();
        let states = self.states.iter();
        let mut states =
            states.map(|s| is_state(s.fallback) && is_state(s.slash) && has_row(s.base));
        holds(states.all(|fits| fits), "states")?;
        holds(self.roots.ancestors as usize == self.ancestors.len(), "ancestors")?;
        holds(self.cells.iter().all(|cell| cell.owner == NONE || is_state(cell.next)), "cells")?;
        let roots = &self.roots;
        let starts = [roots.path, roots.executable, roots.command, roots.cgroup];
        holds(starts.into_iter().all(is_state), "start states")?;
        // States of executables and their like bear values of variables, which may be anything; a
        // path never comes to one of them, and stepping from its start shows that.
        self.check_path_states()
    }

    fn check_path_states(&self) -> Result<(), Fault> {
        let mut seen = vec![false; self.states.len()];
        let mut queue = vec![self.roots.path];
        // Edges by the state they belong to.
        let mut edges = vec![Vec::new(); self.states.len()];
        for cell in self.cells.iter().filter(|cell| cell.owner != NONE) {
            let owner = edges.get_mut(cell.owner as usize).ok_or("cells")?;
            owner.push(cell.next);
        }
        while let Some(at) = queue.pop() {
            if std::mem::replace(&mut seen[at as usize], true) {
                continue;
            }
            let state = self.states[at as usize];
            holds(((state.class & !LEADS_ON) as usize) < self.path_classes.len(), "path classes")?;
            queue.extend([state.fallback, state.slash]);
            queue.extend(&edges[at as usize]);
        }
        Ok(())
    }

    fn is_area(&self, base: u32, mask: u32) -> bool {
        let end = u64::from(base) + u64::from(mask) + u64::from(PROBES);
        mask.wrapping_add(1).is_power_of_two() && end <= self.edges.len() as u64
    }

    fn check_areas(&self) -> Result<(), Fault> {
        let roots = &self.roots;
        let areas = [
            (roots.users_base, roots.users_mask),
            (roots.groups_base, roots.groups_mask),
            (roots.namespaces_base, roots.namespaces_mask),
        ];
        holds(areas.into_iter().all(|(base, mask)| self.is_area(base, mask)), "hash areas")
    }

    fn check_rows(&self) -> Result<(), Fault> {
        let classes = self.roots.operation_classes as usize;
        holds(self.operations.len() == Operations::MAX, "operations")?;
        holds(self.operations.iter().all(|class| (*class as usize) < classes), "operations")?;
        let has_rows = |rows: u32| rows as usize + classes <= self.row_indices.len();
        holds(self.path_classes.iter().all(|class| has_rows(class.rows)), "path classes")?;
        let is_row = |row: &u32| (*row as usize) < self.rows.len();
        holds(self.row_indices.iter().all(is_row), "row indices")
    }

    /// A reference from a node leads to a lower one that asks for a greater variable.
    fn check_nodes(&self) -> Result<(), Fault> {
        for (index, node) in self.nodes.iter().enumerate() {
            let Node { variable, fallback, base, mask } = *node;
            let is_below = |at: u32| {
                at & LEAF != 0
                    || ((at as usize) < index && self.nodes[at as usize].variable > variable)
            };
            holds(variable < VARIABLE_END && is_below(fallback), "nodes")?;
            if variable >= VARIABLE_GROUP {
                holds(is_below(base), "nodes")?;
                let is_known = match variable {
                    ..VARIABLE_CONDITION | VARIABLE_MARK..VARIABLE_RATE => true,
                    VARIABLE_RATE.. => ((variable - VARIABLE_RATE) as usize) < self.rates.len(),
                    _ => ((variable - VARIABLE_CONDITION) as usize) < self.conditions.len(),
                };
                holds(is_known, "nodes")?;
            } else {
                holds(self.is_area(base, mask), "nodes")?;
                let area = &self.edges[base as usize..(base + mask + PROBES) as usize];
                let taken = area.iter().filter(|edge| edge.value != NONE);
                holds(taken.map(|edge| edge.next).all(is_below), "edges")?;
            }
        }
        Ok(())
    }

    fn check_leaves(&self) -> Result<(), Fault> {
        let rules = self.roots.rules;
        let bits = 1 << self.rates.len().min(MAX_RATES);
        let limits = [
            self.decisions.len(),
            rules as usize + 1,
            self.option_sets.len(),
            self.effects.len(),
            bits,
        ];
        for (root, limit) in limits.into_iter().enumerate() {
            let root = |row: &hsci_abi::tables::Row| {
                [row.decision, row.audit, row.options, row.effects, row.counted][root]
            };
            self.check_leaves_below(self.rows.iter().map(root).collect(), limit)?;
        }
        let is_decision = |decision: &hsci_abi::tables::Decision| {
            let errno = u16::try_from(decision.errno).ok();
            let is_errno = errno.is_some_and(|n| n == 0 || DenyErrno::from_number(n).is_some());
            is_errno && (decision.rule == NONE || decision.rule < rules)
        };
        holds(self.decisions.iter().all(is_decision), "decisions")?;
        let fits =
            |first: u32, count: u32, len: usize| u64::from(first) + u64::from(count) <= len as u64;
        let sets = self.option_sets.iter();
        let mut sets = sets.map(|set| fits(set.first, set.count, self.options.len()));
        holds(sets.all(|fits| fits), "option sets")?;
        let mut effects = self.effects.iter();
        let fits_rules = |first, count| fits(first, count, self.mark_rules.len());
        holds(effects.all(|effect| fits_rules(effect.first, effect.count)), "effects")?;
        let is_known =
            |one: &hsci_abi::tables::MarkRule| (one.mark as usize) < MAX_MARKS && one.rule < rules;
        holds(self.mark_rules.iter().all(is_known), "rules of marks")?;
        holds(self.rates.len() <= MAX_RATES, "rates")?;
        let is_text = |text: u32| (text as usize) < self.texts.len();
        let mut options = self.options.iter();
        holds(options.all(|o| is_text(o.key) && is_text(o.value) && o.rule < rules), "options")?;
        let mut texts = self.texts.iter();
        holds(texts.all(|text| fits(text.first, text.len, self.bytes.len())), "texts")?;
        let mut marks = self.marks.iter();
        let named =
            self.marks.len() <= MAX_MARKS && marks.all(|name| *name == NONE || is_text(*name));
        holds(named, "marks")?;
        let is_condition = |condition: &hsci_abi::tables::Condition| match condition.kind {
            CONDITION_FLAG | CONDITION_ANCESTOR => condition.argument < 32,
            CONDITION_CAPABILITY => condition.argument < 64,
            CONDITION_SECURE => true,
            kind => (CONDITION_OWNER_IS_CALLER..CONDITION_CAPABILITY).contains(&kind),
        };
        holds(self.conditions.iter().all(is_condition), "conditions")
    }

    /// Every leaf that is reached from the given diagrams is below a limit.
    fn check_leaves_below(&self, mut queue: Vec<u32>, limit: usize) -> Result<(), Fault> {
        let mut seen = vec![false; self.nodes.len()];
        while let Some(at) = queue.pop() {
            if at & LEAF != 0 {
                holds(((at & !LEAF) as usize) < limit, "leaves")?;
                continue;
            }
            let index = at as usize;
            holds(index < self.nodes.len(), "rows")?;
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let Node { variable, fallback, base, mask } = self.nodes[index];
            queue.push(fallback);
            if variable >= VARIABLE_GROUP {
                queue.push(base);
            } else {
                let area = &self.edges[base as usize..(base + mask + PROBES) as usize];
                queue.extend(area.iter().filter(|edge| edge.value != NONE).map(|edge| edge.next));
            }
        }
        Ok(())
    }
}
