//! `hsci up` and `hsci down`: a policy with all that it redirects.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::mounts;
use hsci_host::place::{self, Place};
use hsci_host::supervisor;
use hsci_language::glob::{Component, Pattern};
use hsci_language::policy::Target;
use hsci_protocol::mount::{Job, MountRequest};

use rustix::fs::Dir;

use super::mount::KERNEL_SIDE;
use super::policy::{self, Reviewed};
use super::unmount;
use crate::cli::{Down, Up};
use crate::mount_options::MountOptions;
use crate::{Result, extension_program, option_values, ui};

/// Puts a policy in force, and mounts its targets over themselves.
pub(crate) fn up(args: &Up) -> Result<()> {
    let reviewed = Reviewed::to_enforce(&args.policy, &args.parameters)?;
    let Some((policy, _)) = &reviewed.usable else {
        return Err(reviewed.failure(&args.policy));
    };
    policy::put(&args.policy, &reviewed, args.enforcement)?;
    let mounted = mounted()?;
    let mut failed = Vec::new();
    for target in &policy.targets {
        let (places, refused) = places(target);
        failed.extend(refused);
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
                Ok(()) => {
                    let extensions = target.extensions.join(", ");
                    ui::print(&format!("{dir}: mounted via {extensions}\n"))?;
                }
                Err(failure) => failed.push(failure),
            }
        }
    }
    first_of(failed)
}

/// Unmounts the targets of a policy, and ends the policy in force.
pub(crate) fn down(args: &Down) -> Result<()> {
    let reviewed = Reviewed::to_enforce(&args.policy, &args.parameters)?;
    let Some((policy, _)) = &reviewed.usable else {
        return Err(reviewed.failure(&args.policy));
    };
    let mounted = mounted()?;
    let mut failed = Vec::new();
    let places = policy.targets.iter().flat_map(|target| places(target).0);
    for place in places.filter(|place| mounted.contains(place)) {
        match supervisor::unmount(&place, args.force) {
            Ok(lost) => {
                ui::print(&format!("{}: unmounted\n", place.display()))?;
                unmount::warn_of(&place, &lost);
            }
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
    Ok(mounts::all()?.into_iter().map(|mounted| mounted.dir).collect())
}

fn mount(target: &Target, dir: &Path) -> Result<()> {
    let extensions = target.extensions.clone();
    let (program, described) = extension_program::find_stack(&extensions)?;
    let flags = MountOptions::parse(&[target.flags.join(",")])?.flags;
    let request = MountRequest {
        lower: dir.to_owned(),
        dir: dir.to_owned(),
        extensions,
        flags: flags.bits(),
        allowed: 0,
        options: option_values::resolve(target.options.clone(), &described)?,
        foreground: false,
        debug: false,
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

/// The directories and files of a target that are there, and why some are left out: no symbolic link
/// is followed in a part of a path that others than root can change.
fn places(target: &Target) -> (BTreeSet<PathBuf>, Vec<Failure>) {
    let mut refused = Vec::new();
    let patterns = target.root.patterns.iter();
    let places = patterns.flat_map(|pattern| expand(&pattern.components, &mut refused)).collect();
    (places, refused)
}

fn expand(components: &[Component], refused: &mut Vec<Failure>) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/")];
    for component in components {
        let one = Pattern { absolute: false, components: vec![component.clone()] };
        places = match one.literal() {
            Some(name) => {
                let name = OsStr::from_bytes(name.strip_prefix(b"/").unwrap_or(&name));
                places.iter().map(|place| place.join(name)).collect()
            }
            None => {
                let names = |place: &PathBuf| matching(place, &one, refused);
                places.iter().flat_map(names).collect()
            }
        };
    }
    let found = places.into_iter().filter_map(|place| keep(place::open(&place), refused));
    found.map(|place| place.path().to_owned()).collect()
}

/// What lies in a directory under names that match.
fn matching(dir: &Path, pattern: &Pattern, refused: &mut Vec<Failure>) -> Vec<PathBuf> {
    let Some(opened) = keep(place::open_dir(dir), refused) else { return Vec::new() };
    let entries = opened.read().and_then(Dir::new).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().to_bytes();
        let is_meant = !matches!(name, b"." | b"..") && pattern.matches(&[name]);
        is_meant.then(|| dir.join(OsStr::from_bytes(name)))
    });
    names.collect()
}

/// What is missing is left out silently; what would lead astray is not.
fn keep(opened: Result<Place>, refused: &mut Vec<Failure>) -> Option<Place> {
    match opened {
        Ok(place) => Some(place),
        Err(failure) => {
            if failure.exit != Exit::Missing {
                refused.push(failure);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let (found, refused) = places(&policy.targets[0]);
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(found, BTreeSet::from(["a/mail", "b/mail"].map(|name| dir.path().join(name))));
    }
}
