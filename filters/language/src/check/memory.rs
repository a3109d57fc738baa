//! Marks and rates.

use std::collections::BTreeMap;

use super::Checker;
use crate::ast::{self, Word};
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::Glob;
use crate::operation::{Operation, Operations};
use crate::policy::{Atom, Label, MAX_MARKS, MAX_RATES, Predicate, Rate, Rule, Verdict};
use crate::span::Span;

const SECOND: u64 = 1_000_000_000;
/// Periods may be this long.
const MAX_PERIOD: u64 = 24 * 60 * 60 * SECOND;
/// Calls may be limited to as many.
const MAX_LIMIT: u32 = 1_000_000;
/// Nobody makes calls faster than one in this time.
const FASTEST: u64 = 1000;

/// Operations that are judged before contents change: the size is that before them.
const BEFORE_WRITING: &[Operation] =
    &[Operation::Open, Operation::WriteData, Operation::Truncate, Operation::Allocate];
/// Operations whose object does not exist yet, or has no size.
const WITHOUT_SIZE: &[Operation] =
    &[Operation::CreateFile, Operation::Mkdir, Operation::Mknod, Operation::Symlink];

/// The marks that rules set, by name.
#[derive(Default)]
pub(super) struct Marks(BTreeMap<String, Mark>);

struct Mark {
    number: usize,
    span: Span,
    is_asked: bool,
}

impl Marks {
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.0.get(name).map(|mark| mark.number)
    }
}

impl Checker<'_> {
    /// Numbers the marks that a rule sets: they may be asked for before the line that sets them.
    pub(super) fn declare_marks(&mut self, rule: &ast::Rule) {
        if let Some(trigger) = &rule.after {
            self.declare_mark(&trigger_name(trigger), trigger.span);
        }
        if let ast::Verdict::Mark { sets: true, name, .. } = &rule.verdict {
            self.declare_mark(&name.value, name.span);
        }
    }

    fn declare_mark(&mut self, name: &str, span: Span) {
        let number = self.marks.0.len();
        if self.marks.0.contains_key(name) {
            return;
        }
        if number == MAX_MARKS {
            let title = format!("more than {MAX_MARKS} marks are set");
            let diagnostic = Diagnostic::new(Code::TooManyMarks, span, title);
            self.diagnostics
                .push(diagnostic.hint("use one mark for what has the same consequence"));
        }
        self.marks.0.insert(name.to_owned(), Mark { number, span, is_asked: false });
        self.policy.marks.push(name.to_owned());
    }

    /// The number of a mark that some rule sets.
    pub(super) fn known_mark(&mut self, name: &Word) -> Option<usize> {
        if let Some(mark) = self.marks.0.get_mut(&name.value) {
            mark.is_asked = true;
            return Some(mark.number).filter(|number| *number < MAX_MARKS);
        }
        let title = format!("no rule sets the mark `{}`", name.value);
        let otherwise = "set it: `mark NAME OPERATIONS on \"GLOB\"`";
        let diagnostic = Diagnostic::new(Code::UnknownMark, name.span, title).did_you_mean(
            &name.value,
            self.policy.marks.iter().map(String::as_str),
            otherwise,
        );
        self.diagnostics.push(diagnostic);
        None
    }

    pub(super) fn unused_marks(&mut self) {
        for (name, mark) in self.marks.0.iter().filter(|(_, mark)| !mark.is_asked) {
            let title = format!("no rule asks for the mark `{name}`");
            let diagnostic = Diagnostic::new(Code::UnusedMark, mark.span, title);
            let hint = format!("write `when marked {name}` where it matters, or remove it");
            self.diagnostics.push(diagnostic.hint(hint));
        }
    }

    /// A rule after `after` asks for a mark that its trigger sets, by a rule of its own before it.
    pub(super) fn after(
        &mut self,
        rule: &ast::Rule,
        predicate: Option<Predicate>,
    ) -> Option<Predicate> {
        let Some(trigger) = &rule.after else { return predicate };
        let name = trigger_name(trigger);
        let number = self.marks.0.get_mut(&name).map(|mark| {
            mark.is_asked = true;
            mark.number
        });
        let operations = self.operations(&trigger.operations);
        let globs = self.trigger_globs(trigger);
        let (mark, operations, globs) = (number?, operations?, globs?);
        let verdict = Verdict::Mark { mark, sets: true };
        let sets_already = |known: &Rule| {
            (&known.verdict, known.operations, &known.globs) == (&verdict, operations, &globs)
        };
        if !self.policy.rules.iter().any(sets_already) {
            let (predicate, span) = (Predicate::always(), trigger.span);
            let (target, label) = (None, Label::default());
            let setter = Rule { target, operations, globs, predicate, verdict, label, span };
            self.policy.rules.push(setter);
        }
        Some(match predicate? {
            Predicate::All(mut parts) => {
                parts.push(Predicate::Atom(Atom::Marked(mark)));
                Predicate::All(parts)
            }
            other => Predicate::All(vec![other, Predicate::Atom(Atom::Marked(mark))]),
        })
    }

    fn trigger_globs(&mut self, trigger: &ast::Trigger) -> Option<Vec<Glob>> {
        if trigger.globs.is_empty() {
            let title = "`after` without a path would hold after any such call on the machine";
            let diagnostic = Diagnostic::new(Code::RuleWithoutPath, trigger.span, title);
            self.diagnostics
                .push(diagnostic.hint("name a path: `after open \"/etc/shadow\": ...`"));
            return None;
        }
        self.anchored_globs(&trigger.globs, false)
    }

    /// A rate gets its number when its rule is added.
    pub(super) fn rate(&mut self, rate: &ast::Rate) -> Option<Predicate> {
        let limit = self.limit(&rate.limit);
        let period = self.period(&rate.period);
        let (limit, period) = (limit?, period?);
        let rule = self.policy.rules.len();
        let read = Rate { rule, limit, period, per_user: rate.per_user };
        if read.interval() < FASTEST {
            let title = "no caller is as fast as that, so that the rate is never exceeded";
            let diagnostic = Diagnostic::new(Code::UnreachableRate, rate.span, title);
            self.diagnostics.push(diagnostic.hint("allow fewer calls, or name a longer time"));
        }
        if self.rate.replace((read, rate.span)).is_some() {
            self.misplaced(rate.span, "a rule has one rate", "write a rule for each rate");
            return None;
        }
        Some(Predicate::Atom(Atom::Over(self.policy.rates.len())))
    }

    fn misplaced(&mut self, span: Span, title: &str, hint: &str) {
        self.diagnostics.push(Diagnostic::new(Code::MisplacedRate, span, title).hint(hint));
    }

    /// Adds the rate of a rule that is about to be added itself.
    pub(super) fn take_rate(&mut self, rule: &ast::Rule, predicate: &Predicate) {
        let Some((rate, span)) = self.rate.take() else { return };
        let number = self.policy.rates.len();
        if number == MAX_RATES {
            let title = format!("more than {MAX_RATES} rules have a rate");
            let diagnostic = Diagnostic::new(Code::TooManyRates, rule.span, title);
            self.diagnostics
                .push(diagnostic.hint("one rule may speak of several operations and paths"));
        }
        if !is_conjunct(predicate, number) {
            let hint =
                "write it beside the other conditions: `when rate > 200 per 10s and user alice`";
            self.misplaced(span, "a rate stands outside of `not`, `or` and `unless`", hint);
        }
        self.policy.rates.push(Rate { rule: self.policy.rules.len(), ..rate });
    }

    fn limit(&mut self, written: &Word) -> Option<u32> {
        let found = written.value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        if found.is_none() {
            let title = format!("`{}` is no number of calls", written.value);
            let diagnostic = Diagnostic::new(Code::BadRate, written.span, title);
            let hint =
                format!("a rate allows 1 to {MAX_LIMIT} calls; `deny` without one allows none");
            self.diagnostics.push(diagnostic.hint(hint));
        }
        found
    }

    /// A time in nanoseconds.
    fn period(&mut self, written: &Word) -> Option<u64> {
        let digits = written.value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match &written.value[digits.len()..] {
            "ms" => Some(SECOND / 1000),
            "s" => Some(SECOND),
            "m" | "min" => Some(60 * SECOND),
            "h" => Some(60 * 60 * SECOND),
            _ => None,
        };
        let number = digits.parse::<u64>().ok().zip(unit);
        let period = number.and_then(|(number, unit)| number.checked_mul(unit));
        let period = period.filter(|period| (1..=MAX_PERIOD).contains(period));
        if period.is_none() {
            let title = format!("`{}` is no time", written.value);
            let diagnostic = Diagnostic::new(Code::BadRate, written.span, title);
            self.diagnostics
                .push(diagnostic.hint("times look like 500ms, 10s, 5m, 1h; at most 24h"));
        }
        period
    }

    /// `rate exceeded`, as a fact.
    pub(super) fn exceeded(&mut self, value: &Word) -> Option<()> {
        if value.value == "exceeded" {
            return Some(());
        }
        let title = "an expectation says of a rate only that it is exceeded";
        let diagnostic = Diagnostic::new(Code::BadRate, value.span, title);
        self.diagnostics.push(diagnostic.hint("write `rate exceeded`"));
        None
    }

    /// The size that a rule on an opened file sees is that before anything is written.
    pub(super) fn early_size(
        &mut self,
        rule: &ast::Rule,
        about: Operations,
        predicate: &Predicate,
    ) {
        let mut asks_for_size = false;
        predicate.each_atom(&mut |atom| {
            asks_for_size |= matches!(atom, Atom::SizeAtLeast(size) if *size > 0);
        });
        let is_writing = Operations::of(BEFORE_WRITING).covers(about)
            && about.meets(Operations::of(&[Operation::WriteData]));
        let (title, hint) = if !asks_for_size {
            return;
        } else if Operations::of(WITHOUT_SIZE).covers(about) {
            (
                "what is about to be made has size 0",
                "use `grow`, which is judged with the size to be",
            )
        } else if is_writing && matches!(rule.verdict, ast::Verdict::Deny { .. }) {
            let title =
                "the size is judged when the file is opened, and writing goes on from there";
            (title, "use `grow`, which is judged at each write with the size to be")
        } else {
            return;
        };
        self.diagnostics.push(Diagnostic::new(Code::EarlySize, rule.span, title).hint(hint));
    }
}

/// What the mark of a trigger is called: no name that a rule can write.
fn trigger_name(trigger: &ast::Trigger) -> String {
    let words = |words: &[Word]| {
        words.iter().map(|word| word.value.as_str()).collect::<Vec<_>>().join(", ")
    };
    format!("after {} \"{}\"", words(&trigger.operations), words(&trigger.globs))
}

/// True if a predicate holds only where a rate is exceeded, and counting does not depend on that.
fn is_conjunct(predicate: &Predicate, rate: usize) -> bool {
    match predicate {
        Predicate::Atom(Atom::Over(number)) => *number == rate,
        Predicate::All(parts) => parts.iter().any(|part| is_conjunct(part, rate)),
        _ => false,
    }
}
