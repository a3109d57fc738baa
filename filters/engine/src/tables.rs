//! Compiled tables, and what they answer.
//!
//! A path is stepped through the automaton one byte at a time, from [`Roots::path`] or from the state
//! of a directory above it; the last state's class is the path class. A caller is classified once
//! ([`Tables::classify`]). A call is then `row_indices[path_classes[class].rows + operations[number]]`,
//! which names a [`Row`], each of whose diagrams is walked from its root to a leaf: at most one node
//! for each variable, however many rules there are. What is remembered between calls is in `memory`.

mod memory;

use hsci_language::{Call, DenyErrno, Facts, Judgement, NO_LOGIN, Operation, Subject, time};

use hsci_abi::tables::{
    CONDITION_ANCESTOR, CONDITION_CAPABILITY, CONDITION_DAY, CONDITION_FLAG, CONDITION_MODE,
    CONDITION_OWNER_IS_CALLER, CONDITION_SECURE, CONDITION_SINCE, CONDITION_TIME_OF_DAY, Cell,
    Condition, Decision, Edge, Effect, LEADS_ON, LEAF, MarkRule, NO_LOGIN_INDEX, NONE, Node,
    OptionEntry, OptionSet, PROBES, PathClass, Rate, Roots, Row, State, SubjectClass, Text,
    VARIABLE_CGROUP, VARIABLE_COMMAND, VARIABLE_CONDITION, VARIABLE_EXECUTABLE, VARIABLE_GROUP,
    VARIABLE_LOGIN, VARIABLE_MARK, VARIABLE_OWNER, VARIABLE_PID_NAMESPACE, VARIABLE_RATE,
    VARIABLE_TYPE, VARIABLE_USER, VARIABLE_USER_NAMESPACE, hash,
};

/// A compiled policy. Every index in it is within bounds: [`crate::compile()`] makes it so, and
/// [`Tables::read`] checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub(crate) roots: Roots,
    pub(crate) states: Vec<State>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) path_classes: Vec<PathClass>,
    /// For each path class and class of operations, an index of `rows`.
    pub(crate) row_indices: Vec<u32>,
    pub(crate) rows: Vec<Row>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) option_sets: Vec<OptionSet>,
    pub(crate) options: Vec<OptionEntry>,
    pub(crate) conditions: Vec<Condition>,
    /// The class of each operation, by its number.
    pub(crate) operations: Vec<u32>,
    pub(crate) texts: Vec<Text>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) mark_rules: Vec<MarkRule>,
    pub(crate) rates: Vec<Rate>,
    /// Names of marks by number: indices of `texts`, or [`NONE`].
    pub(crate) marks: Vec<u32>,
    /// For each class of executables, the bits of the globs of ancestors that it matches.
    pub(crate) ancestors: Vec<u32>,
}

/// What becomes of a call, as indices into the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it fails, and by which rule.
    pub decision: Decision,
    /// Index of the rule for which it is reported.
    pub audit: Option<u32>,
    /// Index of the option set; 0 is empty.
    pub options: u32,
    /// Index of the target it is in.
    pub target: Option<u32>,
    /// Index of what it does to marks if it goes on; 0 is nothing.
    pub effect: u32,
}

/// What a walk is told.
struct Known<'a> {
    subject: &'a SubjectClass,
    facts: &'a Facts,
    over: u32,
}

impl Tables {
    /// The state before a path's first byte.
    #[must_use]
    pub fn start(&self) -> u32 {
        self.roots.path
    }

    /// The state after an absolute path, which may be written `/` for the root.
    #[must_use]
    pub fn at(&self, path: &[u8]) -> u32 {
        self.step(self.start(), if path == b"/" { b"" } else { path })
    }

    /// The state among executables after an absolute path, which may be written `/` for the root.
    #[must_use]
    pub fn executable_at(&self, path: &[u8]) -> u32 {
        self.step(self.roots.executable, if path == b"/" { b"" } else { path })
    }

    /// The state after more bytes of a path: `step(state of /a, "/b")` is the state of `/a/b`.
    #[must_use]
    pub fn step(&self, state: u32, bytes: &[u8]) -> u32 {
        bytes.iter().fold(state, |state, byte| self.step_byte(state, *byte))
    }

    fn step_byte(&self, state: u32, byte: u8) -> u32 {
        let State { base, fallback, slash, .. } = self.states[state as usize];
        if byte == b'/' {
            return slash;
        }
        let cell = self.cells[base as usize + usize::from(byte)];
        if cell.owner == state { cell.next } else { fallback }
    }

    /// The path class of a state.
    #[must_use]
    pub fn class(&self, state: u32) -> u32 {
        self.states[state as usize].class & !LEADS_ON
    }

    /// True if renaming a directory from a path to another changes nothing for what is below: the paths
    /// there continue alike, or no rule matches below either that does not match the directory itself.
    #[must_use]
    pub fn may_move(&self, from: u32, to: u32) -> bool {
        let [from, to] = [from, to].map(|state| self.states[state as usize]);
        from.slash == to.slash || (from.class | to.class) & LEADS_ON == 0
    }

    /// Index of the target that paths of a class are in.
    #[must_use]
    pub fn target(&self, class: u32) -> Option<u32> {
        let target = self.path_classes[class as usize].target;
        (target != NONE).then_some(target)
    }

    /// What is remembered of a caller.
    #[must_use]
    pub fn classify(&self, subject: &Subject) -> SubjectClass {
        let roots = &self.roots;
        let class = |start, text: &[u8]| self.states[self.step(start, text) as usize].class;
        let mut groups = 0_u64;
        for gid in &subject.gids {
            let bit = self.find(roots.groups_base, roots.groups_mask, *gid).unwrap_or(0);
            groups |= 1_u64.checked_shl(bit.wrapping_sub(1)).unwrap_or(0);
        }
        let cgroup: &[u8] = if subject.cgroup == b"/" { b"" } else { &subject.cgroup };
        let (base, mask) = (roots.namespaces_base, roots.namespaces_mask);
        let namespace = |inode| self.find(base, mask, inode).unwrap_or(0);
        let login =
            if subject.login == NO_LOGIN { NO_LOGIN_INDEX } else { self.user(subject.login) };
        let ancestors = subject.ancestors.iter().map(|path| class(roots.executable, path));
        let bits = |class: u32| self.ancestors.get(class as usize).copied().unwrap_or(0);
        SubjectClass {
            uid: subject.uid,
            user: self.user(subject.uid),
            executable: class(roots.executable, &subject.executable),
            command: class(roots.command, &subject.command),
            cgroup: class(roots.cgroup, cgroup),
            pid_namespace: namespace(subject.pid_namespace),
            groups_low: groups as u32,
            groups_high: (groups >> 32) as u32,
            marks_low: 0,
            marks_high: 0,
            capabilities_low: subject.capabilities as u32,
            capabilities_high: (subject.capabilities >> 32) as u32,
            login,
            user_namespace: namespace(subject.user_namespace),
            ancestors: ancestors.map(bits).fold(0, |all, bits| all | bits),
            secure: subject.secure.into(),
        }
    }

    fn user(&self, uid: u32) -> u32 {
        self.find(self.roots.users_base, self.roots.users_mask, uid).unwrap_or(0)
    }

    /// Looks a key up in a hash area.
    fn find(&self, base: u32, mask: u32, value: u32) -> Option<u32> {
        let first = (base + hash(value, mask)) as usize;
        let slots = &self.edges[first..first + PROBES as usize];
        // Keys are put into the first free slot, so that none lies behind one.
        let taken = slots.iter().take_while(|edge| edge.value != NONE);
        taken.filter(|edge| edge.value == value).map(|edge| edge.next).next()
    }

    fn row(&self, operation: Operation, class: u32) -> Row {
        let column = self.operations[usize::from(operation.number())];
        let first = self.path_classes[class as usize].rows;
        self.rows[self.row_indices[(first + column) as usize] as usize]
    }

    /// The rates that count a call of a classified caller on a path of the given class, as bits.
    #[must_use]
    pub fn counted(
        &self,
        operation: Operation,
        class: u32,
        subject: &SubjectClass,
        facts: &Facts,
    ) -> u32 {
        self.walk(self.row(operation, class).counted, &Known { subject, facts, over: 0 })
    }

    /// Decides a call of a classified caller on a path of the given class. `over` has the rates, among those
    /// that count it, which are exceeded.
    #[must_use]
    pub fn verdict(
        &self,
        operation: Operation,
        class: u32,
        (subject, over): (&SubjectClass, u32),
        facts: &Facts,
    ) -> Verdict {
        let known = Known { subject, facts, over };
        let target = self.path_classes[class as usize].target;
        let row = self.row(operation, class);
        let decision = self.walk(row.decision, &known);
        let audit = self.walk(row.audit, &known);
        Verdict {
            decision: self.decisions[decision as usize],
            audit: audit.checked_sub(1),
            options: self.walk(row.options, &known),
            target: (target != NONE).then_some(target),
            effect: self.walk(row.effects, &known),
        }
    }

    /// Walks a diagram to its leaf. Each step leads to a greater variable, so that it ends.
    fn walk(&self, mut at: u32, known: &Known<'_>) -> u32 {
        while at & LEAF == 0 {
            let Node { variable, fallback, base, mask } = self.nodes[at as usize];
            at = if variable >= VARIABLE_GROUP {
                if self.bit(variable, known) { base } else { fallback }
            } else {
                let value = self.value(variable, known);
                self.find(base, mask, value).unwrap_or(fallback)
            };
        }
        at & !LEAF
    }

    fn value(&self, variable: u32, Known { subject, facts, .. }: &Known<'_>) -> u32 {
        match variable {
            VARIABLE_USER => subject.user,
            VARIABLE_OWNER => self.user(facts.owner),
            VARIABLE_EXECUTABLE => subject.executable,
            VARIABLE_COMMAND => subject.command,
            VARIABLE_CGROUP => subject.cgroup,
            VARIABLE_PID_NAMESPACE => subject.pid_namespace,
            VARIABLE_LOGIN => subject.login,
            VARIABLE_USER_NAMESPACE => subject.user_namespace,
            VARIABLE_TYPE => u32::from(facts.file_type.number()),
            _ => NONE,
        }
    }

    fn bit(&self, variable: u32, Known { subject, facts, over }: &Known<'_>) -> bool {
        let bits = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        match variable {
            ..VARIABLE_CONDITION => {
                let groups = bits(subject.groups_low, subject.groups_high);
                return groups >> (variable - VARIABLE_GROUP) & 1 != 0;
            }
            VARIABLE_RATE.. => return over >> (variable - VARIABLE_RATE) & 1 != 0,
            VARIABLE_MARK.. => {
                let marks = bits(subject.marks_low, subject.marks_high);
                return marks >> (variable - VARIABLE_MARK) & 1 != 0;
            }
            _ => {}
        }
        let condition = self.conditions[(variable - VARIABLE_CONDITION) as usize];
        match condition.kind {
            CONDITION_FLAG => facts.flags >> condition.argument & 1 != 0,
            CONDITION_OWNER_IS_CALLER => facts.owner == subject.uid,
            CONDITION_MODE => facts.mode & condition.argument != 0,
            CONDITION_TIME_OF_DAY => {
                time::is_between(time::minute(facts.time), condition.low, condition.high)
            }
            CONDITION_DAY => time::day(facts.time) == condition.argument,
            CONDITION_CAPABILITY => {
                bits(subject.capabilities_low, subject.capabilities_high) >> condition.argument & 1
                    != 0
            }
            CONDITION_SECURE => subject.secure != 0,
            CONDITION_ANCESTOR => subject.ancestors >> condition.argument & 1 != 0,
            CONDITION_SINCE => facts.time >= bits(condition.low, condition.high),
            // The only other kind there is: a size.
            _ => facts.size >= bits(condition.low, condition.high),
        }
    }

    /// Number of option sets.
    #[must_use]
    pub fn option_sets(&self) -> u32 {
        self.option_sets.len() as u32
    }

    /// The options of a set: name, value, and index of the rule that sets it.
    pub fn option_set(&self, index: u32) -> impl Iterator<Item = (&str, &str, u32)> {
        let OptionSet { first, count } = self.option_sets[index as usize];
        let entries = &self.options[first as usize..(first + count) as usize];
        entries.iter().map(|entry| (self.text(entry.key), self.text(entry.value), entry.rule))
    }

    fn text(&self, index: u32) -> &str {
        let Text { first, len } = self.texts[index as usize];
        let bytes = &self.bytes[first as usize..(first + len) as usize];
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Decides a call from its start, in the words of the language.
    #[must_use]
    pub fn judge(&self, call: &Call) -> Judgement {
        let class = self.class(self.step(self.start(), &call.path));
        let mut subject = self.classify(&call.subject);
        let marks = call.memory.marks;
        (subject.marks_low, subject.marks_high) = (marks as u32, (marks >> 32) as u32);
        let counted = self.counted(call.operation, class, &subject, &call.facts);
        let over = call.memory.over;
        let verdict = self.verdict(call.operation, class, (&subject, over), &call.facts);
        self.judgement(&verdict, counted)
    }

    /// A verdict in the words of the language.
    #[must_use]
    pub fn judgement(&self, verdict: &Verdict, counted: u32) -> Judgement {
        let options = self.option_set(verdict.options);
        let marks = self.mark_rules(verdict.effect);
        Judgement {
            marks: marks.map(|(mark, sets, rule)| (mark as usize, (sets, rule as usize))).collect(),
            counted,
            denied: u16::try_from(verdict.decision.errno).ok().and_then(DenyErrno::from_number),
            decider: (verdict.decision.rule != NONE).then_some(verdict.decision.rule as usize),
            auditor: verdict.audit.map(|rule| rule as usize),
            options: options
                .map(|(key, value, rule)| (key.to_owned(), (value.to_owned(), rule as usize)))
                .collect(),
            target: verdict.target.map(|target| target as usize),
        }
    }

    /// Number of bytes that the tables take, in memory and in maps.
    #[must_use]
    pub fn size(&self) -> usize {
        self.image().len()
    }

    /// Number of rules of the policy.
    #[must_use]
    pub fn rules(&self) -> u32 {
        self.roots.rules
    }

    /// Number of states of the automaton.
    #[must_use]
    pub fn states(&self) -> usize {
        self.states.len()
    }

    /// Number of path classes.
    #[must_use]
    pub fn path_classes(&self) -> usize {
        self.path_classes.len()
    }

    /// Number of nodes of all diagrams.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }
}
