//! The text of a policy, and which file each part of it is from.

use std::fmt;
use std::path::{Path, PathBuf};

use hsci_language::{Diagnostic, Span};

/// One file, or all of a directory one after the other.
pub(in crate::commands) struct Source {
    /// What is checked: the texts of all files, each ended by a line end.
    text: String,
    /// The files, with where each begins, ascending.
    files: Vec<(usize, PathBuf)>,
}

/// Where something stands.
pub(in crate::commands) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) line: usize,
    pub(super) column: usize,
    /// True if the policy is one file, which need not be named.
    is_only: bool,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_only {
            write!(formatter, "{}: ", self.file.display())?;
        }
        write!(formatter, "line {}", self.line)
    }
}

impl Source {
    pub(super) fn new(files: Vec<(PathBuf, String)>) -> Self {
        let mut source = Self { text: String::new(), files: Vec::new() };
        for (file, text) in files {
            if !source.text.is_empty() {
                source.text.push('\n');
            }
            source.files.push((source.text.len(), file));
            source.text.push_str(&text);
        }
        source
    }

    /// All of it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text of a statement.
    pub(super) fn statement(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Index of the file in which a place lies.
    fn index(&self, span: Span) -> usize {
        let start = span.range().start;
        self.files.partition_point(|(first, _)| *first <= start).saturating_sub(1)
    }

    /// Where a file begins, and its text.
    fn part(&self, index: usize) -> (usize, &str) {
        let start = self.files[index].0;
        let end = self.files.get(index + 1).map_or(self.text.len(), |(next, _)| next - 1);
        (start, &self.text[start..end])
    }

    /// Where something stands, in its own file.
    pub(super) fn place(&self, span: Span) -> Place<'_> {
        let index = self.index(span);
        let (start, text) = self.part(index);
        let span = shifted(span, start, text.len());
        let (line, column) = (span.line(text), span.column(text));
        Place { file: &self.files[index].1, line, column, is_only: self.files.len() == 1 }
    }

    /// The line, in its own file.
    pub(super) fn line(&self, span: Span) -> usize {
        self.place(span).line
    }

    /// Diagnostics for people to read, each with the lines of the file that has it.
    pub(super) fn render(&self, diagnostics: &[Diagnostic]) -> String {
        let each = diagnostics.iter().map(|diagnostic| self.render_one(diagnostic));
        each.collect()
    }

    fn render_one(&self, diagnostic: &Diagnostic) -> String {
        let index = self.index(diagnostic.span);
        let (start, text) = self.part(index);
        let mut own = diagnostic.clone();
        own.span = shifted(diagnostic.span, start, text.len());
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            own.related.into_iter().partition(|(span, _)| self.index(*span) == index);
        let here =
            here.into_iter().map(|(span, text_of)| (shifted(span, start, text.len()), text_of));
        own.related = here.collect();
        for (span, what) in elsewhere {
            let hint = own.hint.take().map(|hint| format!("{hint}; ")).unwrap_or_default();
            own.hint = Some(format!("{hint}{}: {what}", self.place(span)));
        }
        let file = self.files[index].1.display().to_string();
        hsci_language::render_all(&[own], &file, text, true)
    }
}

/// A place in a part of a text.
fn shifted(span: Span, start: usize, len: usize) -> Span {
    let range = span.range();
    let within = |at: usize| at.saturating_sub(start).min(len);
    Span::new(within(range.start), within(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_that_in_its_own_file() {
        let files = [("a", "one\ntwo\n"), ("b", "three\n four"), ("c", "")];
        let files = files.map(|(file, text)| (PathBuf::from(file), text.to_owned()));
        let source = Source::new(files.to_vec());
        for (word, file, line, column) in
            [("one", "a", 1, 1), ("two", "a", 2, 1), ("three", "b", 1, 1), ("four", "b", 2, 2)]
        {
            let start = source.text().find(word).expect("there");
            let place = source.place(Span::new(start, start + word.len()));
            assert_eq!((place.file, place.line, place.column), (Path::new(file), line, column));
            assert_eq!(place.to_string(), format!("{file}: line {line}"));
        }
        let only = Source::new(vec![(PathBuf::from("a"), "x".to_owned())]);
        assert_eq!(only.place(Span::new(0, 1)).to_string(), "line 1");
    }
}
