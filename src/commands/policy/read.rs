//! Reading a policy from its files: one, or all of a directory, and what they include.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_language::{Code, Diagnostic, Inclusion, Span, inclusions};
use rustix::fs::Dir;
use rustix::io::Errno;

use super::source::Source;
use crate::{Result, control};

/// A policy longer than this is none.
const MAX_LEN: u64 = 16 << 20;

/// Files may include each other this deep.
const MAX_DEPTH: usize = 16;

/// How files are opened.
pub(super) type Open = fn(&Path) -> Result<File>;

/// Device and inode of a file.
type Id = (u64, u64);

/// Reads a policy, and says what is wrong with its includes. A failure is one of a file that was named itself.
pub(super) fn read(path: &Path, open: Open) -> Result<(Source, Vec<Diagnostic>)> {
    let mut reader = Reader {
        open,
        source: Source::default(),
        known: Vec::new(),
        chain: Vec::new(),
        left: MAX_LEN,
        diagnostics: Vec::new(),
    };
    for name in names(path)? {
        let (id, text) = reader.text(&name, open(&name)?)?;
        if reader.known.iter().all(|known| known.id != id) {
            reader.add(id, &name, text);
        }
    }
    Ok((reader.source, reader.diagnostics))
}

/// The file itself, or all of a directory that are policies, in the order of their names.
fn names(path: &Path) -> Result<Vec<PathBuf>> {
    let place = place::look(path)?;
    if !place.is_directory() {
        return Ok(vec![path.to_owned()]);
    }
    let mut names = Vec::new();
    for entry in place.read().and_then(Dir::new).map_err(|errno| control::of_path(path, errno))? {
        let entry = entry.map_err(|errno| control::of_path(path, errno))?;
        names.push(path.join(OsStr::from_bytes(entry.file_name().to_bytes())));
    }
    names.retain(|name| name.extension().is_some_and(|extension| extension == "policy"));
    names.sort();
    if names.is_empty() {
        let text = format!("{}: no file NAME.policy in it", path.display());
        return Err(Failure::new(Exit::Missing, text));
    }
    Ok(names)
}

/// A file that was read.
struct Known {
    id: Id,
    /// True if it has rules, of which the order matters.
    has_rules: bool,
}

struct Reader {
    open: Open,
    source: Source,
    known: Vec<Known>,
    /// The files that are being read, the including ones first.
    chain: Vec<(Id, PathBuf)>,
    /// Bytes that may still be read.
    left: u64,
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    fn text(&mut self, path: &Path, file: File) -> Result<(Id, String)> {
        let stat = file.metadata().map_err(|error| of_path(path, &error))?;
        let mut bytes = Vec::new();
        let taken = file.take(self.left + 1).read_to_end(&mut bytes);
        let len = taken.map_err(|error| of_path(path, &error))? as u64;
        let refuse = |why: &str| Failure::new(Exit::No, format!("{}: {why}", path.display()));
        self.left = self
            .left
            .checked_sub(len)
            .ok_or_else(|| refuse("a policy is at most 16 MiB long, with all that it includes"))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| refuse("not a text in UTF-8; write other bytes as `\\xff`"))?;
        Ok(((stat.dev(), stat.ino()), text))
    }

    /// Adds a file, with what it includes in the places where it does.
    fn add(&mut self, id: Id, path: &Path, text: String) {
        let (included, has_rules) = inclusions(&text);
        self.known.push(Known { id, has_rules });
        self.chain.push((id, path.to_owned()));
        let end = text.len();
        let file = self.source.file(path, text);
        let mut from = 0;
        for inclusion in included {
            let range = inclusion.span.range();
            self.source.part(file, from..range.start);
            from = range.end;
            let span = self.source.skipped(file, range);
            self.include(path, &inclusion, span);
        }
        self.source.part(file, from..end);
        self.chain.pop();
    }

    fn include(&mut self, from: &Path, inclusion: &Inclusion, span: Span) {
        let path = from.parent().unwrap_or(Path::new("")).join(&inclusion.file);
        let wrong = match self.opened(&path) {
            Ok((id, text)) => match self.refusal(id, &path) {
                None => return self.add(id, &path, text),
                Some(Err(refusal)) => refusal,
                Some(Ok(())) => return,
            },
            Err(failure) => Diagnostic::new(Code::BadInclude, span, failure.to_string())
                .hint("a path that is not absolute begins where the including file lies"),
        };
        self.diagnostics.push(Diagnostic { span, ..wrong });
    }

    /// Pipes and the like are not waited for.
    fn opened(&mut self, path: &Path) -> Result<(Id, String)> {
        let is_regular =
            |place: &place::Place| place.stat().is_ok_and(|stat| stat.stx_mode >> 12 == 8);
        if !is_regular(&place::look(path)?) {
            let text = format!("{}: not a regular file", path.display());
            return Err(Failure::new(Exit::Missing, text));
        }
        self.text(path, (self.open)(path)?)
    }

    /// Why a file is not read here: nothing, or what is wrong with that.
    fn refusal(&self, id: Id, path: &Path) -> Option<std::result::Result<(), Diagnostic>> {
        let place = Span::default();
        let chain = || {
            let names = self.chain.iter().map(|(_, path)| path.as_path()).chain([path]);
            names.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" includes ")
        };
        if self.chain.iter().any(|(known, _)| *known == id) {
            let title = format!("a file that includes itself: {}", chain());
            let hint = "move what both need to a file that includes neither";
            return Some(Err(Diagnostic::new(Code::BadInclude, place, title).hint(hint)));
        }
        if let Some(known) = self.known.iter().find(|known| known.id == id) {
            let title =
                format!("{} is included already, and its rules stand there", path.display());
            let hint =
                "the last rule that matches wins: include it once, where its rules are to stand";
            let warning = Diagnostic::new(Code::RepeatedInclude, place, title).hint(hint);
            return Some(if known.has_rules { Err(warning) } else { Ok(()) });
        }
        (self.chain.len() >= MAX_DEPTH).then(|| {
            let title = format!("files include each other more than {MAX_DEPTH} deep: {}", chain());
            let hint = "include them from one file, side by side";
            Err(Diagnostic::new(Code::BadInclude, place, title).hint(hint))
        })
    }
}

fn of_path(path: &Path, error: &std::io::Error) -> Failure {
    control::of_path(path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(path: &Path) -> Result<File> {
        File::open(path).map_err(|error| of_path(path, &error))
    }

    fn read_all(files: &[(&str, &str)]) -> (tempfile::TempDir, Source, Vec<Diagnostic>) {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("written");
        }
        let (source, diagnostics) = read(&dir.path().join(files[0].0), open).expect("read");
        (dir, source, diagnostics)
    }

    #[test]
    fn what_is_included_stands_where_it_is_included() {
        let files = [
            ("a", "deny open \"/1\"\ninclude \"sub/b\"\ndeny open \"/4\"\ninclude \"common\"\n"),
            ("sub/b", "include \"../common\"\ndeny open \"/3\"\n"),
            ("common", "list l = {x}\n"),
        ];
        let (dir, source, diagnostics) = read_all(&files);
        assert_eq!(diagnostics, []);
        let checked =
            source.check(&Default::default(), &hsci_language::names::FixedNames::default());
        let policy = checked.policy.expect("a policy");
        let places = policy.rules.iter().map(|rule| {
            let place = source.place(rule.span);
            (
                source.statement(rule.span),
                place.file.strip_prefix(dir.path()).expect("here"),
                place.line,
            )
        });
        let (a, b) = (Path::new("a"), Path::new("sub/../sub/b"));
        let b = b.strip_prefix("sub/..").unwrap_or(b);
        let expected =
            [("deny open \"/1\"", a, 1), ("deny open \"/3\"", b, 2), ("deny open \"/4\"", a, 3)];
        assert_eq!(places.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_statement_does_not_go_on_in_another_file() {
        let files = [("a", "include \"b\"\n\"/x\"\n"), ("b", "deny open")];
        let (_dir, source, _) = read_all(&files);
        let checked =
            source.check(&Default::default(), &hsci_language::names::FixedNames::default());
        let places = checked.diagnostics.iter().map(|one| source.place(one.span).line);
        assert_eq!(places.collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn circles_depth_and_what_is_missing_are_refused_where_they_are() {
        let (_dir, source, diagnostics) =
            read_all(&[("a", "include \"b\"\n"), ("b", "\ninclude \"a\"\ninclude \"c\"\n")]);
        let found: Vec<_> = diagnostics.iter().map(|one| source.place(one.span).line).collect();
        assert_eq!(found, [2, 3]);
        assert!(diagnostics[0].title.contains("a includes ") && diagnostics[0].is_error());
        assert!(diagnostics[1].title.contains("no such file"), "{}", diagnostics[1].title);
        let deep: Vec<_> =
            (0..20).map(|one| (format!("f{one}"), format!("include \"f{}\"", one + 1))).collect();
        let deep: Vec<_> = deep.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let (_dir, _, diagnostics) = read_all(&deep);
        assert_eq!(diagnostics.len(), 1);
        assert!(diagnostics[0].title.contains("more than 16 deep"));
    }

    #[test]
    fn rules_that_are_included_again_are_not_silently_left_out() {
        let (_dir, _, diagnostics) =
            read_all(&[("a", "include \"b\"\ninclude \"b\"\n"), ("b", "deny open \"/x\"\n")]);
        let codes: Vec<_> = diagnostics.iter().map(|one| one.code).collect();
        assert_eq!(codes, [Code::RepeatedInclude]);
    }
}
