//! The text of the policy in force.

use std::fs;
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::{Result, control, ui};

/// What was loaded: only for people, the kernel has the tables.
pub(super) const NOTE: &str = "/run/hsci/policy.json";

/// The policy in force, as it was written.
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
pub(super) struct Rule {
    /// The file that has it.
    #[serde(default, serialize_with = "ui::lossy")]
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) text: String,
    #[serde(default)]
    pub(super) label: Label,
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
            file: fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()),
            targets: policy.targets.iter().map(|target| target.name.clone()).collect(),
            rules: policy.rules.iter().map(rule).collect(),
        }
    }

    /// What the last load left; nothing if no policy is loaded.
    pub(crate) fn read() -> Result<Option<Self>> {
        let text = match fs::read_to_string(NOTE) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(of_note(&error)),
        };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|error| Failure::new(Exit::Internal, format!("{NOTE}: {error}")))
    }

    /// True if a rule has this name.
    pub(crate) fn has_rule(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.label.name.as_deref() == Some(name))
    }

    /// What a rule says of itself.
    pub(crate) fn label(&self, index: u32) -> Label {
        self.rules.get(index as usize).map(|rule| rule.label.clone()).unwrap_or_default()
    }

    pub(super) fn write(&self) -> Result<()> {
        let text = serde_json::to_string(self).expect("our own types are valid JSON");
        let dir = Path::new(NOTE).parent().expect("the note lies in a directory");
        let written = fs::create_dir_all(dir)
            .and_then(|()| fs::write(Path::new(NOTE).with_extension("new"), text))
            .and_then(|()| fs::rename(Path::new(NOTE).with_extension("new"), NOTE));
        written.map_err(|error| of_note(&error))
    }

    /// A rule for people: its place, and what it says.
    pub(crate) fn rule(&self, index: u32) -> String {
        let Some(rule) = self.rules.get(index as usize) else { return format!("rule {index}") };
        let text = rule.text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{}:{}: {text}", rule.file.display(), rule.line)
    }
}

fn of_note(error: &std::io::Error) -> Failure {
    control::of_path(Path::new(NOTE), Errno::from_io_error(error).unwrap_or(Errno::IO))
}
