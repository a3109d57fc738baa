//! Rules.

use super::{Parsed, Parser};
use crate::ast::{Condition, Label, Rule, Trigger, Verdict, Word};
use crate::lexer::Kind;
use crate::span::Spanned;

const FORM: &str = "a rule is written `in TARGET: VERDICT on \"GLOB\" when PREDICATE`";

const LABEL: &str = "a rule ends with `as NAME because \"REASON\" severity high`, or any of these";
const MARK: &str = "a mark is set by `mark NAME OPERATIONS on \"GLOB\"`";

impl Parser<'_> {
    pub(super) fn rule(&mut self) -> Parsed<Rule> {
        let start = self.peek().span;
        let after = if self.accept_word("after") { Some(self.trigger()?) } else { None };
        let mut target = None;
        if self.accept_word("in") {
            target = Some(self.word("the name of a target", FORM)?);
            self.expect_sign(":", FORM)?;
        }
        let verdict = self.verdict()?;
        if target.is_none() && self.is_word("in") && !self.peek().starts_line {
            self.take();
            target = Some(self.word("the name of a target", FORM)?);
        }
        let globs = self.globs()?;
        let mut conditions = Vec::new();
        while self.is_word("when") || self.is_word("unless") {
            let negated = self.is_word("unless");
            self.take();
            conditions.push(Condition { negated, predicate: self.predicate()? });
        }
        let label = self.label()?;
        let span = start.to(self.last_span());
        self.end_of_rule()?;
        Ok(Rule { after, target, verdict, globs, conditions, label, span })
    }

    /// What a rule says of itself, in any order, each once.
    fn label(&mut self) -> Parsed<Label> {
        let mut label = Label::default();
        loop {
            if label.name.is_none() && self.accept_word("as") {
                label.name = Some(self.word("the name of the rule", LABEL)?);
            } else if label.reason.is_none() && self.accept_word("because") {
                label.reason = Some(self.text("the reason in quotes", LABEL)?);
            } else if label.severity.is_none() && self.accept_word("severity") {
                label.severity = Some(self.word("a severity", LABEL)?);
            } else {
                return Ok(label);
            }
        }
    }

    /// What stands between `after` and its colon.
    fn trigger(&mut self) -> Parsed<Trigger> {
        const FORM: &str = "a rule about later calls is written `after OPERATION \"PATH\": RULE`";
        let start = self.peek().span;
        let operations = self.operations()?;
        let globs = self.globs()?;
        let span = start.to(self.last_span());
        self.expect_sign(":", FORM)?;
        Ok(Trigger { operations, globs, span })
    }

    fn verdict(&mut self) -> Parsed<Verdict> {
        const HINT: &str = "a verdict is one of: deny, deny(ERRNO), pass, audit, set, mark, unmark";
        let Kind::Word(word) = self.peek().kind else {
            return self.unexpected("a verdict", HINT);
        };
        match word {
            "deny" => {
                self.take();
                let mut errno = None;
                if self.accept_sign("(") {
                    errno = Some(self.word("the name of an error", HINT)?);
                    self.expect_sign(")", HINT)?;
                }
                Ok(Verdict::Deny { errno, operations: self.operations()? })
            }
            "pass" => {
                self.take();
                Ok(Verdict::Pass { operations: self.operations()? })
            }
            "audit" => {
                self.take();
                Ok(Verdict::Audit { operations: self.operations()? })
            }
            "set" => {
                self.take();
                Ok(Verdict::Set { settings: self.settings()? })
            }
            "mark" | "unmark" => {
                self.take();
                let name = self.word("the name of a mark", MARK)?;
                if self.is_at_glob() {
                    return self.unexpected("the operations that set the mark", MARK);
                }
                Ok(Verdict::Mark { sets: word == "mark", name, operations: self.operations()? })
            }
            "redirect" => self.redirect(),
            _ => self.unexpected("a verdict", HINT),
        }
    }

    fn operations(&mut self) -> Parsed<Vec<Word>> {
        const HINT: &str = "name operations or groups of them, such as `open, write`; `*` is all";
        let mut operations = Vec::new();
        loop {
            operations.push(match self.peek().kind {
                Kind::Sign("*") => Spanned::new("*".to_owned(), self.take().span),
                _ => self.word("an operation", HINT)?,
            });
            if !self.accept_sign(",") {
                return Ok(operations);
            }
        }
    }

    /// `on` may be left out.
    fn globs(&mut self) -> Parsed<Vec<Word>> {
        const HINT: &str = "a glob stands in quotes: `on \"**/*.key\"`";
        let mut globs = Vec::new();
        if !self.is_at_glob() {
            return Ok(globs);
        }
        self.accept_word("on");
        loop {
            globs.push(self.text("a glob in quotes", HINT)?);
            if !self.accept_sign(",") {
                return Ok(globs);
            }
        }
    }

    fn is_at_glob(&self) -> bool {
        self.is_word("on") || matches!(self.peek().kind, Kind::Text(_) | Kind::List(_))
    }

    /// A rule ends with the policy or where the next line begins a statement.
    fn end_of_rule(&mut self) -> Parsed<()> {
        let token = self.peek();
        if token.kind == Kind::End || (token.starts_line && matches!(token.kind, Kind::Word(_))) {
            return Ok(());
        }
        self.unexpected("`on`, `when`, `unless` or the end of the rule", FORM)
    }
}
