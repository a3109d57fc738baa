//! `hsci policy check`.

use std::path::Path;

use hsci_host::failure::{Exit, Failure};
use hsci_language::{Diagnostic, Span};
use serde::Serialize;

use super::Reviewed;
use super::partial::Here;
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
    /// What this machine does not enforce; none unless that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_enforced: Option<&'a [String]>,
}

/// A policy that was looked at.
struct Looked<'a> {
    file: &'a Path,
    reviewed: Reviewed,
    not_enforced: Option<Vec<String>>,
}

impl<'a> Looked<'a> {
    fn at(file: &'a Path, args: &PolicyCheck, here: Option<&Here>) -> Result<Self> {
        let reviewed = Reviewed::new(file, &args.parameters, args.machine)?;
        let not_enforced = match (here, &reviewed.usable) {
            (Some(here), Some((policy, tables))) => {
                Some(here.missing(&reviewed.source, policy, tables)?)
            }
            _ => None,
        };
        Ok(Self { file, reviewed, not_enforced })
    }
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
    fn new(looked: &'a Looked<'_>) -> Self {
        let Looked { file, reviewed, not_enforced } = looked;
        let usable = reviewed.usable.as_ref();
        let entries = reviewed.diagnostics.iter().map(|one| Entry::new(one, &reviewed.source));
        Self {
            file,
            usable: usable.is_some(),
            targets: usable.map(|(policy, _)| policy.targets.len()),
            rules: usable.map(|(policy, _)| policy.rules.len()),
            table_bytes: usable.map(|(_, tables)| tables.size()),
            diagnostics: entries.collect(),
            not_enforced: not_enforced.as_deref(),
        }
    }

    fn lines(&self) -> String {
        let missing = self.not_enforced.unwrap_or_default().iter();
        let file = self.file.display();
        let missing = missing.map(|line| format!("not enforced here: {file}: {line}\n"));
        missing.chain([self.line()]).collect()
    }

    fn line(&self) -> String {
        let file = self.file.display();
        match (self.targets, self.rules, self.table_bytes) {
            (Some(targets), Some(rules), Some(bytes)) => {
                let (targets, rules) =
                    (ui::counted(targets as u64, "target"), ui::counted(rules as u64, "rule"));
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

/// Checks policies, and prints what is wrong.
pub(super) fn run(args: &PolicyCheck) -> Result<()> {
    let here = args.here.then(Here::look).transpose()?;
    let looked = args.files.iter().map(|file| Looked::at(file, args, here.as_ref()));
    let looked: Vec<Looked<'_>> = looked.collect::<Result<_>>()?;
    let reports: Vec<_> = looked.iter().map(Report::new).collect();
    if args.json {
        ui::print_json(&reports)?;
    } else {
        for (one, report) in looked.iter().zip(&reports) {
            ui::print(&(one.reviewed.rendered() + &report.lines()))?;
        }
    }
    let errors: usize = looked.iter().map(|one| one.reviewed.errors()).sum();
    let mut refused = reports.iter().filter(|report| !report.usable);
    let Some(first) = refused.next() else { return all_enforced(&reports, here.as_ref()) };
    let others = match refused.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let text = format!("{}{others}: {}", first.file.display(), ui::counted(errors as u64, "error"));
    Err(Failure::new(Exit::No, text))
}

/// Fails if this machine was asked, and does not enforce all that policies say.
fn all_enforced(reports: &[Report<'_>], here: Option<&Here>) -> Result<()> {
    let lines = reports.iter().map(|report| report.not_enforced.unwrap_or_default().len());
    let lines: usize = lines.sum();
    let (1.., Some(here)) = (lines, here) else { return Ok(()) };
    let why = here.kernel.as_ref().err().map(|why| format!(" ({why})")).unwrap_or_default();
    let lines = ui::counted(lines as u64, "line");
    let text = format!("{lines} not enforced here{why}; `hsci policy load` wants --allow-partial");
    Err(Failure::new(Exit::Impossible, text))
}
