//! The text of the policy in force.

use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_host::policy::file;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::{Result, control, ui};

/// The policy in force, as it was written: only for people, the kernel has the tables.
#[derive(Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Its file.
    #[serde(serialize_with = "ui::lossy")]
    pub(crate) file: PathBuf,
    /// Names of its targets.
    pub(super) targets: Vec<String>,
    /// Its rules.
    pub(super) rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Rule {
    /// The file that has it.
    #[serde(default, serialize_with = "ui::lossy")]
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(super) text: String,
    #[serde(default)]
    pub(crate) label: Label,
}

/// What a rule says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Label {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) severity: Option<String>,
}

impl Label {
    pub(super) fn new(label: &hsci_language::policy::Label) -> Self {
        Self {
            name: label.name.clone(),
            reason: label.reason.clone(),
            severity: label.severity.map(str::to_owned),
        }
    }
}

impl Loaded {
    pub(super) fn new(source: &Source, policy: &hsci_language::Policy, file: &Path) -> Self {
        let rule = |rule: &hsci_language::policy::Rule| Rule {
            file: source.place(rule.span).file.to_owned(),
            line: source.line(rule.span),
            label: Label::new(&rule.label),
            text: source.statement(rule.span).to_owned(),
        };
        Self {
            file: place::look(file)
                .map_or_else(|_| file.to_owned(), |place| place.path().to_owned()),
            targets: policy.targets.iter().map(|target| target.name.clone()).collect(),
            rules: policy.rules.iter().map(rule).collect(),
        }
    }

    /// What the last load left; nothing if no policy is loaded.
    pub(crate) fn read() -> Result<Option<Self>> {
        let Some(file) = file::open().map_err(|error| of_file(&error))? else { return Ok(None) };
        let read = file::note(&file)
            .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
        let path = file::PATH;
        read.map(Some).map_err(|why| {
            Failure::new(Exit::Internal, format!("{path}: {why}; `hsci policy load` one again"))
        })
    }

    /// True if a rule has this name.
    pub(crate) fn has_rule(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.label.name.as_deref() == Some(name))
    }

    /// What a rule says of itself.
    pub(crate) fn label(&self, index: u32) -> Label {
        self.rules.get(index as usize).map(|rule| rule.label.clone()).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("our own types are valid JSON")
    }

    /// A rule for people: its place, and what it says.
    pub(crate) fn rule(&self, index: u32) -> String {
        let Some(rule) = self.rules.get(index as usize) else { return format!("rule {index}") };
        let text = rule.text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{}:{}: {text}", rule.file.display(), rule.line)
    }
}

/// A failure of the file that has the policy in force.
pub(super) fn of_file(error: &std::io::Error) -> Failure {
    control::of_path(Path::new(file::PATH), Errno::from_io_error(error).unwrap_or(Errno::IO))
}
