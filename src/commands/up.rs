//! `hsci up` and `hsci down`: a policy with all that it redirects.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor::{self, table};
use hsci_language::glob::{Component, Pattern};
use hsci_language::policy::Target;
use hsci_protocol::mount::{Job, MountOption, MountRequest};

use super::mount::KERNEL_SIDE;
use super::policy::{self, Reviewed};
use crate::cli::{Down, Up};
use crate::{Result, extension_program, ui};

/// Puts a policy in force, and mounts its targets over themselves.
pub(crate) fn up(args: &Up) -> Result<()> {
    let reviewed = Reviewed::new(&args.policy)?;
    let Some((policy, _)) = &reviewed.usable else {
        return Err(reviewed.failure(&args.policy));
    };
    policy::put(&args.policy, &reviewed, args.enforcement)?;
    let mounted = mounted()?;
    let mut failed = Vec::new();
    for target in &policy.targets {
        let places = places(target);
        if places.is_empty() {
            ui::print(&format!("target {}: no such directory\n", target.name))?;
        }
        for place in places {
            let dir = place.display();
            if mounted.contains(&place) {
                ui::print(&format!("{dir}: mounted already\n"))?;
                continue;
            }
            match mount(target, &place) {
                Ok(()) => ui::print(&format!("{dir}: mounted via {}\n", target.extension))?,
                Err(failure) => failed.push(failure),
            }
        }
    }
    first_of(failed)
}

/// Unmounts the targets of a policy, and ends the policy in force.
pub(crate) fn down(args: &Down) -> Result<()> {
    let reviewed = Reviewed::new(&args.policy)?;
    let Some((policy, _)) = &reviewed.usable else {
        return Err(reviewed.failure(&args.policy));
    };
    let mounted = mounted()?;
    let mut failed = Vec::new();
    for place in policy.targets.iter().flat_map(places).filter(|place| mounted.contains(place)) {
        match supervisor::unmount(&place, args.force) {
            Ok(()) => ui::print(&format!("{}: unmounted\n", place.display()))?,
            Err(failure) => failed.push(failure),
        }
    }
    // What is mounted still stays under the policy.
    first_of(failed)?;
    match policy::unload() {
        Err(failure) if failure.exit == Exit::Missing => Ok(()),
        unloaded => unloaded,
    }
}

fn mounted() -> Result<BTreeSet<PathBuf>> {
    Ok(table::all()?.into_iter().map(|mounted| mounted.dir).collect())
}

fn mount(target: &Target, dir: &Path) -> Result<()> {
    let program = extension_program::find(&target.extension)?;
    let request = MountRequest {
        lower: dir.to_owned(),
        dir: dir.to_owned(),
        extensions: vec![target.extension.clone()],
        flags: 0,
        options: target
            .options
            .iter()
            .cloned()
            .map(|(name, value)| MountOption(name, value))
            .collect(),
        foreground: false,
    };
    supervisor::mount(&Job { request, program }, KERNEL_SIDE)
}

/// All failures are told; the first decides how the command ends.
fn first_of(failed: Vec<Failure>) -> Result<()> {
    let mut failed = failed.into_iter();
    let Some(first) = failed.next() else { return Ok(()) };
    for other in failed {
        ui::warn(&format!("hsci: {other}"));
    }
    Err(first)
}

/// The directories and files of a target that are there.
fn places(target: &Target) -> BTreeSet<PathBuf> {
    target.root.patterns.iter().flat_map(|pattern| expand(&pattern.components)).collect()
}

fn expand(components: &[Component]) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/")];
    for component in components {
        let one = Pattern { absolute: false, components: vec![component.clone()] };
        places = match one.literal() {
            Some(name) => {
                let name = OsStr::from_bytes(name.strip_prefix(b"/").unwrap_or(&name));
                places.iter().map(|place| place.join(name)).collect()
            }
            None => places.iter().flat_map(|place| matching(place, &one)).collect(),
        };
    }
    places.retain(|place| place.exists());
    places
}

/// What lies in a directory under names that match.
fn matching(dir: &Path, pattern: &Pattern) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(std::result::Result::ok);
    let names = entries.map(|entry| entry.file_name());
    names.filter(|name| pattern.matches(&[name.as_bytes()])).map(|name| dir.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_their_globs() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["a/mail", "b/mail", "c", "b/other"] {
            fs::create_dir_all(dir.path().join(name)).expect("directories");
        }
        let text = format!("target t = \"{}/{{a,b,c,d}}/m*\" via plug\n", dir.path().display());
        let names = hsci_language::names::FixedNames {
            extensions: [("plug".to_owned(), [].into())].into(),
            ..Default::default()
        };
        let policy = hsci_language::check(&text, &names).policy.expect("a policy");
        let found = places(&policy.targets[0]);
        assert_eq!(found, BTreeSet::from(["a/mail", "b/mail"].map(|name| dir.path().join(name))));
    }
}
