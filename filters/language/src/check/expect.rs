//! Expectations.

use super::Checker;
use super::predicate::{SECURE_EXE, facts};
use crate::ast::{self, Fact, Word};
use crate::call::{Call, Facts, Memory, SOME_NOON, Subject};
use crate::diagnostic::{Code, Diagnostic};
use crate::operation::{Operation, Operations};
use crate::policy::{Expectation, Outcome};

const OUTCOMES: &[&str] = &["pass", "deny", "audit", "redirect", "set", "mark"];

impl Checker<'_> {
    pub(super) fn expect(&mut self, expect: &ast::Expect) {
        let outcomes: Vec<_> = expect.outcomes.iter().map(|one| self.outcome(one)).collect();
        let operation = self.one_operation(&expect.operation);
        let path = self.expected_path(&expect.path);
        let facts = self.facts(&expect.facts);
        let outcomes: Option<Vec<_>> = outcomes.into_iter().collect();
        let (Some(outcomes), Some(operation), Some(path), Some((subject, facts, memory))) =
            (outcomes, operation, path, facts)
        else {
            return;
        };
        let contradicts = |(yes, one): &(bool, Outcome)| {
            outcomes.iter().any(|(also, other)| *yes && *also && excludes(one, other))
                || outcomes.iter().any(|(also, other)| yes != also && one == other)
        };
        if outcomes.iter().any(contradicts) {
            let title = "no call can have these outcomes at once";
            let diagnostic = Diagnostic::new(Code::ContradictingOutcome, expect.span, title);
            self.diagnostics.push(diagnostic.hint("write an expectation for each"));
            return;
        }
        let call = Call { operation, path, subject, facts, memory };
        self.policy.expectations.push(Expectation { call, outcomes, span: expect.span });
    }

    fn outcome(&mut self, outcome: &ast::Outcome) -> Option<(bool, Outcome)> {
        let name = &outcome.name;
        let expected = match (name.value.as_str(), &outcome.argument, &outcome.setting) {
            ("pass", ..) => Outcome::Pass,
            ("audit", ..) => Outcome::Audit,
            ("deny", None, _) => Outcome::Deny(None),
            ("deny", Some(errno), _) => Outcome::Deny(Some(self.errno(errno)?)),
            ("redirect", None, _) => Outcome::Redirect(None),
            ("redirect", Some(target), _) => Outcome::Redirect(Some(self.named_target(target)?)),
            ("mark", Some(mark), _) => Outcome::Mark(self.known_mark(mark)?),
            ("set", _, Some(setting)) => {
                Outcome::Set(setting.key.value.clone(), setting.value.value.clone())
            }
            _ => {
                let title = format!("`{}` is nothing that can be expected", name.value);
                let otherwise = format!("there are: {}", OUTCOMES.join(", "));
                let diagnostic = Diagnostic::new(Code::UnknownOutcome, name.span, title)
                    .did_you_mean(&name.value, OUTCOMES.iter().copied(), &otherwise);
                self.diagnostics.push(diagnostic);
                return None;
            }
        };
        Some((!outcome.negated, expected))
    }

    fn one_operation(&mut self, word: &Word) -> Option<Operation> {
        let found = Operation::parse(&word.value);
        if found.is_none() {
            let known: Vec<_> = Operation::ALL.iter().map(|one| one.name()).collect();
            let diagnostic = if Operations::parse(&word.value).is_some() {
                let title = format!("`{}` is a group, and a call is one operation", word.value);
                Diagnostic::new(Code::ExpectedGroup, word.span, title)
                    .hint("name one operation of it")
            } else {
                let title = format!("there is no operation `{}`", word.value);
                let otherwise = format!("there are: {}", known.join(", "));
                Diagnostic::new(Code::UnknownOperation, word.span, title).did_you_mean(
                    &word.value,
                    known.iter().copied(),
                    &otherwise,
                )
            };
            self.diagnostics.push(diagnostic);
        }
        found
    }

    /// A path is written like a glob without wildcards, so that all names can be written.
    fn expected_path(&mut self, written: &Word) -> Option<Vec<u8>> {
        let glob = self.glob(written)?;
        let path = glob.literal().filter(|_| glob.patterns[0].absolute);
        if path.is_none() {
            let title = "an expectation is about one absolute path";
            let diagnostic = Diagnostic::new(Code::ExpectedPath, written.span, title);
            self.diagnostics.push(
                diagnostic.hint("begin it with `/`; a `*` in a name is written `\\*`, and so on"),
            );
        }
        path
    }

    fn facts(&mut self, written: &[Fact]) -> Option<(Subject, Facts, Memory)> {
        let mut memory = Memory::default();
        let mut subject = Subject::default();
        let (mut flags, mut file_type, mut owner, mut size) = (0, None, None, 0);
        let (mut mode, mut time) = (0, SOME_NOON);
        let mut is_complete = true;
        for Fact { name, value } in written {
            let known = match name.value.as_str() {
                "user" => self.user(value).map(|uid| subject.uid = uid),
                "group" => self.group(value).map(|gid| subject.gids.push(gid)),
                "login" => self.login(value).map(|uid| subject.login = uid),
                "ancestor" => self.plain(value).map(|path| subject.ancestors.push(path)),
                "exe" => self.plain(value).map(|path| subject.executable = path),
                SECURE_EXE => self.plain(value).map(|path| {
                    (subject.executable, subject.secure) = (path, true);
                }),
                "comm" => self.plain(value).map(|name| subject.command = name),
                "cgroup" => self.plain(value).map(|path| subject.cgroup = path),
                "pidns" if value.value == "host" => Some(()),
                "pidns" => self.number(value).map(|inode| subject.pid_namespace = inode),
                "userns" if value.value == "host" => Some(()),
                "userns" => self.number(value).map(|inode| subject.user_namespace = inode),
                "capability" => self.capability(value).map(|bit| subject.capabilities |= 1 << bit),
                "flag" => self.flag(value).map(|flag| flags |= 1 << flag.number()),
                "type" => self.file_type(value).map(|known| file_type = Some(known)),
                "owner" => self.user(value).map(|uid| owner = Some(uid)),
                "size" => self.bytes(value).map(|bytes| size = bytes),
                "mode" => self.mode(value).map(|bits| mode |= bits),
                "at" => self.moment(value).map(|(begins, _)| time = begins),
                "marked" => self.known_mark(value).map(|mark| memory.marks |= 1 << mark),
                "rate" => self.exceeded(value).map(|()| memory.over = u32::MAX),
                _ => self.unknown_fact(name),
            };
            is_complete &= known.is_some();
        }
        let mut facts = Facts::of_owner(owner.unwrap_or(subject.uid));
        (facts.flags, facts.size, facts.mode, facts.time) = (flags, size, mode, time);
        facts.file_type = file_type.unwrap_or(facts.file_type);
        is_complete.then_some((subject, facts, memory))
    }

    fn unknown_fact(&mut self, name: &Word) -> Option<()> {
        let title = format!("there is no fact `{}` about a call", name.value);
        self.unknown_word(name, title, facts());
        None
    }

    /// A text with a glob's escapes, and none of its wildcards.
    fn plain(&mut self, value: &Word) -> Option<Vec<u8>> {
        let glob = self.glob(value)?;
        let Some(literal) = glob.literal() else {
            let title = format!("`{}` is to be one value, not a glob", value.value);
            let diagnostic = Diagnostic::new(Code::ExpectedPath, value.span, title);
            self.diagnostics.push(diagnostic.hint("a `*` in a name is written `\\*`, and so on"));
            return None;
        };
        // A literal has a slash before each name, also before that of a relative one.
        let skipped = usize::from(!glob.patterns[0].absolute);
        Some(literal[skipped..].to_vec())
    }
}

/// True if no call can have both.
fn excludes(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Pass, Outcome::Deny(_)) => true,
        (Outcome::Deny(Some(one)), Outcome::Deny(Some(other))) => one != other,
        (Outcome::Redirect(Some(one)), Outcome::Redirect(Some(other))) => one != other,
        (Outcome::Set(key, value), Outcome::Set(other_key, other_value)) => {
            key == other_key && value != other_value
        }
        _ => false,
    }
}
