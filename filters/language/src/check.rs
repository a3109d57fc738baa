//! Statements to a policy: names are resolved, and everything is judged that one statement shows.

mod expect;
mod memory;
mod predicate;
mod rule;
mod target;

pub(crate) use predicate::{SECURE_EXE, predicates};

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::analysis;
use crate::ast::{Include, List, Parameter, Statement, Word};
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::{self, Glob, Lists};
use crate::names::Names;
use crate::parser::{self, Values};
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
    check_parts(text, std::slice::from_ref(&(0..text.len())), &BTreeMap::new(), names)
}

/// Checks a policy whose text has been put together from files: each part holds whole statements, and what lies
/// between them is skipped. Parameters that are given take the place of the values in the text.
#[must_use]
pub fn check_parts(
    text: &str,
    parts: &[Range<usize>],
    given: &BTreeMap<String, String>,
    names: &dyn Names,
) -> Checked {
    let first = parser::parse(text, parts, &Values::new());
    let values = values(&first.statements, given);
    let read = if values.is_empty() { first } else { parser::parse(text, parts, &values) };
    let parser::Read { statements, diagnostics, used } = read;
    let mut checker = Checker::new(names, diagnostics);
    checker.used_lists = used;
    checker.parameters = values;
    checker.given(given);
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

/// What a policy includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The file, as it was written.
    pub file: String,
    /// The statement, which is none of the policy put together.
    pub span: Span,
}

/// The files that a text includes, in its order, and whether there are rules in it.
#[must_use]
pub fn inclusions(text: &str) -> (Vec<Inclusion>, bool) {
    let whole = 0..text.len();
    let read = parser::parse(text, std::slice::from_ref(&whole), &Values::new());
    let includes = read.statements.iter().filter_map(|statement| match statement {
        Statement::Include(Include { file, span }) => {
            Some(Inclusion { file: file.value.clone(), span: *span })
        }
        _ => None,
    });
    let is_rule = |statement: &Statement| matches!(statement, Statement::Rule(_));
    (includes.collect(), read.statements.iter().any(is_rule))
}

/// The values of a policy's parameters.
fn values(statements: &[Statement], given: &BTreeMap<String, String>) -> Values {
    let parameters = statements.iter().filter_map(|statement| match statement {
        Statement::Parameter(Parameter { name, value }) => Some((name.value.clone(), value)),
        _ => None,
    });
    let mut values = Values::new();
    for (name, value) in parameters {
        let value = given.get(&name).unwrap_or(value).clone();
        values.entry(name).or_insert(value);
    }
    values
}

/// The list of all home directories.
const HOME: &str = "home";

struct Checker<'a> {
    names: &'a dyn Names,
    lists: Lists,
    list_places: BTreeMap<String, Span>,
    used_lists: BTreeSet<String>,
    parameters: Values,
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
            parameters: Values::new(),
            broken_targets: BTreeSet::new(),
            rule_names: BTreeMap::new(),
            marks: memory::Marks::default(),
            rate: None,
            policy: Policy::default(),
            diagnostics,
        }
    }

    /// Lists and parameters first, then targets: they may be used before the line that makes them.
    fn declare(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::List(list) => self.list(list),
                Statement::Parameter(parameter) => self.parameter(parameter),
                Statement::Include(include) => self.not_included(include),
                _ => {}
            }
        }
        self.homes();
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
        if self.is_taken("list", name) {
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

    /// True if there is a list or a parameter of that name.
    fn is_taken(&mut self, what: &str, name: &Word) -> bool {
        let first = self.list_places.get(&name.value).copied();
        self.diagnostics.extend(first.map(|first| repeated(what, name, first)));
        first.is_some()
    }

    /// A parameter is a list of one value, and stands for it where lists cannot.
    fn parameter(&mut self, Parameter { name, .. }: &Parameter) {
        let value = self.parameters.get(&name.value).cloned().unwrap_or_default();
        if !self.is_taken("parameter", name) {
            self.lists.insert(name.value.clone(), vec![value]);
            self.list_places.insert(name.value.clone(), name.span);
        }
    }

    /// What is given from outside is known to the policy, and takes the place of its own values.
    fn given(&mut self, given: &BTreeMap<String, String>) {
        for name in given.keys().filter(|name| !self.parameters.contains_key(*name)) {
            let title = format!("the policy has no parameter `{name}`");
            let otherwise = format!("a policy that has one says `let {name} = VALUE`");
            let diagnostic = Diagnostic::new(Code::UnknownParameter, Span::default(), title);
            let known = self.parameters.keys().map(String::as_str);
            self.diagnostics.push(diagnostic.did_you_mean(name, known, &otherwise));
        }
    }

    /// `$home` is any home directory, unless the policy says something else.
    fn homes(&mut self) {
        if !self.lists.contains_key(HOME) {
            self.lists.insert(HOME.to_owned(), self.names.homes());
        }
    }

    fn not_included(&mut self, Include { file, span }: &Include) {
        let title = format!("`{}` is not included here", file.value);
        let diagnostic = Diagnostic::new(Code::BadInclude, *span, title);
        self.diagnostics.push(diagnostic.hint("files include files, and texts nothing"));
    }

    fn unused_lists(&mut self) {
        for (name, span) in &self.list_places {
            if !self.used_lists.contains(name) {
                let (code, what) = match self.parameters.contains_key(name) {
                    true => (Code::UnusedParameter, "parameter"),
                    false => (Code::UnusedList, "list"),
                };
                let title = format!("{what} `{name}` is never used");
                let diagnostic = Diagnostic::new(code, *span, title);
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
                let end = written.span.end as usize;
                // What a parameter stands for is not here: the whole of it is to blame.
                let span = match start + fault.end < end {
                    true => Span::new(start + fault.start, start + fault.end),
                    false => written.span,
                };
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
