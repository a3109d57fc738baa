//! `hsci doctor`: what this machine offers.

mod building;
mod filters;
mod mounting;
mod place;

use std::path::Path;

use anstyle::AnsiColor;
use hsci_host::failure::{Exit, Failure};
use serde::Serialize;

use crate::cli::Doctor;
use crate::{Result, ui};

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Missing,
    /// The caller may not find out.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What it changes that it is not there.
    #[serde(skip_serializing_if = "str::is_empty")]
    effect: &'static str,
    /// What to do about it.
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'static str,
    /// Nothing can be mounted without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    needed: bool,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), effect: "", advice: "", needed: false }
    }

    fn missing(
        name: &'static str,
        found: impl Into<String>,
        effect: &'static str,
        advice: &'static str,
    ) -> Self {
        Self { state: State::Missing, effect, advice, ..Self::ok(name, found) }
    }

    fn unknown(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { state: State::Unknown, advice, ..Self::ok(name, found) }
    }

    /// Nothing can be mounted without this.
    fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    fn lines(&self) -> String {
        let state = match self.state {
            State::Ok => ui::coloured("ok     ", AnsiColor::Green),
            State::Missing if self.needed => ui::coloured("MISSING", AnsiColor::Red),
            State::Missing => ui::coloured("missing", AnsiColor::Yellow),
            State::Unknown => "unknown".to_owned(),
        };
        let mut lines = format!("{state}  {}: {}\n", self.name, self.found);
        for (label, text) in [("changes", self.effect), ("to do", self.advice)] {
            if !text.is_empty() {
                lines += &format!("         {label}: {text}\n");
            }
        }
        lines
    }
}

/// Prints what this machine offers; fails if nothing can be mounted here.
pub(crate) fn run(args: &Doctor) -> Result<()> {
    let mut findings = mounting::look();
    findings.extend(filters::look());
    findings.extend(building::look());
    if let Some(dir) = &args.dir {
        findings.extend(place::look(dir)?);
    }
    if args.json {
        ui::print_json(&findings)?;
    } else {
        ui::print(&findings.iter().map(Finding::lines).collect::<String>())?;
    }
    let lacking = findings.iter().find(|finding| finding.needed && finding.state == State::Missing);
    lacking.map_or(Ok(()), |finding| {
        let text = format!("{}: {}; {}", finding.name, finding.found, finding.advice);
        Err(Failure::new(Exit::Impossible, text))
    })
}

/// The trimmed text of a file of the kernel or of an administrator.
fn read(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(Path::new(path)).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_not_there_says_what_it_changes_and_what_to_do() {
        let here = std::env::temp_dir();
        let place = place::look(&here).expect("a directory");
        let findings = [mounting::look(), filters::look(), building::look(), place];
        for finding in findings.iter().flatten() {
            assert!(!finding.found.is_empty(), "{finding:?}");
            let is_missing = finding.state == State::Missing;
            assert_eq!(is_missing, !finding.effect.is_empty(), "{finding:?}");
            assert_eq!(finding.state != State::Ok, !finding.advice.is_empty(), "{finding:?}");
        }
    }
}
