//! What the rules say for each class of paths and each class of operations.

use std::collections::HashMap;

use hsci_language::policy::Verdict;
use hsci_language::{Operation, Operations, Policy};

use super::subjects::Subjects;
use super::{Scopes, emit};
use crate::Limit;
use crate::diagram::{Diagram, Diagrams, Join, leaf};
use crate::tables::Tables;
use hsci_abi::tables::{Decision, NONE, PathClass, Row};

/// The questions that rules answer: fails it, is it reported, with which options, which marks are set and
/// cleared, and which rates count it.
const ASPECTS: usize = 5;
const COUNTED: usize = 4;
const JOINS: [Join; ASPECTS] = [Join::Over, Join::Over, Join::Options, Join::Options, Join::Bits];

/// The diagrams of all rows, as they grow class by class.
pub(super) struct Rows<'a> {
    scopes: &'a Scopes,
    pub(super) diagrams: Diagrams,
    /// The diagram of each rule.
    rules: Vec<Diagram>,
    /// For each rule with a rate, which calls the rate counts.
    counting: HashMap<u32, Diagram>,
    /// One operation of each class, and the class of each operation.
    representatives: Vec<Operation>,
    operations: Vec<u32>,
    /// For each class of operations and question: for each scope, the rules that answer it.
    lists: Vec<[Vec<Vec<u32>>; ASPECTS]>,
    /// Diagrams of sets of scopes that were asked for already.
    known: HashMap<(usize, usize, Vec<u32>), Diagram>,
    /// Diagrams of runs of rules within a scope: class of operations, question, scope, first, end.
    runs: HashMap<(usize, usize, u32, usize, usize), Diagram>,
    known_rows: HashMap<Row, u32>,
    pub(super) rows: Vec<Row>,
    pub(super) indices: Vec<u32>,
    pub(super) classes: Vec<PathClass>,
    pub(super) decisions: Vec<Decision>,
    pub(super) texts: Vec<String>,
    /// Names of marks, as indices of texts.
    pub(super) marks: Vec<u32>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        policy: &Policy,
        scopes: &'a Scopes,
        subjects: &Subjects,
    ) -> Result<Self, Limit> {
        let (representatives, operations) = operation_classes(policy);
        let of_class = |operation: &Operation| {
            std::array::from_fn(|question| {
                let answers = |rule: &u32| {
                    let counts = policy.rates.iter().any(|rate| rate.rule == *rule as usize);
                    let rule = &policy.rules[*rule as usize];
                    let answers = match question {
                        COUNTED => counts,
                        _ => aspect(&rule.verdict) == question,
                    };
                    answers && rule.operations.contains(*operation)
                };
                let of_scope =
                    |rules: &Vec<u32>| rules.iter().copied().filter(answers).collect::<Vec<_>>();
                scopes.rules.iter().map(of_scope).collect()
            })
        };
        let mut rows = Self {
            scopes,
            diagrams: Diagrams::new(),
            rules: Vec::new(),
            counting: HashMap::new(),
            lists: representatives.iter().map(of_class).collect(),
            representatives,
            operations,
            known: HashMap::new(),
            runs: HashMap::new(),
            known_rows: HashMap::new(),
            rows: Vec::new(),
            indices: Vec::new(),
            classes: Vec::new(),
            decisions: vec![Decision { errno: 0, rule: NONE }],
            texts: Vec::new(),
            marks: Vec::new(),
        };
        rows.read_rules(policy, subjects)?;
        Ok(rows)
    }

    fn read_rules(&mut self, policy: &Policy, subjects: &Subjects) -> Result<(), Limit> {
        let mut texts: HashMap<String, u32> = HashMap::new();
        for (index, rule) in policy.rules.iter().enumerate() {
            let condition = subjects.diagram(&rule.predicate, &mut self.diagrams)?;
            let index = index as u32;
            let answer = match &rule.verdict {
                Verdict::Pass => self.decision(0, index),
                Verdict::Deny(errno) => self.decision(u32::from(errno.number()), index),
                Verdict::Audit => leaf(index + 1),
                Verdict::Set(settings) => {
                    let mut intern = |text: &String| {
                        *texts.entry(text.clone()).or_insert_with(|| {
                            self.texts.push(text.clone());
                            self.texts.len() as u32 - 1
                        })
                    };
                    let set =
                        settings.iter().map(|(key, value)| (intern(key), intern(value), index));
                    let mut set: Vec<_> = set.collect();
                    set.sort_unstable();
                    self.diagrams.options(set)
                }
                Verdict::Mark { mark, sets } => {
                    self.diagrams.options(vec![(*mark as u32, u32::from(*sets), index)])
                }
            };
            let answer = answer & !hsci_abi::tables::LEAF;
            let name = |value| if value == 0 { 0 } else { answer };
            self.rules.push(self.diagrams.rename(condition, &name, &mut HashMap::new())?);
        }
        for name in &policy.marks {
            self.marks.push(if name.is_empty() { NONE } else { self.texts.len() as u32 });
            self.texts.extend((!name.is_empty()).then(|| name.clone()));
        }
        self.read_rates(policy, subjects)
    }

    fn read_rates(&mut self, policy: &Policy, subjects: &Subjects) -> Result<(), Limit> {
        for (number, rate) in policy.rates.iter().enumerate() {
            let predicate = policy.rules[rate.rule].predicate.without_rates();
            let condition = subjects.diagram(&predicate, &mut self.diagrams)?;
            let name = |value| value << number;
            let counting = self.diagrams.rename(condition, &name, &mut HashMap::new())?;
            self.counting.insert(rate.rule as u32, counting);
        }
        Ok(())
    }

    fn rule(&self, question: usize, rule: u32) -> Diagram {
        if question == COUNTED { self.counting[&rule] } else { self.rules[rule as usize] }
    }

    fn decision(&mut self, errno: u32, rule: u32) -> Diagram {
        self.decisions.push(Decision { errno, rule });
        leaf(self.decisions.len() as u32 - 1)
    }

    /// Adds a class of paths, given what they match.
    pub(super) fn add_class(&mut self, accepts: &[u32]) -> Result<(), Limit> {
        let scopes = self.scopes;
        let (scopes, target) = scopes.split(accepts);
        self.classes.push(PathClass { target, rows: self.indices.len() as u32 });
        for class in 0..self.representatives.len() {
            let mut row = [0; ASPECTS];
            for (question, diagram) in row.iter_mut().enumerate() {
                *diagram = self.scopes_diagram(class, question, scopes)?;
            }
            let [decision, audit, options, effects, counted] = row;
            let row = Row { decision, audit, options, effects, counted };
            let index = *self.known_rows.entry(row).or_insert_with(|| {
                self.rows.push(row);
                self.rows.len() as u32 - 1
            });
            self.indices.push(index);
        }
        Ok(())
    }

    /// The diagram of all rules of some scopes that answer a question.
    fn scopes_diagram(
        &mut self,
        class: usize,
        question: usize,
        scopes: &[u32],
    ) -> Result<Diagram, Limit> {
        let lists = &self.lists[class][question];
        let answering = scopes.iter().copied().filter(|scope| !lists[*scope as usize].is_empty());
        let answering: Vec<u32> = answering.collect();
        if answering.is_empty() {
            return Ok(leaf(0));
        }
        let key = (class, question, answering);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        // The scope with most rules is cut into runs between the rules of the others.
        let by_len = |scope: &&u32| lists[**scope as usize].len();
        let main = *key.2.iter().max_by_key(by_len).expect("not empty");
        let others = key.2.iter().filter(|scope| **scope != main);
        let mut others: Vec<u32> =
            others.flat_map(|scope| lists[*scope as usize].iter().copied()).collect();
        others.sort_unstable();
        let list = &lists[main as usize];
        let mut parts = Vec::new();
        let mut from = 0;
        for other in others {
            let to = list.partition_point(|rule| *rule < other);
            parts.push((from, to, Some(other)));
            from = to;
        }
        parts.push((from, list.len(), None));
        let mut diagrams = Vec::new();
        for (from, to, other) in parts {
            if from < to {
                diagrams.push(self.run(class, question, main, from, to)?);
            }
            diagrams.extend(other.map(|rule| self.rule(question, rule)));
        }
        // Later rules come first when they are joined.
        diagrams.reverse();
        let diagram = self.diagrams.join_all(JOINS[question], &diagrams)?;
        self.known.insert(key, diagram);
        Ok(diagram)
    }

    /// The diagram of a run of a scope's rules. Runs are cut at multiples of powers of two, so that
    /// runs which overlap share most of their parts.
    fn run(
        &mut self,
        class: usize,
        question: usize,
        scope: u32,
        from: usize,
        to: usize,
    ) -> Result<Diagram, Limit> {
        if to - from == 1 {
            let rule = self.lists[class][question][scope as usize][from];
            return Ok(self.rule(question, rule));
        }
        let key = (class, question, scope, from, to);
        if let Some(known) = self.runs.get(&key) {
            return Ok(*known);
        }
        // The most round number between the two.
        let step = 1 << ((from ^ (to - 1)).ilog2());
        let middle = (to - 1) / step * step;
        let earlier = self.run(class, question, scope, from, middle)?;
        let later = self.run(class, question, scope, middle, to)?;
        let diagram = self.diagrams.join(JOINS[question], later, earlier)?;
        self.runs.insert(key, diagram);
        Ok(diagram)
    }

    /// Writes rows, diagrams and what they lead to. Returns the rules that decide nothing.
    pub(super) fn emit(self, tables: &mut Tables) -> Vec<usize> {
        let mut operations = self.operations.clone();
        operations.resize(Operations::MAX, 0);
        tables.operations = operations;
        tables.roots.operation_classes = self.representatives.len() as u32;
        let rules = self.rules.len();
        let used = emit::rows(self, tables);
        (0..rules).filter(|rule| !used.contains(&(*rule as u32))).collect()
    }
}

fn aspect(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Pass | Verdict::Deny(_) => 0,
        Verdict::Audit => 1,
        Verdict::Set(_) => 2,
        Verdict::Mark { .. } => 3,
    }
}

/// Operations that every rule treats alike are one class.
fn operation_classes(policy: &Policy) -> (Vec<Operation>, Vec<u32>) {
    let mut sets: Vec<Operations> = Vec::new();
    for rule in &policy.rules {
        if !sets.contains(&rule.operations) {
            sets.push(rule.operations);
        }
    }
    let kind = |operation: &Operation| -> Vec<bool> {
        sets.iter().map(|set| set.contains(*operation)).collect()
    };
    let mut representatives: Vec<Operation> = Vec::new();
    let mut classes = Vec::new();
    for operation in Operation::ALL {
        let same = |known: &Operation| kind(known) == kind(operation);
        let class = representatives.iter().position(same).unwrap_or_else(|| {
            representatives.push(*operation);
            representatives.len() - 1
        });
        classes.push(class as u32);
    }
    (representatives, classes)
}
