//! Predicates: what each word takes.

use super::Checker;
use crate::ast::{self, Value, Word};
use crate::call::{FileType, HOST_PID_NAMESPACE, HOST_USER_NAMESPACE, NO_LOGIN, OpenFlag};
use crate::capabilities::CAPABILITIES;
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::Glob;
use crate::policy::{Atom, Predicate};
use crate::span::Spanned;
use crate::time;

/// The longest command name that Linux keeps, in bytes.
const MAX_COMMAND_LEN: usize = 15;

/// An executable, and how it was executed.
pub(crate) const SECURE_EXE: &str = "secure exe";

/// What predicates ask of a call, and expectations tell of one.
const ABOUT_CALLS: &[&str] = &[
    "user",
    "group",
    "login",
    "exe",
    SECURE_EXE,
    "ancestor",
    "comm",
    "cgroup",
    "pidns",
    "userns",
    "capability",
    "flag",
    "type",
    "owner",
    "size",
    "mode",
    "marked",
    "rate",
];
const ABOUT_TIME: &[&str] = &["time", "day", "since", "until"];
/// When a call is made, in an expectation.
const MADE_AT: &[&str] = &["at"];

/// What others ask of an object, and no filter can: the kernel shows them extended attributes at some hooks only.
const ATTRIBUTES: [&str; 4] = ["xattr", "attr", "attribute", "label"];
const NO_ATTRIBUTES: &str = "extended attributes of the object cannot be asked for: the kernel shows them to few filters, \
                             and a rule means the same everywhere; tell such objects by path, `owner` or `mode`";

/// The words of predicates.
pub(crate) fn predicates() -> impl Iterator<Item = &'static str> + Clone {
    ABOUT_CALLS.iter().chain(ABOUT_TIME).copied()
}

/// The words of facts in expectations.
pub(super) fn facts() -> impl Iterator<Item = &'static str> + Clone {
    ABOUT_CALLS.iter().chain(MADE_AT).copied()
}

impl Checker<'_> {
    pub(super) fn predicate(&mut self, predicate: &ast::Predicate) -> Option<Predicate> {
        match predicate {
            ast::Predicate::Not(inner) => Some(Predicate::Not(Box::new(self.predicate(inner)?))),
            ast::Predicate::And(parts) => Some(Predicate::All(self.predicates(parts)?)),
            ast::Predicate::Or(parts) => Some(Predicate::Any(self.predicates(parts)?)),
            ast::Predicate::Size { comparison, size } => self.size(comparison, size),
            ast::Predicate::Rate(rate) => self.rate(rate),
            ast::Predicate::Atom { name, values } => self.any_of(name, values),
        }
    }

    fn predicates(&mut self, parts: &[ast::Predicate]) -> Option<Vec<Predicate>> {
        let parts: Vec<_> = parts.iter().map(|part| self.predicate(part)).collect();
        parts.into_iter().collect()
    }

    pub(super) fn unknown_word(
        &mut self,
        name: &Word,
        title: String,
        known: impl Iterator<Item = &'static str> + Clone,
    ) {
        let all: Vec<_> = known.clone().collect();
        let otherwise = format!("there are: {}", all.join(", "));
        let diagnostic = Diagnostic::new(Code::UnknownPredicate, name.span, title);
        if ATTRIBUTES.contains(&name.value.as_str()) {
            return self.diagnostics.push(diagnostic.hint(NO_ATTRIBUTES));
        }
        self.diagnostics.push(diagnostic.did_you_mean(&name.value, known, &otherwise));
    }

    fn any_of(&mut self, name: &Word, values: &[Value]) -> Option<Predicate> {
        if !predicates().any(|known| known == name.value) {
            let title = format!("there is no predicate `{}`", name.value);
            self.unknown_word(name, title, predicates());
            return None;
        }
        let values: Vec<Word> = values.iter().flat_map(|value| self.values(value)).collect();
        let atoms: Vec<_> = values.iter().map(|value| self.atom(&name.value, value)).collect();
        let predicate = |atom| match name.value.as_str() {
            "until" => Predicate::Not(Box::new(Predicate::Atom(atom))),
            SECURE_EXE => {
                Predicate::All(vec![Predicate::Atom(Atom::Secure), Predicate::Atom(atom)])
            }
            _ => Predicate::Atom(atom),
        };
        let mut atoms: Vec<Predicate> =
            atoms.into_iter().map(|atom| atom.map(predicate)).collect::<Option<_>>()?;
        match atoms.len() {
            // Only a list that is missing or empty, which has been reported.
            0 => None,
            1 => atoms.pop(),
            _ => Some(Predicate::Any(atoms)),
        }
    }

    /// One value, or those of a list, which stand where the list is used.
    fn values(&mut self, value: &Value) -> Vec<Word> {
        let name = match value {
            Value::Word(word) | Value::Text(word) => return vec![word.clone()],
            Value::List(name) => name,
        };
        self.used_lists.insert(name.value.clone());
        if let Some(values) = self.lists.get(&name.value) {
            return values.iter().map(|text| Spanned::new(text.clone(), name.span)).collect();
        }
        let title = format!("there is no list `{}`", name.value);
        let diagnostic = Diagnostic::new(Code::UnknownList, name.span, title).did_you_mean(
            &name.value,
            self.lists.keys().map(String::as_str),
            "make it: `list NAME = {ONE, OTHER}`",
        );
        self.diagnostics.push(diagnostic);
        Vec::new()
    }

    fn atom(&mut self, predicate: &str, value: &Word) -> Option<Atom> {
        match predicate {
            "user" => self.user(value).map(Atom::User),
            "group" => self.group(value).map(Atom::Group),
            "owner" if value.value == "caller" => Some(Atom::OwnerIsCaller),
            "owner" => self.user(value).map(Atom::Owner),
            "login" => self.login(value).map(Atom::Login),
            "exe" | SECURE_EXE => self.executable(value).map(Atom::Executable),
            "ancestor" => self.executable(value).map(Atom::Ancestor),
            "comm" => self.command(value).map(Atom::Command),
            "cgroup" => {
                let glob = self.glob(value)?;
                self.is_absolute(&glob, value, "the path of a cgroup").then_some(Atom::Cgroup(glob))
            }
            "pidns" if value.value == "host" => Some(Atom::PidNamespace(HOST_PID_NAMESPACE)),
            "pidns" => self.number(value).map(Atom::PidNamespace),
            "userns" if value.value == "host" => Some(Atom::UserNamespace(HOST_USER_NAMESPACE)),
            "userns" => self.number(value).map(Atom::UserNamespace),
            "capability" => self.capability(value).map(Atom::Capability),
            "flag" => self.flag(value).map(Atom::Flag),
            "type" => self.file_type(value).map(Atom::Type),
            "marked" => self.known_mark(value).map(Atom::Marked),
            "mode" => self.mode(value).map(Atom::Mode),
            "time" => self.time_of_day(value),
            "day" => self.day(value),
            "since" => self.moment(value).map(|(begins, _)| Atom::Since(begins)),
            "until" => self.moment(value).map(|(_, passed)| Atom::Since(passed)),
            _ => unreachable!("one of the known predicates"),
        }
    }

    pub(super) fn user(&mut self, value: &Word) -> Option<u32> {
        if is_number(&value.value) {
            return self.number(value);
        }
        let found = self.names.user(&value.value);
        if found.is_none() {
            let known = self.names.users();
            let title = format!("there is no user `{}`", value.value);
            let otherwise = "a user without a name is written as its number";
            let names = known.iter().map(String::as_str);
            let diagnostic = Diagnostic::new(Code::UnknownUser, value.span, title).did_you_mean(
                &value.value,
                names,
                otherwise,
            );
            self.diagnostics.push(diagnostic);
        }
        found
    }

    pub(super) fn login(&mut self, value: &Word) -> Option<u32> {
        if value.value == "none" { Some(NO_LOGIN) } else { self.user(value) }
    }

    pub(super) fn capability(&mut self, value: &Word) -> Option<u32> {
        let found = CAPABILITIES.iter().position(|name| *name == value.value);
        if found.is_none() {
            self.unknown(Code::UnknownCapability, "capability", value, CAPABILITIES);
        }
        found.map(|number| number as u32)
    }

    pub(super) fn group(&mut self, value: &Word) -> Option<u32> {
        if is_number(&value.value) {
            return self.number(value);
        }
        let found = self.names.group(&value.value);
        if found.is_none() {
            let known = self.names.groups();
            let title = format!("there is no group `{}`", value.value);
            let otherwise = "a group without a name is written as its number";
            let names = known.iter().map(String::as_str);
            let diagnostic = Diagnostic::new(Code::UnknownGroup, value.span, title).did_you_mean(
                &value.value,
                names,
                otherwise,
            );
            self.diagnostics.push(diagnostic);
        }
        found
    }

    pub(super) fn number(&mut self, value: &Word) -> Option<u32> {
        // The kernel takes the largest number for "no id"; compiled tables take it for "no key".
        let found = value.value.parse().ok().filter(|number| *number != u32::MAX);
        if found.is_none() {
            let title = format!("`{}` is no id", value.value);
            let diagnostic = Diagnostic::new(Code::BadNumber, value.span, title);
            self.diagnostics.push(diagnostic.hint("ids go from 0 to 4294967294"));
        }
        found
    }

    fn executable(&mut self, value: &Word) -> Option<Glob> {
        let glob = self.glob(value)?;
        if !self.is_absolute(&glob, value, "the path of an executable") {
            return None;
        }
        let Some(path) = glob.literal() else {
            self.warn_of_links(&glob, value);
            return Some(glob);
        };
        if !self.names.executable(&path) {
            let title = format!("there is no executable file `{}`", value.value);
            let diagnostic = Diagnostic::new(Code::UnknownExecutable, value.span, title);
            let hint = match self.names.behind_links(&path) {
                Some(real) => {
                    format!("it is a link or lies behind one: write `{}`", String::from_utf8_lossy(&real))
                }
                None => "the path is that of the file itself, after symbolic links; a glob may match none".to_owned(),
            };
            self.diagnostics.push(diagnostic.hint(hint));
            return None;
        }
        Some(glob)
    }

    fn is_absolute(&mut self, glob: &Glob, value: &Word, what: &str) -> bool {
        let is_absolute = glob.patterns.iter().all(|pattern| pattern.absolute);
        if !is_absolute {
            let title = format!("{what} is absolute");
            let diagnostic = Diagnostic::new(Code::RelativePath, value.span, title);
            self.diagnostics.push(diagnostic.hint("begin it with `/`; `/**/name` is at any depth"));
        }
        is_absolute
    }

    fn command(&mut self, value: &Word) -> Option<Glob> {
        let glob = self.glob(value)?;
        if glob.patterns.iter().any(|pattern| pattern.absolute) {
            let title = "`comm` is the command name, without directories";
            let diagnostic = Diagnostic::new(Code::CommandIsPath, value.span, title);
            self.diagnostics.push(diagnostic.hint("use `exe` for the path of the executable"));
            return None;
        }
        // The literal is written with a slash before each name.
        if glob.literal().is_some_and(|name| name.len() > MAX_COMMAND_LEN + 1) {
            let title = format!("a command name has at most {MAX_COMMAND_LEN} bytes");
            let diagnostic = Diagnostic::new(Code::CommandTooLong, value.span, title);
            let kept = value.value.get(..MAX_COMMAND_LEN).unwrap_or("its beginning");
            self.diagnostics.push(diagnostic.hint(format!("Linux keeps `{kept}`")));
            return None;
        }
        Some(glob)
    }

    pub(super) fn flag(&mut self, value: &Word) -> Option<OpenFlag> {
        let found = OpenFlag::parse(&value.value);
        if found.is_none() {
            let known: Vec<_> = OpenFlag::ALL.iter().map(|flag| flag.name()).collect();
            self.unknown(Code::UnknownFlag, "open flag", value, &known);
        }
        found
    }

    pub(super) fn file_type(&mut self, value: &Word) -> Option<FileType> {
        let found = FileType::parse(&value.value);
        if found.is_none() {
            let known: Vec<_> = FileType::ALL.iter().map(|one| one.name()).collect();
            self.unknown(Code::UnknownType, "file type", value, &known);
        }
        found
    }

    /// Bits, of which one is enough.
    pub(super) fn mode(&mut self, value: &Word) -> Option<u32> {
        let found = time::MODES.iter().find(|(name, _)| *name == value.value);
        if found.is_none() {
            let known: Vec<_> = time::MODES.iter().map(|(name, _)| *name).collect();
            self.unknown(Code::UnknownMode, "permission", value, &known);
        }
        found.map(|(_, bits)| *bits)
    }

    fn day(&mut self, value: &Word) -> Option<Atom> {
        let found = time::DAYS.iter().position(|name| *name == value.value);
        if found.is_none() {
            self.unknown(Code::UnknownDay, "day", value, time::DAYS);
        }
        found.map(|day| Atom::Day(day as u32))
    }

    fn time_of_day(&mut self, value: &Word) -> Option<Atom> {
        let found = time::range(&value.value);
        if found.is_none() {
            let title = format!("`{}` is no time of the day", value.value);
            let hint = "it is written `time 08:00-18:00`, in UTC; it may go on past midnight";
            self.diagnostics.push(Diagnostic::new(Code::BadTime, value.span, title).hint(hint));
        }
        found.map(|(from, to)| Atom::TimeOfDay(from, to))
    }

    /// When a moment begins, and when it has passed.
    pub(super) fn moment(&mut self, value: &Word) -> Option<(u64, u64)> {
        let found = time::moment(&value.value);
        if found.is_none() {
            let title = format!("`{}` is no time", value.value);
            let hint = "it is written `2026-12-31` or `2026-12-31T18:00`, in UTC";
            self.diagnostics.push(Diagnostic::new(Code::BadTime, value.span, title).hint(hint));
        }
        found
    }

    pub(super) fn unknown(&mut self, code: Code, what: &str, value: &Word, known: &[&str]) {
        let title = format!("there is no {what} `{}`", value.value);
        let otherwise = format!("there are: {}", known.join(", "));
        let diagnostic = Diagnostic::new(code, value.span, title);
        let diagnostic = diagnostic.did_you_mean(&value.value, known.iter().copied(), &otherwise);
        self.diagnostics.push(diagnostic);
    }

    fn size(&mut self, comparison: &str, written: &Word) -> Option<Predicate> {
        let size = self.bytes(written)?;
        let at_least = |size| Predicate::Atom(Atom::SizeAtLeast(size));
        let more_than = |size: u64| match size.checked_add(1) {
            Some(size) => at_least(size),
            None => Predicate::Any(Vec::new()),
        };
        Some(match comparison {
            ">=" => at_least(size),
            ">" => more_than(size),
            "<" => Predicate::Not(Box::new(at_least(size))),
            _ => Predicate::Not(Box::new(more_than(size))),
        })
    }

    /// A number of bytes, with an optional K, M, G or T.
    pub(super) fn bytes(&mut self, written: &Word) -> Option<u64> {
        let digits = written.value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let shift = match written.value[digits.len()..].to_ascii_uppercase().as_str() {
            "" => Some(0),
            "K" => Some(10),
            "M" => Some(20),
            "G" => Some(30),
            "T" => Some(40),
            _ => None,
        };
        let number = digits.parse::<u64>().ok().zip(shift);
        let size = number.and_then(|(number, shift)| number.checked_mul(1 << shift));
        if size.is_none() {
            let title = format!("`{}` is no size", written.value);
            let diagnostic = Diagnostic::new(Code::BadSize, written.span, title);
            self.diagnostics.push(diagnostic.hint("sizes look like 4096, 128K, 1M, 2G, 1T"));
        }
        size
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
