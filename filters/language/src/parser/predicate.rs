//! Predicates: `or` binds weakest, then `and`, then `not`.

use super::{Parsed, Parser};
use crate::ast::{Predicate, Rate, Value, Word};
use crate::check::{SECURE_EXE, predicates};
use crate::diagnostic::{Code, Diagnostic};
use crate::lexer::Kind;
use crate::span::{Span, Spanned};

/// Parentheses and `not` may be nested this deep.
const MAX_DEPTH: usize = 64;

/// Words that follow a predicate.
const JOINTS: &[&str] = &["and", "or", "when", "unless", "as", "because", "severity"];

const HINT: &str = "predicates are `user alice`, `group {a, b}`, `exe \"/usr/bin/rsync\"`, `size > 1M` \
                    and their like, joined with `and`, `or`, `not`";

impl Parser<'_> {
    pub(super) fn predicate(&mut self) -> Parsed<Predicate> {
        let mut parts = vec![self.conjunction()?];
        while self.accept_word("or") {
            parts.push(self.conjunction()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Predicate::Or(parts) })
    }

    fn conjunction(&mut self) -> Parsed<Predicate> {
        let mut parts = vec![self.negation()?];
        while self.accept_word("and") {
            parts.push(self.negation()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Predicate::And(parts) })
    }

    fn negation(&mut self) -> Parsed<Predicate> {
        self.depth += 1;
        let parsed = if self.depth > MAX_DEPTH { self.too_deep() } else { self.nested() };
        self.depth -= 1;
        parsed
    }

    fn too_deep<T>(&mut self) -> Parsed<T> {
        let title = format!("predicates are nested more than {MAX_DEPTH} deep");
        let diagnostic = Diagnostic::new(Code::TooDeep, self.peek().span, title);
        self.abandon(diagnostic.hint("use a list, or several rules"))
    }

    fn nested(&mut self) -> Parsed<Predicate> {
        if self.accept_word("not") {
            return Ok(Predicate::Not(Box::new(self.negation()?)));
        }
        if self.accept_sign("(") {
            let inner = self.predicate()?;
            self.expect_sign(")", HINT)?;
            return Ok(inner);
        }
        self.atom()
    }

    fn atom(&mut self) -> Parsed<Predicate> {
        let name = self.word("a predicate", HINT)?;
        let name = self.qualified(name, HINT)?;
        if name.value == "size" {
            return self.size();
        }
        if name.value == "rate" {
            return self.rate(name.span);
        }
        let next = self.peek();
        let is_value = match next.kind {
            Kind::Word(word) => !next.starts_line && !JOINTS.contains(&word),
            Kind::Text(_) | Kind::List(_) => true,
            Kind::Sign(sign) => sign == "{",
            Kind::End => false,
        };
        if !is_value {
            return self.without_value(&name.value);
        }
        let mut values = Vec::new();
        if self.accept_sign("{") {
            loop {
                values.push(self.one_value()?);
                if self.accept_sign("}") {
                    break;
                }
                self.expect_sign(",", "several values are written `{one, other}`")?;
            }
        } else {
            values.push(self.one_value()?);
        }
        Ok(Predicate::Atom { name, values })
    }

    /// `secure exe` is one word for what follows.
    pub(super) fn qualified(&mut self, mut name: Word, hint: &str) -> Parsed<Word> {
        if name.value == "secure" {
            self.expect_keyword("exe", hint)?;
            name = Spanned::new(SECURE_EXE.to_owned(), name.span.to(self.last_span()));
        }
        Ok(name)
    }

    /// `user alice and bob`, `uid == 1000`: what was meant is near.
    fn without_value<T>(&mut self, name: &str) -> Parsed<T> {
        if matches!(self.peek().kind, Kind::Sign("=")) {
            let hint = "a value follows its word without `=`: `user 1000`; only sizes are compared";
            return self.unexpected("a value", hint);
        }
        if predicates().any(|known| known == name) {
            return self.unexpected("a value", HINT);
        }
        let hint = format!(
            "each side of `and` and `or` is a whole predicate, such as `user {name}`; one of several \
             values is `user {{alice, {name}}}`"
        );
        self.unexpected(&format!("a value after `{name}`"), &hint)
    }

    fn size(&mut self) -> Parsed<Predicate> {
        const FORM: &str = "a size is compared with `<`, `<=`, `>` or `>=`: `size >= 1M`";
        let Kind::Sign(comparison @ ("<" | "<=" | ">" | ">=")) = self.peek().kind else {
            return self.unexpected("a comparison", FORM);
        };
        self.take();
        Ok(Predicate::Size { comparison, size: self.word("a size", FORM)? })
    }

    fn rate(&mut self, start: Span) -> Parsed<Predicate> {
        const FORM: &str =
            "a rate is written `rate > 200 per 10s`, or `rate > 200 per 10s per user`";
        self.expect_sign(">", FORM)?;
        let limit = self.word("a number of calls", FORM)?;
        self.expect_keyword("per", FORM)?;
        let period = self.word("a time", FORM)?;
        let per_user = self.accept_word("per");
        if per_user {
            self.expect_keyword("user", FORM)?;
        }
        let span = start.to(self.last_span());
        Ok(Predicate::Rate(Rate { limit, period, per_user, span }))
    }

    fn one_value(&mut self) -> Parsed<Value> {
        let span = self.peek().span;
        match self.peek().kind {
            Kind::Word(_) => self.value(HINT).map(Value::Word),
            Kind::Text(text) => {
                self.take();
                Ok(Value::Text(Spanned::new(text.to_owned(), span)))
            }
            Kind::List(list) => {
                self.take();
                Ok(Value::List(Spanned::new(list.to_owned(), span)))
            }
            _ => self.unexpected("a value", HINT),
        }
    }
}
