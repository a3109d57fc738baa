//! A checked policy: every name is resolved, every rule can decide something.

use crate::call::{FileType, OpenFlag, Subject};
use crate::errno::DenyErrno;
use crate::glob::{Glob, Pattern};
use crate::operation::{Operation, Operations};
use crate::span::Span;
use crate::{Call, interpreter::Judgement};

/// A policy that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is redirected. No path is in two of them.
    pub targets: Vec<Target>,
    /// In the order of the text, which decides: of all rules that match, the last one wins.
    pub rules: Vec<Rule>,
    /// Assertions kept beside the rules. They have no part in judging.
    pub expectations: Vec<Expectation>,
}

/// Directories, or single files, whose calls an extension serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What rules call it.
    pub name: String,
    /// Where it may be: absolute, without `**`.
    pub root: Glob,
    /// Which extension serves it.
    pub extension: String,
    /// Options of the extension.
    pub options: Vec<(String, String)>,
    /// The statement.
    pub span: Span,
}

/// What becomes of the calls that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Index of the target it speaks of; nothing for rules about absolute paths.
    pub target: Option<usize>,
    /// For which operations.
    pub operations: Operations,
    /// For which paths: below the target's root, or absolute. At least one.
    pub globs: Vec<Glob>,
    /// For which subjects and facts.
    pub predicate: Predicate,
    /// What then.
    pub verdict: Verdict,
    /// The statement.
    pub span: Span,
}

/// What a rule says about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It fails.
    Deny(DenyErrno),
    /// It is reported, whatever becomes of it.
    Audit,
    /// The extension is told these options; each key stands once.
    Set(Vec<(String, String)>),
}

/// A condition on who calls and on what is known about the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// Always true if all of none.
    All(Vec<Predicate>),
    /// Never true if any of none.
    Any(Vec<Predicate>),
    /// The opposite.
    Not(Box<Predicate>),
    /// A fact.
    Atom(Atom),
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Atom {
    /// The caller's user id.
    User(u32),
    /// One of the caller's group ids.
    Group(u32),
    /// The path of the caller's executable.
    Executable(Glob),
    /// The caller's command name; not absolute.
    Command(Glob),
    /// The path of the caller's cgroup.
    Cgroup(Glob),
    /// The inode number of the caller's pid namespace.
    PidNamespace(u32),
    /// An open flag is set.
    Flag(OpenFlag),
    /// The type of the object.
    Type(FileType),
    /// The owner of the object.
    Owner(u32),
    /// The owner of the object is the caller.
    OwnerIsCaller,
    /// The size of the object is at least this many bytes.
    SizeAtLeast(u64),
}

impl Predicate {
    /// True for every call.
    #[must_use]
    pub fn always() -> Self {
        Self::All(Vec::new())
    }
}

impl Rule {
    /// The absolute patterns of the paths it speaks of.
    #[must_use]
    pub fn patterns(&self, targets: &[Target]) -> Vec<Pattern> {
        let globs = self.globs.iter().flat_map(|glob| &glob.patterns);
        match self.target {
            None => globs.cloned().collect(),
            Some(index) => {
                let roots = &targets[index].root.patterns;
                globs.flat_map(|glob| roots.iter().map(|root| glob.below(root))).collect()
            }
        }
    }
}

/// An assertion: what must become of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The call.
    pub call: Call,
    /// All of these must hold.
    pub outcomes: Vec<(bool, Outcome)>,
    /// The statement.
    pub span: Span,
}

/// One thing that an expectation says; the flag beside it is false after `not`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call is not denied.
    Pass,
    /// It is denied, with this error if one is named.
    Deny(Option<DenyErrno>),
    /// It is reported.
    Audit,
    /// It is in this target, or in any.
    Redirect(Option<usize>),
    /// The extension is told this option.
    Set(String, String),
}

impl Outcome {
    /// True if a judgement is so.
    #[must_use]
    pub fn holds(&self, judgement: &Judgement) -> bool {
        match self {
            Self::Pass => judgement.denied.is_none(),
            Self::Deny(None) => judgement.denied.is_some(),
            Self::Deny(errno) => judgement.denied == *errno,
            Self::Audit => judgement.auditor.is_some(),
            Self::Redirect(None) => judgement.target.is_some(),
            Self::Redirect(target) => judgement.target == *target,
            Self::Set(key, value) => {
                judgement.options.get(key).is_some_and(|(set, _)| set == value)
            }
        }
    }
}

/// A call that nothing is known of but operation, path and subject.
impl Call {
    /// The subject does `operation` to a regular file of its own at `path`.
    #[must_use]
    pub fn new(operation: Operation, path: &[u8], subject: Subject) -> Self {
        let facts = crate::call::Facts::of_owner(subject.uid);
        Self { operation, path: path.to_vec(), subject, facts }
    }
}
