//! Tokens to statements. Each function reads what the grammar in `docs/src/reference/policy-language.md` has under
//! its name.

mod predicate;
mod rule;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::ast::{
    Expect, Fact, Include, List, Outcome, Parameter, Served, Setting, Statement, Target, Word,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::lexer::{self, Kind, Token};
use crate::span::{Span, Spanned};

/// Words that begin a statement.
const STATEMENTS: &[&str] = &[
    "target", "list", "let", "include", "in", "after", "deny", "pass", "audit", "set", "mark",
    "unmark", "expect",
];

/// Values of parameters, by their names.
pub(crate) type Values = BTreeMap<String, String>;

/// Why a statement was given up. The diagnostic has been noted.
struct Abandoned;

type Parsed<T> = Result<T, Abandoned>;

/// What was read.
#[derive(Default)]
pub(crate) struct Read {
    /// All statements that could be read.
    pub(crate) statements: Vec<Statement>,
    /// What is wrong with the others.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The parameters that were used outside of globs and lists.
    pub(crate) used: BTreeSet<String>,
}

/// Reads the parts of a text; a statement ends with its part at the latest. `$NAME` stands for the value of
/// a parameter.
pub(crate) fn parse(text: &str, parts: &[Range<usize>], parameters: &Values) -> Read {
    let mut read = Read::default();
    for part in parts {
        let (tokens, diagnostics) = lexer::tokens(text, part.clone());
        read.diagnostics.extend(diagnostics);
        let mut parser = Parser { tokens, at: 0, depth: 0, parameters, read };
        while parser.peek().kind != Kind::End {
            match parser.statement() {
                Ok(statement) => parser.read.statements.push(statement),
                Err(Abandoned) => parser.skip_statement(),
            }
        }
        read = parser.read;
    }
    read
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    parameters: &'a Values,
    read: Read,
    at: usize,
    /// How deep predicates are nested here.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// The place of the token read last.
    fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek().kind == Kind::Word(word)
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.take();
        }
        found
    }

    fn accept_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek().kind, Kind::Sign(one) if one == sign);
        if found {
            self.take();
        }
        found
    }

    fn abandon<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        self.read.diagnostics.push(diagnostic);
        Err(Abandoned)
    }

    /// Gives up because something else stands where `wanted` should.
    fn unexpected<T>(&mut self, wanted: &str, hint: &str) -> Parsed<T> {
        let token = self.peek();
        let found = match token.kind {
            Kind::Word(word) => format!("`{word}`"),
            Kind::Text(text) => format!("the text \"{text}\""),
            Kind::List(list) => format!("`${list}`"),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::End => "the end of the policy".to_owned(),
        };
        let title = format!("expected {wanted}, found {found}");
        let diagnostic = Diagnostic::new(Code::UnexpectedToken, token.span, title);
        self.abandon(diagnostic.label(format!("expected {wanted}")).hint(hint))
    }

    fn expect_sign(&mut self, sign: &'static str, hint: &str) -> Parsed<()> {
        if self.accept_sign(sign) { Ok(()) } else { self.unexpected(&format!("`{sign}`"), hint) }
    }

    fn expect_keyword(&mut self, word: &str, hint: &str) -> Parsed<()> {
        if self.accept_word(word) { Ok(()) } else { self.unexpected(&format!("`{word}`"), hint) }
    }

    fn word(&mut self, wanted: &str, hint: &str) -> Parsed<Word> {
        match self.peek().kind {
            Kind::Word(word) => Ok(Spanned::new(word.to_owned(), self.take().span)),
            _ => self.parameter_value(wanted, hint),
        }
    }

    fn text(&mut self, wanted: &str, hint: &str) -> Parsed<Word> {
        match self.peek().kind {
            Kind::Text(text) => Ok(Spanned::new(text.to_owned(), self.take().span)),
            _ => self.parameter_value(wanted, hint),
        }
    }

    /// The value of a parameter, which stands where the parameter is used.
    fn parameter_value(&mut self, wanted: &str, hint: &str) -> Parsed<Word> {
        let Kind::List(name) = self.peek().kind else { return self.unexpected(wanted, hint) };
        if let Some(value) = self.parameters.get(name) {
            self.read.used.insert(name.to_owned());
            return Ok(Spanned::new(value.clone(), self.take().span));
        }
        let title = format!("there is no parameter `{name}`");
        let otherwise =
            format!("make it: `let {name} = VALUE`; lists stand in globs and conditions");
        let known = self.parameters.keys().map(String::as_str);
        let diagnostic = Diagnostic::new(Code::UnknownParameter, self.peek().span, title);
        self.abandon(diagnostic.did_you_mean(name, known, &otherwise))
    }

    /// Skips to the next line that begins a statement, and at least one token.
    fn skip_statement(&mut self) {
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => return,
                Kind::Word(word) if token.starts_line && STATEMENTS.contains(&word) => return,
                _ => self.take(),
            };
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let token = self.peek();
        let Kind::Word(word) = token.kind else {
            return self.unexpected("a statement", &statements_hint());
        };
        match word {
            "target" => self.target().map(Statement::Target),
            "list" => self.list().map(Statement::List),
            "let" => self.parameter().map(Statement::Parameter),
            "include" => self.include().map(Statement::Include),
            "expect" => self.expect().map(Statement::Expect),
            "redirect" => self.redirect(),
            _ if STATEMENTS.contains(&word) => self.rule().map(Statement::Rule),
            _ => self.unknown_statement(word, token.span),
        }
    }

    fn redirect<T>(&mut self) -> Parsed<T> {
        let span = self.take().span;
        let title = "`redirect` is no verdict of a rule: a target redirects all that is in it";
        let diagnostic = Diagnostic::new(Code::RedirectVerdict, span, title);
        self.abandon(diagnostic.hint("write `target NAME = \"GLOB\" via EXTENSION`"))
    }

    fn unknown_statement<T>(&mut self, word: &str, span: Span) -> Parsed<T> {
        self.take();
        let title = format!("`{word}` begins no statement");
        let diagnostic = Diagnostic::new(Code::UnknownStatement, span, title).did_you_mean(
            word,
            STATEMENTS.iter().copied(),
            &statements_hint(),
        );
        self.abandon(diagnostic)
    }

    fn target(&mut self) -> Parsed<Target> {
        const FORM: &str = "a target is written `target NAME = \"GLOB\" via EXTENSION(KEY = VALUE), EXTENSION with FLAG`";
        let start = self.take().span;
        let name = self.word("the name of the target", FORM)?;
        self.expect_sign("=", FORM)?;
        let root = self.text("the path of the target in quotes", FORM)?;
        self.expect_keyword("via", FORM)?;
        let mut stack = vec![self.served(FORM)?];
        while self.accept_sign(",") {
            stack.push(self.served(FORM)?);
        }
        let mut flags = Vec::new();
        if self.accept_word("with") {
            flags.push(self.word("a flag of the mount", FORM)?);
            while self.accept_sign(",") {
                flags.push(self.word("a flag of the mount", FORM)?);
            }
        }
        let span = start.to(self.last_span());
        Ok(Target { name, root, stack, flags, span })
    }

    fn served(&mut self, form: &str) -> Parsed<Served> {
        let extension = self.word("the name of an extension", form)?;
        let mut options = Vec::new();
        if self.accept_sign("(") && !self.accept_sign(")") {
            options = self.settings()?;
            self.expect_sign(")", form)?;
        }
        Ok(Served { extension, options })
    }

    fn list(&mut self) -> Parsed<List> {
        const FORM: &str = "a list is written `list NAME = {ONE, OTHER}`";
        self.take();
        let name = self.word("the name of the list", FORM)?;
        self.expect_sign("=", FORM)?;
        self.expect_sign("{", FORM)?;
        let mut values = Vec::new();
        while !self.accept_sign("}") {
            values.push(match self.peek().kind {
                Kind::Text(_) => self.text("a value", FORM)?,
                _ => self.word("a value", FORM)?,
            });
            if !self.accept_sign(",") && !matches!(self.peek().kind, Kind::Sign("}")) {
                return self.unexpected("`,` or `}`", FORM);
            }
        }
        Ok(List { name, values })
    }

    fn parameter(&mut self) -> Parsed<Parameter> {
        const FORM: &str = "a parameter is written `let NAME = VALUE`";
        self.take();
        let name = self.word("the name of the parameter", FORM)?;
        self.expect_sign("=", FORM)?;
        let next = self.peek();
        let value = match next.kind {
            Kind::Text(_) => self.text("a value", FORM)?,
            Kind::Word(_) if !next.starts_line => self.value(FORM)?,
            _ => return self.unexpected("a value", FORM),
        };
        self.end_of_line(FORM)?;
        Ok(Parameter { name, value: value.value })
    }

    fn include(&mut self) -> Parsed<Include> {
        const FORM: &str = "another file is included by `include \"FILE\"`";
        let start = self.take().span;
        let file = self.text("the path of a file in quotes", FORM)?;
        let span = start.to(file.span);
        self.end_of_line(FORM)?;
        Ok(Include { file: Word { value: unescaped(&file.value), ..file }, span })
    }

    fn end_of_line(&mut self, hint: &str) -> Parsed<()> {
        if self.peek().starts_line { Ok(()) } else { self.unexpected("the end of the line", hint) }
    }

    fn settings(&mut self) -> Parsed<Vec<Setting>> {
        let mut settings = vec![self.setting()?];
        while self.accept_sign(",") {
            settings.push(self.setting()?);
        }
        Ok(settings)
    }

    fn setting(&mut self) -> Parsed<Setting> {
        const FORM: &str = "an option is written `KEY = VALUE`";
        let key = self.word("the name of an option", FORM)?;
        self.expect_sign("=", FORM)?;
        let value = self.value(FORM)?;
        Ok(Setting { key, value })
    }

    /// A text, or words and colons without blanks between them: `zstd:9`.
    fn value(&mut self, form: &str) -> Parsed<Word> {
        if let Kind::Text(_) | Kind::List(_) = self.peek().kind {
            let text = self.text("a value", form)?;
            return Ok(Word { value: unescaped(&text.value), ..text });
        }
        let mut value = self.word("a value", form)?;
        loop {
            let token = self.peek();
            let piece = match token.kind {
                Kind::Word(word) => word,
                Kind::Sign(":") => ":",
                _ => return Ok(value),
            };
            // A colon at the end belongs to what follows the value.
            let is_last = self.tokens.get(self.at + 1).is_none_or(|next| {
                next.span.start != token.span.end || !matches!(next.kind, Kind::Word(_))
            });
            if token.span.start != value.span.end || (piece == ":" && is_last) {
                return Ok(value);
            }
            self.take();
            value.value.push_str(piece);
            value.span = value.span.to(token.span);
        }
    }

    fn expect(&mut self) -> Parsed<Expect> {
        const FORM: &str =
            "an expectation is written `expect OUTCOME: OPERATION \"PATH\" by user NAME`";
        let start = self.take().span;
        let mut outcomes = vec![self.outcome(FORM)?];
        while self.accept_sign(",") {
            outcomes.push(self.outcome(FORM)?);
        }
        self.expect_sign(":", FORM)?;
        let operation = self.word("an operation", FORM)?;
        let path = self.text("a path in quotes", FORM)?;
        let mut facts = Vec::new();
        if self.accept_word("by") {
            facts.push(self.fact(FORM)?);
            while self.accept_sign(",") {
                facts.push(self.fact(FORM)?);
            }
        }
        Ok(Expect { outcomes, operation, path, facts, span: start.to(self.last_span()) })
    }

    fn outcome(&mut self, form: &str) -> Parsed<Outcome> {
        let negated = self.accept_word("not");
        let name = self.word("an outcome", form)?;
        let (mut argument, mut setting) = (None, None);
        match name.value.as_str() {
            "deny" if self.accept_sign("(") => {
                argument = Some(self.word("the name of an error", form)?);
                self.expect_sign(")", form)?;
            }
            "mark" => argument = Some(self.word("the name of a mark", form)?),
            "redirect" if matches!(self.peek().kind, Kind::Word(_)) => {
                argument = Some(self.word("the name of a target", form)?);
            }
            "set" => setting = Some(self.setting()?),
            _ => {}
        }
        Ok(Outcome { negated, name, argument, setting })
    }

    fn fact(&mut self, form: &str) -> Parsed<Fact> {
        let name = self.word("a fact about the call, such as `user alice`", form)?;
        let name = self.qualified(name, form)?;
        let value = match self.peek().kind {
            Kind::Text(_) => self.text("a value", form)?,
            _ => self.value(form)?,
        };
        Ok(Fact { name, value })
    }
}

/// What stands between quotes, where it is no glob.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

fn statements_hint() -> String {
    format!("a statement begins with one of: {}", STATEMENTS.join(", "))
}
