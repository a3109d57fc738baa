//! Text to tokens.

use std::ops::Range;

use crate::diagnostic::{Code, Diagnostic};
use crate::span::Span;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// A name, keyword, number or plain value.
    Word(&'a str),
    /// What stands between quotes, with its escapes.
    Text(&'a str),
    /// `$name`: a list or a parameter.
    List(&'a str),
    /// A sign of one or two characters.
    Sign(&'static str),
    End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) span: Span,
    /// True for the first token of a line: where a statement may begin.
    pub(crate) starts_line: bool,
}

/// Longest first.
const SIGNS: &[&str] = &["<=", ">=", "<", ">", "=", ",", ":", "(", ")", "{", "}", "*"];

pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '+' | '-' | '@' | '%')
}

/// The tokens of a part of a text, the last of which is [`Kind::End`], and what could not be read.
pub(crate) fn tokens(text: &str, part: Range<usize>) -> (Vec<Token<'_>>, Vec<Diagnostic>) {
    let text = &text[..part.end];
    let mut lexer = Lexer { text, at: part.start, starts_line: true, diagnostics: Vec::new() };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next() {
        tokens.push(token);
    }
    let span = Span::new(text.len(), text.len());
    tokens.push(Token { kind: Kind::End, span, starts_line: true });
    (tokens, lexer.diagnostics)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    starts_line: bool,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.skip_blank();
            let start = self.at;
            let first = self.text[start..].chars().next()?;
            let kind = self.kind(first);
            let starts_line = std::mem::replace(&mut self.starts_line, false);
            if let Some(kind) = kind {
                return Some(Token { kind, span: Span::new(start, self.at), starts_line });
            }
        }
    }

    fn skip_blank(&mut self) {
        while let Some(character) = self.text[self.at..].chars().next() {
            match character {
                '\n' => self.starts_line = true,
                '#' => {
                    let line = self.text[self.at..].find('\n');
                    self.at = line.map_or(self.text.len(), |len| self.at + len);
                    continue;
                }
                _ if character.is_whitespace() => {}
                _ => return,
            }
            self.at += character.len_utf8();
        }
    }

    fn kind(&mut self, first: char) -> Option<Kind<'a>> {
        if first == '"' {
            return self.quoted();
        }
        if first == '$' {
            self.at += 1;
            return Some(Kind::List(self.word()));
        }
        if is_word(first) {
            return Some(Kind::Word(self.word()));
        }
        let rest = &self.text[self.at..];
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.at += sign.len();
            return Some(Kind::Sign(sign));
        }
        self.refuse(first);
        None
    }

    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let len = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A text ends on its line: a forgotten quote must not swallow the rest of the policy.
    fn quoted(&mut self) -> Option<Kind<'a>> {
        let (start, rest) = (self.at, &self.text[self.at + 1..]);
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let mut escaped = false;
        for (offset, byte) in line.bytes().enumerate() {
            match byte {
                b'"' if !escaped => {
                    self.at += offset + 2;
                    return Some(Kind::Text(&line[..offset]));
                }
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        self.at += line.len() + 1;
        let title = "text without an end: there is no second quote on this line";
        let diagnostic = Diagnostic::new(Code::UnterminatedText, Span::new(start, self.at), title)
            .label("starts here")
            .hint("put `\"` where it ends; a quote inside of it is written `\\\"`");
        self.diagnostics.push(diagnostic);
        // Taken as if it ended with its line, so that the rest of the statement is judged as well.
        Some(Kind::Text(line))
    }

    fn refuse(&mut self, first: char) {
        let start = self.at;
        if matches!(first, '/' | '~') {
            let rest = &self.text[start..];
            let is_path = |character: char| {
                is_word(character) || matches!(character, '/' | '*' | '~' | '?' | '[' | ']')
            };
            self.at += rest.find(|character| !is_path(character)).unwrap_or(rest.len());
            let path = &self.text[start..self.at];
            let title = format!("`{path}`: a path stands in quotes");
            let diagnostic = Diagnostic::new(Code::UnquotedPath, Span::new(start, self.at), title)
                .hint(format!("write `\"{path}\"`"));
            self.diagnostics.push(diagnostic);
            return;
        }
        self.at += first.len_utf8();
        let title = format!("`{first}` has no meaning here");
        let diagnostic =
            Diagnostic::new(Code::UnexpectedCharacter, Span::new(start, self.at), title)
                .hint("a comment begins with `#`, a text stands in double quotes");
        self.diagnostics.push(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        tokens(text, 0..text.len()).0.into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn words_texts_lists_and_signs_are_told_apart() {
        let expected = [
            Kind::Word("set"),
            Kind::Word("algorithm"),
            Kind::Sign("="),
            Kind::Word("zstd"),
            Kind::Sign(":"),
            Kind::Word("-7"),
            Kind::Text("a\\\"b"),
            Kind::List("media"),
            Kind::Sign(">="),
            Kind::End,
        ];
        assert_eq!(kinds("set algorithm = zstd:-7 # why\n \"a\\\"b\" $media >="), expected);
    }

    #[test]
    fn a_forgotten_quote_costs_one_line() {
        let text = "deny open \"/x\nset";
        let (tokens, diagnostics) = tokens(text, 0..text.len());
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(tokens[3].kind, Kind::Word("set"));
        assert!(tokens[3].starts_line);
    }
}
