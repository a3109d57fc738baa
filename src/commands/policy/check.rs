//! `hsci policy check`.

use std::path::Path;

use hsci_host::failure::{Exit, Failure};
use hsci_language::{Diagnostic, Span};
use serde::Serialize;

use super::Reviewed;
use super::source::{Place, Source};
use crate::cli::PolicyCheck;
use crate::{Result, ui};

/// What a check found in one file, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(serialize_with = "ui::lossy")]
    file: &'a Path,
    /// True if the policy can be used.
    usable: bool,
    targets: Option<usize>,
    rules: Option<usize>,
    /// Length of the compiled tables in bytes.
    table_bytes: Option<usize>,
    diagnostics: Vec<Entry<'a>>,
}

/// One diagnostic. Lines and columns count from 1, columns in characters.
#[derive(Serialize)]
struct Entry<'a> {
    /// `error` or `warning`.
    severity: &'a str,
    /// The kind, a stable name.
    code: &'a str,
    /// The file that has it.
    #[serde(serialize_with = "ui::lossy")]
    file: &'a Path,
    line: usize,
    column: usize,
    title: &'a str,
    hint: Option<&'a str>,
    related: Vec<Related<'a>>,
}

#[derive(Serialize)]
struct Related<'a> {
    #[serde(serialize_with = "ui::lossy")]
    file: &'a Path,
    line: usize,
    column: usize,
    text: &'a str,
}

impl<'a> Report<'a> {
    fn new(file: &'a Path, reviewed: &'a Reviewed) -> Self {
        let usable = reviewed.usable.as_ref();
        let entries = reviewed.diagnostics.iter().map(|one| Entry::new(one, &reviewed.source));
        Self {
            file,
            usable: usable.is_some(),
            targets: usable.map(|(policy, _)| policy.targets.len()),
            rules: usable.map(|(policy, _)| policy.rules.len()),
            table_bytes: usable.map(|(_, tables)| tables.size()),
            diagnostics: entries.collect(),
        }
    }

    fn line(&self) -> String {
        let file = self.file.display();
        match (self.targets, self.rules, self.table_bytes) {
            (Some(targets), Some(rules), Some(bytes)) => {
                let (targets, rules) = (counted(targets, "target"), counted(rules, "rule"));
                let size = ui::size(bytes as u64);
                format!("{file}: can be used: {targets}, {rules}, {size} of tables\n")
            }
            _ => format!("{file}: cannot be used\n"),
        }
    }
}

impl<'a> Entry<'a> {
    fn new(diagnostic: &'a Diagnostic, source: &'a Source) -> Self {
        let related = |(span, what): &'a (Span, String)| {
            let Place { file, line, column, .. } = source.place(*span);
            Related { file, line, column, text: what }
        };
        let Place { file, line, column, .. } = source.place(diagnostic.span);
        Self {
            file,
            severity: diagnostic.code.severity().name(),
            code: diagnostic.code.name(),
            line,
            column,
            title: &diagnostic.title,
            hint: diagnostic.hint.as_deref(),
            related: diagnostic.related.iter().map(related).collect(),
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Checks policies, and prints what is wrong.
pub(super) fn run(args: &PolicyCheck) -> Result<()> {
    let reviewed = args
        .files
        .iter()
        .map(|file| Ok((file.as_path(), Reviewed::written_for(file, args.machine)?)));
    let reviewed: Vec<(&Path, Reviewed)> = reviewed.collect::<Result<_>>()?;
    let reports: Vec<_> = reviewed.iter().map(|(file, one)| Report::new(file, one)).collect();
    if args.json {
        ui::print_json(&reports)?;
    } else {
        for ((_, one), report) in reviewed.iter().zip(&reports) {
            ui::print(&(one.rendered() + &report.line()))?;
        }
    }
    let errors: usize = reviewed.iter().map(|(_, one)| one.errors()).sum();
    let mut refused = reports.iter().filter(|report| !report.usable);
    let Some(first) = refused.next() else { return Ok(()) };
    let others = match refused.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let text = format!("{}{others}: {}", first.file.display(), counted(errors, "error"));
    Err(Failure::new(Exit::No, text))
}
