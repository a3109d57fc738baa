//! The reference interpreter: decides one call straight from the checked policy, as slowly and as
//! plainly as the definition reads. Faster evaluators are measured against it.

use std::collections::BTreeMap;

use crate::call::Call;
use crate::errno::DenyErrno;
use crate::glob::{Glob, names};
use crate::policy::{Atom, Policy, Predicate, Rule, Target, Verdict};
use crate::time;

/// What becomes of a call, and which rules say so (as indices of [`Policy::rules`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The error it fails with, if it does.
    pub denied: Option<DenyErrno>,
    /// The rule that passes or denies it. Without one it passes.
    pub decider: Option<usize>,
    /// The rule for which it is reported, if it is.
    pub auditor: Option<usize>,
    /// The options that the extension is told: each with its value and rule.
    pub options: BTreeMap<String, (String, usize)>,
    /// The target that it is in.
    pub target: Option<usize>,
    /// Marks that are set, or cleared, if the call goes on: each with the rule that says so.
    pub marks: BTreeMap<usize, (bool, usize)>,
    /// The rates that count it, a bit for each by its number.
    pub counted: u32,
}

/// Decides a call. Of the rules that match, the last that passes or denies decides whether it fails,
/// the last that sets an option decides that option, and the last that audits is the one for which
/// it is reported. Of those that set or clear a mark, the last one decides, too.
#[must_use]
pub fn judge(policy: &Policy, call: &Call) -> Judgement {
    let names = names(&call.path);
    let target = policy.targets.iter().position(|target| holds_path(target, &names));
    let counted = counted(policy, call);
    let mut judgement = Judgement { target, counted, ..Judgement::default() };
    for (index, rule) in policy.rules.iter().enumerate() {
        if !matches(policy, rule, call) {
            continue;
        }
        match &rule.verdict {
            Verdict::Pass => (judgement.denied, judgement.decider) = (None, Some(index)),
            Verdict::Deny(errno) => {
                (judgement.denied, judgement.decider) = (Some(*errno), Some(index));
            }
            Verdict::Audit => judgement.auditor = Some(index),
            Verdict::Set(settings) => {
                let settings = settings.iter().cloned();
                judgement.options.extend(settings.map(|(key, value)| (key, (value, index))));
            }
            Verdict::Mark { mark, sets } => {
                judgement.marks.insert(*mark, (*sets, index));
            }
        }
    }
    judgement
}

/// The rates that count a call: its rule would match if the rate were exceeded.
#[must_use]
pub fn counted(policy: &Policy, call: &Call) -> u32 {
    let mut call = call.clone();
    call.memory.over = u32::MAX;
    let rates = policy.rates.iter().enumerate();
    let counting = rates.filter(|(_, rate)| matches(policy, &policy.rules[rate.rule], &call));
    counting.map(|(number, _)| 1 << number).sum()
}

/// True if a rule speaks of a call.
#[must_use]
pub fn matches(policy: &Policy, rule: &Rule, call: &Call) -> bool {
    rule.operations.contains(call.operation)
        && matches_path(policy, rule, &call.path)
        && holds(&rule.predicate, call)
}

/// True if a rule speaks of a path.
#[must_use]
pub fn matches_path(policy: &Policy, rule: &Rule, path: &[u8]) -> bool {
    let names = names(path);
    let matches = |names: &[&[u8]]| rule.globs.iter().any(|glob| glob.matches(names));
    match rule.target {
        None => matches(&names),
        // The root takes as many names as its glob has, and the rule's globs take the others.
        Some(index) => (0..=names.len()).any(|len| {
            let (root, rest) = names.split_at(len);
            policy.targets[index].root.matches(root) && matches(rest)
        }),
    }
}

fn holds_path(target: &Target, names: &[&[u8]]) -> bool {
    (0..=names.len()).any(|len| target.root.matches(&names[..len]))
}

/// True if a predicate holds for a call.
#[must_use]
pub fn holds(predicate: &Predicate, call: &Call) -> bool {
    match predicate {
        Predicate::All(parts) => parts.iter().all(|part| holds(part, call)),
        Predicate::Any(parts) => parts.iter().any(|part| holds(part, call)),
        Predicate::Not(part) => !holds(part, call),
        Predicate::Atom(atom) => is_fact(atom, call),
    }
}

fn is_fact(atom: &Atom, call: &Call) -> bool {
    let (subject, facts) = (&call.subject, &call.facts);
    let matches_absolute = |glob: &Glob, path: &[u8]| glob.matches(&names(path));
    match atom {
        Atom::User(uid) => subject.uid == *uid,
        Atom::Group(gid) => subject.gids.contains(gid),
        Atom::Executable(glob) => matches_absolute(glob, &subject.executable),
        Atom::Ancestor(glob) => subject.ancestors.iter().any(|path| matches_absolute(glob, path)),
        Atom::Command(glob) => {
            glob.matches(&subject.command.split(|byte| *byte == b'/').collect::<Vec<_>>())
        }
        // The root of the hierarchy is written with its slash.
        Atom::Cgroup(glob) if subject.cgroup == b"/" => matches_absolute(glob, b""),
        Atom::Cgroup(glob) => matches_absolute(glob, &subject.cgroup),
        Atom::PidNamespace(inode) => subject.pid_namespace == *inode,
        Atom::UserNamespace(inode) => subject.user_namespace == *inode,
        Atom::Capability(number) => subject.capabilities >> number & 1 != 0,
        Atom::Secure => subject.secure,
        Atom::Login(uid) => subject.login == *uid,
        Atom::Flag(flag) => facts.has(*flag),
        Atom::Type(file_type) => facts.file_type == *file_type,
        Atom::Owner(uid) => facts.owner == *uid,
        Atom::OwnerIsCaller => facts.owner == subject.uid,
        Atom::SizeAtLeast(size) => facts.size >= *size,
        Atom::Mode(bits) => facts.mode & bits != 0,
        Atom::TimeOfDay(from, to) => time::is_between(time::minute(facts.time), *from, *to),
        Atom::Day(day) => time::day(facts.time) == *day,
        Atom::Since(time) => facts.time >= *time,
        Atom::Marked(mark) => call.memory.marks >> mark & 1 != 0,
        Atom::Over(rate) => call.memory.over >> rate & 1 != 0,
    }
}
