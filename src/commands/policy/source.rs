//! The text of a policy, and which file each part of it is from.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hsci_language::names::Names;
use hsci_language::{Checked, Diagnostic, Span};

/// All files of a policy, put together.
#[derive(Default)]
pub(in crate::commands) struct Source {
    /// The parts of all files in the order in which they count, each ended by a line end.
    text: String,
    /// Where each part begins in it, ascending.
    parts: Vec<Part>,
    /// The files, each with its own text.
    files: Vec<(PathBuf, String)>,
}

/// A part of a file.
struct Part {
    start: usize,
    /// Which file.
    file: usize,
    /// Where in that.
    range: Range<usize>,
    /// False for an include, in whose place the other file stands.
    counts: bool,
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
    /// Adds a file, of which parts are added later.
    pub(super) fn file(&mut self, path: &Path, text: String) -> usize {
        self.files.push((path.to_owned(), text));
        self.files.len() - 1
    }

    /// Adds a part of a file; returns where it is now.
    pub(super) fn part(&mut self, file: usize, range: Range<usize>) {
        self.add(file, range, true);
    }

    /// Adds a part that is only there for diagnostics.
    pub(super) fn skipped(&mut self, file: usize, range: Range<usize>) -> Span {
        self.add(file, range, false)
    }

    fn add(&mut self, file: usize, range: Range<usize>, counts: bool) -> Span {
        let start = self.text.len();
        self.text.push_str(&self.files[file].1[range.clone()]);
        let span = Span::new(start, self.text.len());
        self.text.push('\n');
        self.parts.push(Part { start, file, range, counts });
        span
    }

    /// Checks it, with the values that its parameters are given.
    pub(super) fn check(&self, given: &BTreeMap<String, String>, names: &dyn Names) -> Checked {
        let counting = self.parts.iter().filter(|part| part.counts);
        let parts: Vec<_> =
            counting.map(|part| part.start..part.start + part.range.len()).collect();
        hsci_language::check_parts(&self.text, &parts, given, names)
    }

    /// The text of a statement.
    pub(super) fn statement(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// The part in which a place lies.
    fn part_of(&self, span: Span) -> &Part {
        let start = span.range().start;
        let index = self.parts.partition_point(|part| part.start <= start).saturating_sub(1);
        &self.parts[index]
    }

    /// A place in its own file.
    fn own(&self, span: Span) -> (usize, Span) {
        let part = self.part_of(span);
        let within =
            |at: usize| part.range.start + at.saturating_sub(part.start).min(part.range.len());
        let range = span.range();
        (part.file, Span::new(within(range.start), within(range.end)))
    }

    /// Where something stands, in its own file.
    pub(super) fn place(&self, span: Span) -> Place<'_> {
        let (file, own) = self.own(span);
        let (path, text) = &self.files[file];
        let (line, column) = (own.line(text), own.column(text));
        Place { file: path, line, column, is_only: self.files.len() == 1 }
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
        let (file, span) = self.own(diagnostic.span);
        let mut own = Diagnostic { span, related: Vec::new(), ..diagnostic.clone() };
        for (span, what) in &diagnostic.related {
            let (other, there) = self.own(*span);
            if other == file {
                own.related.push((there, what.clone()));
            } else {
                let hint = own.hint.take().map(|hint| format!("{hint}; ")).unwrap_or_default();
                own.hint = Some(format!("{hint}{}: {what}", self.place(*span)));
            }
        }
        let (path, text) = &self.files[file];
        hsci_language::render_all(&[own], &path.display().to_string(), text, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_that_in_its_own_file() {
        let files = [("a", "one\ntwo\n"), ("b", "three\n four"), ("c", "")];
        let mut source = Source::default();
        for (path, text) in files {
            let file = source.file(Path::new(path), text.to_owned());
            source.part(file, 0..text.len());
        }
        for (word, file, line, column) in
            [("one", "a", 1, 1), ("two", "a", 2, 1), ("three", "b", 1, 1), ("four", "b", 2, 2)]
        {
            let start = source.text.find(word).expect("there");
            let place = source.place(Span::new(start, start + word.len()));
            assert_eq!((place.file, place.line, place.column), (Path::new(file), line, column));
            assert_eq!(place.to_string(), format!("{file}: line {line}"));
        }
        let mut only = Source::default();
        let file = only.file(Path::new("a"), "x".to_owned());
        only.part(file, 0..1);
        assert_eq!(only.place(Span::new(0, 1)).to_string(), "line 1");
    }
}
