//! What tables look at and speak of, so that nobody finds out or asks more.

use hsci_language::{Operation, Operations};

use crate::tables::Tables;
use hsci_abi::tables::{
    CONDITION_ANCESTOR, CONDITION_CAPABILITY, CONDITION_DAY, CONDITION_SECURE, CONDITION_SINCE,
    CONDITION_TIME_OF_DAY, LEAF, NONE, Node, PROBES, VARIABLE_CGROUP, VARIABLE_COMMAND,
    VARIABLE_CONDITION, VARIABLE_EXECUTABLE, VARIABLE_GROUP, VARIABLE_LOGIN, VARIABLE_MARK,
    VARIABLE_OWNER, VARIABLE_PID_NAMESPACE, VARIABLE_TYPE, VARIABLE_USER_NAMESPACE,
};

/// Which parts of a call some rule looks at. Everybody's user id is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// The caller's groups.
    pub groups: bool,
    /// The caller's executable.
    pub executable: bool,
    /// The caller's command name.
    pub command: bool,
    /// The caller's cgroup.
    pub cgroup: bool,
    /// The caller's pid namespace.
    pub pid_namespace: bool,
    /// The caller's user namespace.
    pub user_namespace: bool,
    /// The caller's capabilities.
    pub capabilities: bool,
    /// The caller's login.
    pub login: bool,
    /// Executables of the caller's ancestors.
    pub ancestors: bool,
    /// Type, owner, size or permissions of the object, or open flags.
    pub facts: bool,
    /// When the call is made.
    pub time: bool,
    /// Marks and rates.
    pub memory: bool,
}

/// The operations that rules speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// They may be denied or reported.
    pub judged: Operations,
    /// They may come with options.
    pub set: Operations,
}

impl Tables {
    /// What the rules look at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        let mut uses = Uses { memory: self.remembers(), ..Uses::default() };
        for node in &self.nodes {
            match node.variable {
                VARIABLE_EXECUTABLE => uses.executable = true,
                VARIABLE_COMMAND => uses.command = true,
                VARIABLE_CGROUP => uses.cgroup = true,
                VARIABLE_PID_NAMESPACE => uses.pid_namespace = true,
                VARIABLE_MARK.. => {}
                VARIABLE_USER_NAMESPACE => uses.user_namespace = true,
                VARIABLE_LOGIN => uses.login = true,
                VARIABLE_OWNER | VARIABLE_TYPE => uses.facts = true,
                VARIABLE_CONDITION.. => *self.used_by(node.variable, &mut uses) = true,
                VARIABLE_GROUP.. => uses.groups = true,
                _ => {}
            }
        }
        uses
    }

    /// What a condition looks at.
    fn used_by<'a>(&self, variable: u32, uses: &'a mut Uses) -> &'a mut bool {
        match self.conditions[(variable - VARIABLE_CONDITION) as usize].kind {
            CONDITION_TIME_OF_DAY | CONDITION_DAY | CONDITION_SINCE => &mut uses.time,
            CONDITION_CAPABILITY => &mut uses.capabilities,
            CONDITION_ANCESTOR => &mut uses.ancestors,
            CONDITION_SECURE => &mut uses.memory,
            _ => &mut uses.facts,
        }
    }

    /// What rules may say of paths that begin with the one that leads to `state`.
    #[must_use]
    pub fn spoken_below(&self, state: u32) -> Spoken {
        let mut spoken = Spoken::default();
        let mut classes = vec![false; self.path_classes.len()];
        let mut seen = vec![false; self.states.len()];
        let mut left = vec![state];
        while let Some(state) = left.pop() {
            if std::mem::replace(&mut seen[state as usize], true) {
                continue;
            }
            let class = self.class(state);
            if !std::mem::replace(&mut classes[class as usize], true) {
                self.add_spoken(class, &mut spoken);
            }
            left.extend((0..=u8::MAX).map(|byte| self.step(state, &[byte])));
        }
        spoken
    }

    fn add_spoken(&self, class: u32, spoken: &mut Spoken) {
        let rows = self.path_classes[class as usize].rows;
        for operation in Operation::ALL {
            let one = Operations::of(&[*operation]);
            let column = self.operations[usize::from(operation.number())];
            let row = self.rows[self.row_indices[(rows + column) as usize] as usize];
            let is_remembered = row.effects != LEAF || row.counted != LEAF;
            if self.may_deny(row.decision) || row.audit != LEAF || is_remembered {
                spoken.judged = spoken.judged.union(one);
            }
            if row.options != LEAF {
                spoken.set = spoken.set.union(one);
            }
        }
    }

    /// The nodes that a diagram leads to.
    pub(crate) fn nodes_below(&self, root: u32) -> impl Iterator<Item = Node> {
        let mut left = vec![root];
        let mut seen = std::collections::HashSet::new();
        std::iter::from_fn(move || {
            loop {
                let at = left.pop()?;
                if at & LEAF != 0 || !seen.insert(at) {
                    continue;
                }
                let node = self.nodes[at as usize];
                left.push(node.fallback);
                if node.variable >= VARIABLE_GROUP {
                    left.push(node.base);
                } else {
                    let end = (node.base + node.mask) as usize + PROBES as usize;
                    let taken = self.edges[node.base as usize..end].iter();
                    left.extend(taken.filter(|edge| edge.value != NONE).map(|edge| edge.next));
                }
                return Some(node);
            }
        })
    }

    /// True if a leaf of a decision diagram is an error.
    fn may_deny(&self, root: u32) -> bool {
        let mut left = vec![root];
        while let Some(at) = left.pop() {
            if at & LEAF != 0 {
                if self.decisions[(at & !LEAF) as usize].errno != 0 {
                    return true;
                }
                continue;
            }
            let node = self.nodes[at as usize];
            left.push(node.fallback);
            if node.variable >= VARIABLE_GROUP {
                left.push(node.base);
            } else {
                let slots = node.base as usize..(node.base + node.mask) as usize + PROBES as usize;
                let taken = self.edges[slots].iter().filter(|edge| edge.value != NONE);
                left.extend(taken.map(|edge| edge.next));
            }
        }
        false
    }
}
