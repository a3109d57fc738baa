//! What rules say about callers and facts: variables of diagrams, and how their values are found.

use std::collections::{BTreeMap, HashMap};

use hsci_language::glob::Glob;
use hsci_language::policy::{Atom, Predicate};
use hsci_language::{NO_LOGIN, Policy};

use super::reachable;
use crate::Limit;
use crate::automaton::{Dfa, Nfa};
use crate::diagram::{Diagram, Diagrams, Join, leaf};
use crate::tables::Tables;
use hsci_abi::tables::{
    CONDITION_ANCESTOR, CONDITION_CAPABILITY, CONDITION_DAY, CONDITION_FLAG, CONDITION_MODE,
    CONDITION_OWNER_IS_CALLER, CONDITION_SECURE, CONDITION_SINCE, CONDITION_SIZE_AT_LEAST,
    CONDITION_TIME_OF_DAY, Condition, MAX_ANCESTORS, MAX_CONDITIONS, MAX_GROUPS, NO_LOGIN_INDEX,
    State, VARIABLE_CGROUP, VARIABLE_COMMAND, VARIABLE_CONDITION, VARIABLE_EXECUTABLE,
    VARIABLE_GROUP, VARIABLE_LOGIN, VARIABLE_MARK, VARIABLE_OWNER, VARIABLE_PID_NAMESPACE,
    VARIABLE_RATE, VARIABLE_TYPE, VARIABLE_USER, VARIABLE_USER_NAMESPACE,
};

/// Numbers, from 1, in the order in which they are named.
#[derive(Default)]
struct Numbers(BTreeMap<u32, u32>);

impl Numbers {
    fn add(&mut self, id: u32) {
        let next = self.0.len() as u32 + 1;
        self.0.entry(id).or_insert(next);
    }

    fn pairs(&self) -> Vec<(u32, u32)> {
        self.0.iter().map(|(id, index)| (*id, *index)).collect()
    }
}

/// Globs of one kind, and the classes of texts that match the same of them.
#[derive(Default)]
struct Globs {
    indices: HashMap<Glob, u32>,
    list: Vec<Glob>,
    /// For each glob, the classes in which it matches, ascending.
    classes: Vec<Vec<u32>>,
}

impl Globs {
    fn add(&mut self, glob: &Glob) {
        if !self.indices.contains_key(glob) {
            self.indices.insert(glob.clone(), self.list.len() as u32);
            self.list.push(glob.clone());
        }
    }

    /// Numbers the sets of globs that texts match, from 1, and marks the states with them.
    fn take_classes(&mut self, dfa: &Dfa, start: u32, states: &mut [State]) {
        self.classes = vec![Vec::new(); self.list.len()];
        let mut known: HashMap<&[u32], u32> = HashMap::new();
        for state in reachable(dfa, start) {
            let accepts = &dfa.states[state as usize].accepts;
            if accepts.is_empty() {
                continue;
            }
            let next = known.len() as u32 + 1;
            let class = *known.entry(accepts).or_insert(next);
            if class == next {
                accepts.iter().for_each(|glob| self.classes[*glob as usize].push(class));
            }
            states[state as usize].class = class;
        }
    }
}

/// All that rules name about callers and facts.
#[derive(Default)]
pub(super) struct Subjects {
    users: Numbers,
    groups: Numbers,
    namespaces: Numbers,
    /// Executables, command names, cgroups.
    globs: [Globs; 3],
    conditions: Vec<Condition>,
    /// Globs of ancestors' executables, which are among those of executables.
    ancestors: Vec<Glob>,
}

const GLOB_VARIABLES: [u32; 3] = [VARIABLE_EXECUTABLE, VARIABLE_COMMAND, VARIABLE_CGROUP];

impl Subjects {
    pub(super) fn new(policy: &Policy) -> Result<Self, Limit> {
        let mut subjects = Self::default();
        for rule in &policy.rules {
            subjects.collect(&rule.predicate);
        }
        if subjects.groups.0.len() > MAX_GROUPS as usize {
            return Err(Limit::Groups);
        }
        if subjects.ancestors.len() > MAX_ANCESTORS {
            return Err(Limit::Ancestors);
        }
        if subjects.conditions.len() > MAX_CONDITIONS as usize {
            return Err(Limit::Conditions);
        }
        Ok(subjects)
    }

    fn collect(&mut self, predicate: &Predicate) {
        let atom = match predicate {
            Predicate::All(parts) | Predicate::Any(parts) => {
                return parts.iter().for_each(|part| self.collect(part));
            }
            Predicate::Not(part) => return self.collect(part),
            Predicate::Atom(atom) => atom,
        };
        match atom {
            Atom::Login(NO_LOGIN) => {}
            Atom::User(id) | Atom::Owner(id) | Atom::Login(id) => self.users.add(*id),
            Atom::Group(id) => self.groups.add(*id),
            Atom::PidNamespace(id) | Atom::UserNamespace(id) => self.namespaces.add(*id),
            Atom::Executable(glob) => self.globs[0].add(glob),
            Atom::Command(glob) => self.globs[1].add(glob),
            Atom::Cgroup(glob) => self.globs[2].add(glob),
            _ => {
                if let Atom::Ancestor(glob) = atom {
                    self.globs[0].add(glob);
                    self.ancestors.extend((!self.ancestors.contains(glob)).then(|| glob.clone()));
                }
                let is_new = |condition: &Condition| !self.conditions.contains(condition);
                let new = self.condition(atom).filter(is_new);
                self.conditions.extend(new);
            }
        }
    }

    /// Adds the globs to the automaton, below a root for each kind.
    pub(super) fn add_to(&self, nfa: &mut Nfa) -> [u32; 3] {
        self.globs.each_ref().map(|globs| {
            let root = nfa.root();
            for (index, glob) in globs.list.iter().enumerate() {
                glob.patterns.iter().for_each(|pattern| nfa.add(root, pattern, index as u32));
            }
            root
        })
    }

    /// Numbers the classes of texts once the automaton is known.
    pub(super) fn take_classes(&mut self, dfa: &Dfa, states: &mut [State]) {
        for (globs, start) in self.globs.iter_mut().zip(&dfa.starts[1..]) {
            globs.take_classes(dfa, *start, states);
        }
    }

    /// A predicate as a diagram of leaves 0 and 1.
    pub(super) fn diagram(
        &self,
        predicate: &Predicate,
        diagrams: &mut Diagrams,
    ) -> Result<Diagram, Limit> {
        let (parts, join) = match predicate {
            Predicate::Atom(atom) => {
                let (variable, values) = self.question(atom);
                let edges = values.into_iter().map(|value| (value, leaf(1))).collect();
                return diagrams.ask(variable, leaf(0), edges);
            }
            Predicate::Not(part) => {
                let inner = self.diagram(part, diagrams)?;
                return diagrams.rename(inner, &|value| 1 - value, &mut HashMap::new());
            }
            Predicate::All(parts) => (parts, Join::And),
            Predicate::Any(parts) => (parts, Join::Or),
        };
        let parts = parts.iter().map(|part| self.diagram(part, diagrams));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        diagrams.join_all(join, &parts)
    }

    /// The variable that an atom asks for, and the values that make it true.
    fn question(&self, atom: &Atom) -> (u32, Vec<u32>) {
        let of_glob = |kind: usize, glob: &Glob| {
            let globs = &self.globs[kind];
            (GLOB_VARIABLES[kind], globs.classes[globs.indices[glob] as usize].clone())
        };
        match atom {
            Atom::User(id) => (VARIABLE_USER, vec![self.users.0[id]]),
            Atom::Owner(id) => (VARIABLE_OWNER, vec![self.users.0[id]]),
            Atom::Group(id) => (VARIABLE_GROUP + self.groups.0[id] - 1, vec![1]),
            Atom::PidNamespace(id) => (VARIABLE_PID_NAMESPACE, vec![self.namespaces.0[id]]),
            Atom::Executable(glob) => of_glob(0, glob),
            Atom::Command(glob) => of_glob(1, glob),
            Atom::Cgroup(glob) => of_glob(2, glob),
            Atom::UserNamespace(id) => (VARIABLE_USER_NAMESPACE, vec![self.namespaces.0[id]]),
            Atom::Login(NO_LOGIN) => (VARIABLE_LOGIN, vec![NO_LOGIN_INDEX]),
            Atom::Login(id) => (VARIABLE_LOGIN, vec![self.users.0[id]]),
            Atom::Marked(mark) => (VARIABLE_MARK + *mark as u32, vec![1]),
            Atom::Over(rate) => (VARIABLE_RATE + *rate as u32, vec![1]),
            Atom::Type(file_type) => (VARIABLE_TYPE, vec![u32::from(file_type.number())]),
            _ => {
                let wanted = self.condition(atom).expect("all other atoms are conditions");
                let index = self.conditions.iter().position(|known| *known == wanted);
                let index = index.expect("collected before") as u32;
                (VARIABLE_CONDITION + index, vec![1])
            }
        }
    }

    pub(super) fn emit(&self, dfa: &Dfa, tables: &mut Tables) {
        let roots = &mut tables.roots;
        (roots.executable, roots.cgroup) = (dfa.starts[1], dfa.starts[3]);
        // A command name is written without the slash that stands before the names of a path.
        roots.command = dfa.states[dfa.starts[2] as usize].slash;
        (roots.users_base, roots.users_mask) =
            super::emit::area(&mut tables.edges, &self.users.pairs());
        (roots.groups_base, roots.groups_mask) =
            super::emit::area(&mut tables.edges, &self.groups.pairs());
        (roots.namespaces_base, roots.namespaces_mask) =
            super::emit::area(&mut tables.edges, &self.namespaces.pairs());
        tables.conditions.clone_from(&self.conditions);
        tables.ancestors = self.ancestor_bits();
        tables.roots.ancestors = tables.ancestors.len() as u32;
    }

    /// For each class of executables, the globs of ancestors that it matches.
    fn ancestor_bits(&self) -> Vec<u32> {
        let classes_of = |glob: &Glob| &self.globs[0].classes[self.globs[0].indices[glob] as usize];
        let classes = self.globs[0].classes.iter().flatten().max().map_or(1, |most| most + 1);
        let mut bits = vec![0; if self.ancestors.is_empty() { 0 } else { classes as usize }];
        for (bit, glob) in self.ancestors.iter().enumerate() {
            classes_of(glob).iter().for_each(|class| bits[*class as usize] |= 1 << bit);
        }
        bits
    }

    /// The condition that an atom states; nothing if it asks for the value of a variable.
    fn condition(&self, atom: &Atom) -> Option<Condition> {
        let of = |kind, argument, low, high| Some(Condition { kind, argument, low, high });
        let long = |kind, number: u64| of(kind, 0, number as u32, (number >> 32) as u32);
        match atom {
            Atom::Flag(flag) => of(CONDITION_FLAG, u32::from(flag.number()), 0, 0),
            Atom::OwnerIsCaller => of(CONDITION_OWNER_IS_CALLER, 0, 0, 0),
            Atom::SizeAtLeast(size) => long(CONDITION_SIZE_AT_LEAST, *size),
            Atom::Mode(bits) => of(CONDITION_MODE, *bits, 0, 0),
            Atom::TimeOfDay(from, to) => of(CONDITION_TIME_OF_DAY, 0, *from, *to),
            Atom::Day(day) => of(CONDITION_DAY, *day, 0, 0),
            Atom::Since(time) => long(CONDITION_SINCE, *time),
            Atom::Capability(number) => of(CONDITION_CAPABILITY, *number, 0, 0),
            Atom::Secure => of(CONDITION_SECURE, 0, 0, 0),
            Atom::Ancestor(glob) => {
                let bit = self.ancestors.iter().position(|known| known == glob)?;
                of(CONDITION_ANCESTOR, bit as u32, 0, 0)
            }
            Atom::User(_)
            | Atom::Owner(_)
            | Atom::Group(_)
            | Atom::PidNamespace(_)
            | Atom::UserNamespace(_)
            | Atom::Login(_)
            | Atom::Executable(_)
            | Atom::Command(_)
            | Atom::Cgroup(_)
            | Atom::Marked(_)
            | Atom::Over(_)
            | Atom::Type(_) => None,
        }
    }
}
