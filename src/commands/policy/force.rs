//! `hsci policy load` and `unload`: the policy that is in force.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hsci_engine::{Spoken, Tables};
use hsci_host::failure::{Exit, Failure};
use hsci_host::mounts::{self, Mounted};
use hsci_host::policy::file::{self, Handed, Head};
use hsci_host::policy::spoken;
use hsci_host::supervisor;
use hsci_kernel::guard::{Guard, Options};
use hsci_kernel::memory::{self, Remembered};
use hsci_kernel::{Error, callers};
use hsci_language::Policy;

use super::loaded::{Loaded, of_file};
use super::partial::Here;
use super::{Reviewed, failure, test};
use crate::cli::Enforcement;
use crate::{Result, ui};

/// Puts a policy in force: by the guard where the kernel takes it, and in all mounts.
pub(crate) fn put(
    file: &Path,
    reviewed: &Reviewed,
    Enforcement { permissive, allow_partial, allow_unmet }: Enforcement,
) -> Result<()> {
    let Some((policy, tables)) = &reviewed.usable else { return Err(reviewed.failure(file)) };
    let known = marks_in_force();
    let (policy, tables) = &with_marks_of(&known, policy, tables);
    let source = &reviewed.source;
    if let (Some(unmet), false) = (test::first_unmet(policy, tables), allow_unmet) {
        let place = source.place(unmet.span);
        let file = file.display();
        let text = format!(
            "{file}: {place}: the expectation does not hold; `hsci policy test` shows what \
             comes of it, --allow-unmet loads the policy all the same"
        );
        return Err(Failure::new(Exit::No, text));
    }
    let here = Here::look()?;
    let mut missing = here.missing(source, policy, tables)?;
    let guarded = here.kernel.is_ok();
    if let (Some(first), false) = (missing.first(), allow_partial) {
        let why = here.kernel.err().map(|why| format!(" ({why})")).unwrap_or_default();
        let text = format!("{}: {first}{why}; use --allow-partial", file.display());
        return Err(Failure::new(Exit::Impossible, text));
    }
    if tables.remembers() {
        let memory = Remembered::open().map_err(|error| failure(&error))?;
        memory.renew(&tables.marks(), &known);
    }
    let mut place = "in mounts only".to_owned();
    if let Ok(kernel) = &here.kernel {
        let options = Options { permissive, allow_partial };
        let (guard, lines) =
            Guard::load(kernel, tables, options).map_err(|error| failure(&error))?;
        let known = missing.clone();
        missing.extend(lines.into_iter().filter(|line| !known.contains(line)));
        place = format!("{} in the kernel", ui::size(guard.table_len() as u64));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = now.as_nanos() as u64;
    // Hosts report more than the guard can: paths, and who did it through what.
    let by_guard = guarded && !permissive;
    let head = Head { file: file.to_owned(), number, guarded: by_guard, permissive };
    let note = Loaded::new(source, policy, file).text();
    Handed { head, tables: tables.clone() }.write(&note).map_err(|error| of_file(&error))?;
    // Before mounts hear of the policy. Those that find no program load one each.
    let is_about = |mounted: &Mounted| spoken(tables, &mounted.dir) != Spoken::default();
    let is_for_mounts = !policy.targets.is_empty() || mounts::all()?.iter().any(is_about);
    let _ = if is_for_mounts { callers::share(tables, number) } else { callers::forget() };
    missing.extend(renew(Some(number), by_guard)?);
    for line in missing {
        ui::print(&format!("not enforced: {}: {line}\n", file.display()))?;
    }
    let mode = if permissive { "reports only" } else { "in force" };
    let rules = policy.rules.len();
    ui::print(&format!("{}: {mode}: {rules} rules, {place}\n", file.display()))
}

/// Names of the marks of the policy in force, by their numbers.
fn marks_in_force() -> Vec<String> {
    let handed = file::open().ok().flatten().and_then(|file| Handed::read(&file).ok());
    handed.map(|handed| handed.tables.marks()).unwrap_or_default()
}

/// Marks of the same name keep their numbers, so that processes keep them.
fn with_marks_of(known: &[String], policy: &Policy, tables: &Tables) -> (Policy, Tables) {
    let mut renumbered = policy.clone();
    if !known.is_empty() && !policy.marks.is_empty() {
        renumbered.keep_marks(known);
    }
    if renumbered.marks == policy.marks {
        return (renumbered, tables.clone());
    }
    match hsci_engine::compile(&renumbered) {
        Ok(compiled) => (renumbered, compiled.tables),
        Err(_) => (policy.clone(), tables.clone()),
    }
}

/// Has all mounts take the policy with a number, or none; returns a line for each that does not, or whose
/// store is not sealed although it is to be.
fn renew(number: Option<u64>, sealed: bool) -> Result<Vec<String>> {
    let left = supervisor::renew_policies(number, sealed)?;
    Ok(left.into_iter().map(|(dir, why)| format!("{}: {why}", dir.display())).collect())
}

/// Ends the policy that is in force.
pub(crate) fn unload() -> Result<()> {
    let guard = Guard::open().map_err(|error| failure(&error))?;
    let was_there = file::remove().map_err(|error| of_file(&error))?;
    if guard.is_none() && !was_there {
        return Err(failure(&Error::NotLoaded));
    }
    // Programs that take long to end do not keep the rest from its end.
    let lingering = match guard.map(Guard::unload) {
        Some(Err(error @ Error::Lingering { .. })) => Some(error),
        ended => ended.transpose().map(|_| None).map_err(|error| failure(&error))?,
    };
    callers::forget().and_then(|()| memory::forget()).map_err(|error| failure(&error))?;
    for line in renew(None, false)? {
        ui::print(&format!("{line}\n"))?;
    }
    lingering.map_or(Ok(()), |error| Err(failure(&error)))
}
