//! `hsci policy learn`: from what was reported, a policy that lets pass just that.

mod rules;

use std::path::{Path, PathBuf};

use hsci_host::control as channel;
use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_language::{Operation, glob};
use nix::unistd::User;
use serde::Deserialize;

use self::rules::{Done, Rules};
use super::names::MachineNames;
use crate::cli::PolicyLearn;
use crate::commands::trace;
use crate::{Result, ui};

/// What a report says, as `hsci trace --json` has it.
#[derive(Deserialize)]
pub(in crate::commands) struct Seen {
    pub(in crate::commands) kind: String,
    pub(in crate::commands) operation: Option<String>,
    pub(in crate::commands) name: String,
    pub(in crate::commands) user: u32,
    #[serde(default)]
    pub(in crate::commands) executable: Option<String>,
}

/// Reports, and what of them is of no use.
#[derive(Default)]
struct Reports {
    done: Vec<Done>,
    /// Calls that were refused, or that nobody could judge.
    refused: u64,
    /// Calls of which only the last name of the path is known.
    without_path: u64,
}

/// Prints a policy.
pub(super) fn run(args: &PolicyLearn) -> Result<()> {
    let (seen, lost) = match &args.from {
        Some(file) => (of_file(file)?, 0),
        None => trace::remembered(args.dir.as_deref().unwrap_or(Path::new(".")))?,
    };
    let base = args.dir.as_deref().map(place::look).transpose()?;
    let base = base.map(|place| place.path().to_owned());
    let mut reports = Reports::default();
    seen.into_iter().for_each(|seen| reports.take(seen));
    let base = base.unwrap_or_else(|| common_dir(&reports.done));
    let Some(base) = base.to_str().map(|base| base.trim_end_matches('/').to_owned()) else {
        let text = format!("{}: not in UTF-8, which reports are", base.display());
        return Err(Failure::new(Exit::No, text));
    };
    reports.done.retain(|done| is_below(&done.path, &base));
    reports.warn(lost);
    if reports.done.is_empty() {
        let text = format!(
            "{base}: nothing was reported there; load a policy that denies all in it with `--permissive`, and let \
             happen what is to be allowed"
        );
        return Err(Failure::new(Exit::Missing, text));
    }
    let text = policy(&base, &reports.done, args.names)?;
    ui::print(&text)
}

impl Reports {
    fn take(&mut self, seen: Seen) {
        let operation = seen.operation.as_deref().and_then(Operation::parse);
        match (seen.kind.as_str(), operation) {
            ("audited" | "would deny", Some(_)) if !seen.name.starts_with('/') => {
                self.without_path += 1;
            }
            ("audited" | "would deny", Some(operation)) => self.done.push(Done {
                operation,
                path: seen.name.trim_end_matches('/').to_owned(),
                user: seen.user,
                executable: seen.executable.filter(|path| !path.is_empty()),
            }),
            _ => self.refused += 1,
        }
    }

    fn warn(&self, lost: u64) {
        let counted = |count: u64| ui::counted(count, "report");
        if lost > 0 {
            let text = "older than the mount remembers, and left out; `hsci trace --json > FILE` keeps all";
            ui::warn(&format!("hsci: {}: {text}", counted(lost)));
        }
        if self.without_path > 0 {
            let text = "of what lies in no mount, by the guard, which knows no paths; left out: only mounts tell what to learn";
            ui::warn(&format!("hsci: {}: {text}", counted(self.without_path)));
        }
        if self.refused > 0 {
            let text =
                "of calls that were refused, and left out: load the policy with `--permissive`";
            ui::warn(&format!("hsci: {}: {text}", counted(self.refused)));
        }
    }
}

fn of_file(path: &Path) -> Result<Vec<Seen>> {
    let text = std::io::read_to_string(place::read(path)?)
        .map_err(|error| Failure::new(Exit::Missing, format!("{}: {error}", path.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(index, line)| {
        serde_json::from_str(line).map_err(|error| {
            let place = format!("{}: line {}", path.display(), index + 1);
            let text = format!("{place}: no report of `hsci trace --json`: {error}");
            Failure::new(Exit::No, text)
        })
    });
    read.collect()
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The directory that all was done in.
fn common_dir(done: &[Done]) -> PathBuf {
    let mut paths = done.iter().map(|done| Path::new(&done.path));
    let first = paths.next().and_then(Path::parent).unwrap_or(Path::new("/"));
    let common = paths.fold(first, |common, path| {
        common.ancestors().find(|dir| path.starts_with(dir)).unwrap_or(common)
    });
    common.to_owned()
}

/// The text of the policy, which is checked before anyone sees it.
fn policy(base: &str, done: &[Done], most_names: usize) -> Result<String> {
    let names = MachineNames::new();
    let user = |uid: u32| {
        let name = User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
        let is_word = |name: &String| {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        name.filter(is_word).unwrap_or_else(|| uid.to_string())
    };
    let rules = Rules::new(base, done, most_names);
    let all = format!("{}/**", glob::escape(base.as_bytes()));
    let reports = ui::counted(done.len() as u64, "report");
    let mut text = format!(
        "# Learned from {reports} of what was done in {}: read it, and change what is too wide or too narrow.\n\
         # The last rule that matches wins: all is denied but for what the rules after the first let pass.\n{}\
         deny * \"{all}\"\n\
         # What the kernel answers from its caches is seen by chance only.\n\
         pass getattr, readlink, lock \"{all}\"\n\n",
        base.escape_debug(),
        target(base)?,
    );
    text += &rules.text(&user, &|path| hsci_language::names::Names::executable(&names, path));
    let checked = hsci_language::check(&text, &names);
    let unmet = |policy: &hsci_language::Policy| {
        policy.expectations.iter().any(|expectation| {
            let judgement = hsci_language::judge(policy, &expectation.call);
            expectation.outcomes.iter().any(|(wanted, one)| one.holds(&judgement) != *wanted)
        })
    };
    match checked.policy {
        Some(policy) if !unmet(&policy) => Ok(text),
        _ => {
            let first = checked.diagnostics.iter().find(|one| one.is_error());
            let why = first.map_or("an expectation does not hold", |one| one.title.as_str());
            Err(Failure::new(Exit::Internal, format!("the learned policy cannot be used: {why}")))
        }
    }
}

/// The target of a mount: without one, hosts do not judge.
fn target(base: &str) -> Result<String> {
    let Some(mounted) = place::find_mount(Path::new(base))? else { return Ok(String::new()) };
    let statuses = channel::statuses(std::slice::from_ref(&mounted));
    let extensions = statuses.into_iter().next().and_then(|status| status.supervisor);
    let extensions = extensions.map(|supervisor| supervisor.extensions.join(", "));
    let place = glob::escape(base.as_bytes());
    let target = |extensions| format!("target learned = \"{place}\" via {extensions}\n");
    Ok(extensions.map(target).unwrap_or_default())
}
