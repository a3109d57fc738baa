//! A checked policy: every name is resolved, every rule can decide something.

use crate::call::{FileType, Memory, OpenFlag, Subject};
use crate::errno::DenyErrno;
use crate::glob::{Glob, Pattern};
use crate::operation::{Operation, Operations};
use crate::span::Span;
use crate::{Call, interpreter::Judgement};

pub use hsci_abi::tables::{MAX_MARKS, MAX_RATES};

/// A policy that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What is redirected. No path is in two of them.
    pub targets: Vec<Target>,
    /// In the order of the text, which decides: of all rules that match, the last one wins.
    pub rules: Vec<Rule>,
    /// Names of the marks, by their numbers. A number without a mark has an empty name.
    pub marks: Vec<String>,
    /// The rates, in the order of the rules that ask for them.
    pub rates: Vec<Rate>,
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
    /// Which extensions serve it, the topmost first; at least one.
    pub extensions: Vec<String>,
    /// Options of the extensions. No two of these have an option of one name.
    pub options: Vec<(String, String)>,
    /// Flags of the mount, some of [`MOUNT_FLAGS`].
    pub flags: Vec<&'static str>,
    /// The statement.
    pub span: Span,
}

/// Flags of mount(8) that a target may have.
pub const MOUNT_FLAGS: &[&str] = &[
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "relatime",
    "strictatime",
    "sync",
    "dirsync",
];

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
    /// What it says of itself, for people.
    pub label: Label,
    /// The statement.
    pub span: Span,
}

/// What a rule is called, why it is there, and how bad it is if it matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// No two rules have one name.
    pub name: Option<String>,
    /// Why it is there.
    pub reason: Option<String>,
    /// One of [`SEVERITIES`].
    pub severity: Option<&'static str>,
}

/// How bad it may be that a rule matches, the least first.
pub const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];

/// How often calls may be made before a rule matches them: a bucket of `limit` tokens for each process with
/// those that it starts, or for each user, which fills up again within `period`. Each call that the rule's
/// other conditions hold for takes one; the rate is exceeded for a call that finds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Index of the rule that asks for it.
    pub rule: usize,
    /// Tokens.
    pub limit: u32,
    /// In nanoseconds.
    pub period: u64,
    /// One bucket for each user.
    pub per_user: bool,
}

impl Rate {
    /// Time after which a token is there again, in nanoseconds.
    #[must_use]
    pub fn interval(&self) -> u64 {
        (self.period / u64::from(self.limit.max(1))).max(1)
    }

    /// Time in which an empty bucket fills up.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.interval() * u64::from(self.limit)
    }
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
    /// If it goes on, the caller has a mark from then on, or has it no longer.
    Mark {
        /// Number of the mark.
        mark: usize,
        /// True if it is set.
        sets: bool,
    },
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
    /// The path of the executable of one of its ancestors.
    Ancestor(Glob),
    /// The caller's command name; not absolute.
    Command(Glob),
    /// The path of the caller's cgroup.
    Cgroup(Glob),
    /// The inode number of the caller's pid namespace.
    PidNamespace(u32),
    /// The inode number of the caller's user namespace.
    UserNamespace(u32),
    /// The caller has the capability of this number over the machine.
    Capability(u32),
    /// Nobody but root could steer what the caller has executed.
    Secure,
    /// The user id of the caller's login.
    Login(u32),
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
    /// One of these bits is among the permissions of the object.
    Mode(u32),
    /// The minute of the day lies between these two, the second of which is the first that does not.
    TimeOfDay(u32, u32),
    /// The day of the week is this, Monday being 0.
    Day(u32),
    /// It is this time, in seconds since 1970, or later.
    Since(u64),
    /// The caller has the mark of this number.
    Marked(usize),
    /// The rate of this number is exceeded. Stands in the rule of that rate alone, and must hold there.
    Over(usize),
}

impl Predicate {
    /// True for every call.
    #[must_use]
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// The same as if each rate were exceeded: what has to hold for calls that a rate counts.
    #[must_use]
    pub fn without_rates(&self) -> Self {
        let all = |parts: &[Self]| parts.iter().map(Self::without_rates).collect();
        match self {
            Self::All(parts) => Self::All(all(parts)),
            Self::Any(parts) => Self::Any(all(parts)),
            Self::Not(part) => Self::Not(Box::new(part.without_rates())),
            Self::Atom(Atom::Over(_)) => Self::always(),
            Self::Atom(_) => self.clone(),
        }
    }

    /// Calls `with` for each atom.
    pub fn each_atom<'a>(&'a self, with: &mut impl FnMut(&'a Atom)) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.each_atom(with));
            }
            Self::Not(part) => part.each_atom(with),
            Self::Atom(atom) => with(atom),
        }
    }

    fn renumber_marks(&mut self, numbers: &[usize]) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter_mut().for_each(|part| part.renumber_marks(numbers));
            }
            Self::Not(part) => part.renumber_marks(numbers),
            Self::Atom(Atom::Marked(mark)) => *mark = numbers[*mark],
            Self::Atom(_) => {}
        }
    }
}

impl Policy {
    /// Gives marks the numbers that marks of the same names have in another policy; the others get numbers
    /// which that one does not use, as long as there are any. So processes keep their marks when this
    /// policy takes the place of that one.
    pub fn keep_marks(&mut self, of: &[String]) {
        let is_free = |taken: &[bool; MAX_MARKS], number: usize, any: bool| {
            !taken[number] && (any || of.get(number).is_none_or(String::is_empty))
        };
        let mut taken = [false; MAX_MARKS];
        let known = |name: &String| of.iter().position(|other| other == name);
        let mut numbers: Vec<Option<usize>> = self.marks.iter().map(known).collect();
        numbers.iter().flatten().for_each(|number| taken[*number] = true);
        for number in numbers.iter_mut().filter(|number| number.is_none()) {
            let free = |any| (0..MAX_MARKS).find(|one| is_free(&taken, *one, any));
            let found = free(false).or_else(|| free(true)).unwrap_or_default();
            taken[found] = true;
            *number = Some(found);
        }
        let numbers: Vec<usize> = numbers.into_iter().flatten().collect();
        let mut marks = vec![String::new(); numbers.iter().max().map_or(0, |most| most + 1)];
        for (name, number) in self.marks.iter().zip(&numbers) {
            marks[*number].clone_from(name);
        }
        self.marks = marks;
        for rule in &mut self.rules {
            rule.predicate.renumber_marks(&numbers);
            if let Verdict::Mark { mark, .. } = &mut rule.verdict {
                *mark = numbers[*mark];
            }
        }
        for expectation in &mut self.expectations {
            let marks = expectation.call.memory.marks;
            let moved = numbers.iter().enumerate().filter(|(old, _)| marks >> old & 1 != 0);
            expectation.call.memory.marks = moved.map(|(_, new)| 1 << new).sum();
            for (_, outcome) in &mut expectation.outcomes {
                if let Outcome::Mark(mark) = outcome {
                    *mark = numbers[*mark];
                }
            }
        }
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
    /// The caller has the mark of this number afterwards, because of this call.
    Mark(usize),
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
            Self::Mark(mark) => {
                judgement.denied.is_none()
                    && judgement.marks.get(mark).is_some_and(|(sets, _)| *sets)
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
        Self { operation, path: path.to_vec(), subject, facts, memory: Memory::default() }
    }
}
