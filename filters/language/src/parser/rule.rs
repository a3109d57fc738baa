//! Rules.

use super::{Parsed, Parser};
use crate::ast::{Condition, Rule, Verdict, Word};
use crate::lexer::Kind;
use crate::span::Spanned;

const FORM: &str = "a rule is written `in TARGET: VERDICT on \"GLOB\" when PREDICATE`";

impl Parser<'_> {
    pub(super) fn rule(&mut self) -> Parsed<Rule> {
        let start = self.peek().span;
        let mut target = None;
        if self.accept_word("in") {
            target = Some(self.word("the name of a target", FORM)?);
            self.expect_sign(":", FORM)?;
        }
        let verdict = self.verdict()?;
        let globs = self.globs()?;
        let mut conditions = Vec::new();
        while self.is_word("when") || self.is_word("unless") {
            let negated = self.is_word("unless");
            self.take();
            conditions.push(Condition { negated, predicate: self.predicate()? });
        }
        let span = start.to(self.last_span());
        self.end_of_rule()?;
        Ok(Rule { target, verdict, globs, conditions, span })
    }

    fn verdict(&mut self) -> Parsed<Verdict> {
        const HINT: &str = "a verdict is one of: deny, deny(ERRNO), pass, audit, set";
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
        if !self.accept_word("on") && !matches!(self.peek().kind, Kind::Text(_)) {
            return Ok(globs);
        }
        loop {
            globs.push(self.text("a glob in quotes", HINT)?);
            if !self.accept_sign(",") {
                return Ok(globs);
            }
        }
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
