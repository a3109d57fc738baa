//! Statements to a policy: names are resolved, and everything is judged that one statement shows.

mod expect;
mod memory;
mod predicate;
mod rule;
mod target;

pub(crate) use predicate::PREDICATES;

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis;
use crate::ast::{List, Statement, Word};
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::{self, Glob, Lists};
use crate::names::Names;
use crate::parser;
use crate::policy::{Policy, Rate};
use crate::span::Span;

/// What a check has found.
#[derive(Debug)]
pub struct Checked {
    /// The policy, unless there is an error.
    pub policy: Option<Policy>,
    /// Errors and warnings in the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a policy and checks it. All errors of a text are found in one run.
#[must_use]
pub fn check(text: &str, names: &dyn Names) -> Checked {
    let (statements, diagnostics) = parser::parse(text);
    let mut checker = Checker::new(names, diagnostics);
    checker.declare(&statements);
    for statement in &statements {
        if let Statement::Rule(rule) = statement {
            checker.rule(rule);
        }
    }
    for statement in &statements {
        if let Statement::Expect(expect) = statement {
            checker.expect(expect);
        }
    }
    checker.unused_lists();
    checker.unused_marks();
    checker.finish()
}

struct Checker<'a> {
    names: &'a dyn Names,
    lists: Lists,
    list_places: BTreeMap<String, Span>,
    used_lists: BTreeSet<String>,
    /// Targets that were refused: rules which name them are not to blame.
    broken_targets: BTreeSet<String>,
    /// Names of rules, with their places.
    rule_names: BTreeMap<String, Span>,
    marks: memory::Marks,
    /// The rate of the rule that is being read, and its place.
    rate: Option<(Rate, Span)>,
    policy: Policy,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn new(names: &'a dyn Names, diagnostics: Vec<Diagnostic>) -> Self {
        Self {
            names,
            lists: Lists::new(),
            list_places: BTreeMap::new(),
            used_lists: BTreeSet::new(),
            broken_targets: BTreeSet::new(),
            rule_names: BTreeMap::new(),
            marks: memory::Marks::default(),
            rate: None,
            policy: Policy::default(),
            diagnostics,
        }
    }

    /// Lists first, then targets: they may be used before the line that makes them.
    fn declare(&mut self, statements: &[Statement]) {
        for statement in statements {
            if let Statement::List(list) = statement {
                self.list(list);
            }
        }
        for statement in statements {
            if let Statement::Target(target) = statement {
                self.target(target);
            }
        }
        self.overlapping_targets();
        for statement in statements {
            if let Statement::Rule(rule) = statement {
                self.declare_marks(rule);
            }
        }
    }

    fn list(&mut self, list: &List) {
        let List { name, values } = list;
        if let Some(first) = self.list_places.get(&name.value) {
            let diagnostic = repeated("list", name, *first);
            self.diagnostics.push(diagnostic);
            return;
        }
        if values.is_empty() {
            let title = format!("list `{}` is empty", name.value);
            let diagnostic = Diagnostic::new(Code::EmptyList, name.span, title);
            self.diagnostics.push(diagnostic.hint("name at least one value, or remove the list"));
        }
        let values = values.iter().map(|value| value.value.clone()).collect();
        self.lists.insert(name.value.clone(), values);
        self.list_places.insert(name.value.clone(), name.span);
    }

    fn unused_lists(&mut self) {
        for (name, span) in &self.list_places {
            if !self.used_lists.contains(name) {
                let title = format!("list `{name}` is never used");
                let diagnostic = Diagnostic::new(Code::UnusedList, *span, title);
                let hint = format!("write `${name}` where its values are meant, or remove it");
                self.diagnostics.push(diagnostic.hint(hint));
            }
        }
    }

    /// Reads a glob, or says why it cannot be read.
    fn glob(&mut self, written: &Word) -> Option<Glob> {
        let text = &written.value;
        let uses_lists = text.contains('$');
        if uses_lists {
            let used = self.lists.keys().filter(|name| text.contains(&format!("${name}")));
            self.used_lists.extend(used.cloned());
        }
        match glob::parse(text, &self.lists) {
            Ok(patterns) => Some(Glob { text: text.clone(), patterns }),
            Err(fault) => {
                // The text begins after the quote.
                let start = written.span.start as usize + 1;
                let span = Span::new(start + fault.start, start + fault.end);
                let diagnostic = Diagnostic::new(fault.code, span, fault.title).hint(fault.hint);
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }

    fn finish(mut self) -> Checked {
        let has_errors = self.diagnostics.iter().any(Diagnostic::is_error);
        if !has_errors {
            self.diagnostics.extend(analysis::analyse(&self.policy));
        }
        let has_errors = self.diagnostics.iter().any(Diagnostic::is_error);
        self.diagnostics.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.code));
        let policy = (!has_errors).then_some(self.policy);
        Checked { policy, diagnostics: self.diagnostics }
    }
}

fn repeated(what: &str, name: &Word, first: Span) -> Diagnostic {
    let title = format!("there is a {what} `{}` already", name.value);
    Diagnostic::new(Code::RepeatedName, name.span, title)
        .label("again here")
        .related(first, "first here")
        .hint("rename one of them")
}
