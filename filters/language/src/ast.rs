//! What a policy says, before anybody knows what its names mean.

use crate::span::{Span, Spanned};

pub(crate) type Word = Spanned<String>;

#[derive(Debug)]
pub(crate) enum Statement {
    Target(Target),
    List(List),
    Parameter(Parameter),
    Include(Include),
    Rule(Rule),
    Expect(Expect),
}

#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: Word,
    /// The glob of its root.
    pub(crate) root: Word,
    /// What serves it, the topmost first.
    pub(crate) stack: Vec<Served>,
    /// Flags of the mount.
    pub(crate) flags: Vec<Word>,
    pub(crate) span: Span,
}

/// An extension in a stack.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) extension: Word,
    pub(crate) options: Vec<Setting>,
}

#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: Word,
    pub(crate) value: Word,
}

#[derive(Debug)]
pub(crate) struct List {
    pub(crate) name: Word,
    pub(crate) values: Vec<Word>,
}

/// `let name = value`.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Word,
    /// As it was written, without quotes.
    pub(crate) value: String,
}

/// `include "FILE"`.
#[derive(Debug)]
pub(crate) struct Include {
    pub(crate) file: Word,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct Rule {
    /// What a process has to have done before.
    pub(crate) after: Option<Trigger>,
    pub(crate) target: Option<Word>,
    pub(crate) verdict: Verdict,
    /// None if it has no path at all.
    pub(crate) globs: Vec<Word>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) label: Label,
    pub(crate) span: Span,
}

/// What a rule says of itself.
#[derive(Debug, Default)]
pub(crate) struct Label {
    pub(crate) name: Option<Word>,
    pub(crate) reason: Option<Word>,
    pub(crate) severity: Option<Word>,
}

/// What `after` names.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) operations: Vec<Word>,
    pub(crate) globs: Vec<Word>,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Deny {
        errno: Option<Word>,
        operations: Vec<Word>,
    },
    Pass {
        operations: Vec<Word>,
    },
    Audit {
        operations: Vec<Word>,
    },
    Set {
        settings: Vec<Setting>,
    },
    /// `mark` sets, `unmark` clears.
    Mark {
        sets: bool,
        name: Word,
        operations: Vec<Word>,
    },
}

#[derive(Debug)]
pub(crate) struct Condition {
    /// True for `unless`.
    pub(crate) negated: bool,
    pub(crate) predicate: Predicate,
}

#[derive(Debug)]
pub(crate) enum Predicate {
    Not(Box<Predicate>),
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    /// A word and any of some values.
    Atom {
        name: Word,
        values: Vec<Value>,
    },
    /// `size >= 1M`: the comparison and the number.
    Size {
        comparison: &'static str,
        size: Word,
    },
    /// `rate > 200 per 10s`.
    Rate(Rate),
}

#[derive(Debug)]
pub(crate) struct Rate {
    pub(crate) limit: Word,
    pub(crate) period: Word,
    pub(crate) per_user: bool,
    pub(crate) span: Span,
}

/// One value of a predicate.
#[derive(Debug)]
pub(crate) enum Value {
    Word(Word),
    Text(Word),
    List(Word),
}

#[derive(Debug)]
pub(crate) struct Expect {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) operation: Word,
    pub(crate) path: Word,
    pub(crate) facts: Vec<Fact>,
    pub(crate) span: Span,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) negated: bool,
    pub(crate) name: Word,
    /// What stands in parentheses after `deny`, the target after `redirect`, the name after `mark`.
    pub(crate) argument: Option<Word>,
    /// The setting after `set`.
    pub(crate) setting: Option<Setting>,
}

#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: Word,
    pub(crate) value: Word,
}
