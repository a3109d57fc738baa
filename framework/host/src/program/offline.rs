//! A store that is not mounted: verifying it, and reading it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::Arc;

use hsci_extension::check::regular_files;
use hsci_extension::options::Options;
use hsci_extension::{Call, Finding, Ino, Kernel, Severity};
use hsci_protocol::check::{self, CheckEvent, CheckFinding, Offline};
use hsci_protocol::line::{receive, send};
use hsci_protocol::mount::MountOption;

use super::export::Target;
use super::stack::{self, Stack};
use super::{Registration, export};
use crate::failure::{Exit, Failure};
use crate::fuse::KernelCaches;
use crate::lock::{self, Lock};
use crate::sandbox::{Sandbox, Work, files};
use crate::supervisor::{self, StoreFile};

/// A store, kept from hosts for as long as this is there.
struct Store {
    registrations: Vec<Registration>,
    root: OwnedFd,
    options: Options,
    /// How many bytes there are is to be said.
    progress: bool,
    _locks: Locks,
}

/// What keeps others from a store.
enum Locks {
    /// Hosts, but not those who read it as well.
    Shared { _locks: Vec<OwnedFd> },
    /// Everybody.
    Own { _lower: Lock, store: Option<OwnedFd> },
}

impl Drop for Locks {
    fn drop(&mut self) {
        if let Self::Own { store: Some(store), .. } = self {
            lock::release(store);
        }
    }
}

/// Verifies a store and prints what is found; with `repair`, drops what is damaged.
pub(super) fn check(held: &[Registration], repair: bool) -> Result<(), Failure> {
    let store = match repair {
        true => Unused::open_to_change(held)?.enter(Work::Serve)?,
        false => Unused::open(held)?.enter(Work::Read)?,
    };
    let Store { registrations, root, options, progress, _locks } = store;
    let kernel = kernel();
    let tree = stack::open(root)?;
    let keepers = registrations.iter().filter(|registration| registration.format > 0).count();
    if progress {
        let mut stored = 0;
        regular_files(&*tree, &mut |_, found| {
            stored += found.map_or(0, |(_, attr)| attr.blocks * 512);
        });
        print(&CheckEvent::Total(stored * keepers.max(1) as u64));
    }
    let damaged = Cell::new(false);
    let mut sum: Option<hsci_extension::Checked> = None;
    // The lowest first: those above read what it has verified.
    for (place, registration) in registrations.iter().enumerate().rev() {
        let is_only = keepers == 0 && place == 0;
        if registration.format == 0 && !is_only {
            continue;
        }
        let above = &registrations[place + 1..];
        let below = stack::build(above, Arc::clone(&tree), &options, &kernel, !repair)?;
        let environment = below.environment(*registration, &options, &kernel, !repair)?;
        let named = |place: String| match keepers {
            0 | 1 => place,
            _ => format!("{}: {place}", registration.name),
        };
        let mut report = |finding: Finding| {
            damaged.set(damaged.get() | (finding.severity == Severity::Damage));
            print(&CheckEvent::Finding(CheckFinding {
                severity: match finding.severity {
                    Severity::Notice => check::Severity::Notice,
                    Severity::Lost => check::Severity::Lost,
                    Severity::Damage => check::Severity::Damage,
                },
                path: named(finding.place),
                text: finding.text,
            }));
        };
        let work = if repair { registration.repair } else { registration.check };
        let checked = work(&environment, &mut report, &mut |bytes| {
            print(&CheckEvent::Progress(bytes));
        });
        if repair {
            below.top.shutdown();
        }
        let checked = checked.map_err(|error| stack::failure("the check did not end", &error))?;
        sum = Some(sum.map_or(checked, |sum| sum.and(checked)));
    }
    let sum = sum.unwrap_or_default();
    print(&CheckEvent::Checked(check::Checked {
        files: sum.files,
        verified_bytes: sum.verified_bytes,
        unverified_bytes: sum.unverified_bytes,
    }));
    if damaged.get() { Err(Failure::new(Exit::No, "")) } else { Ok(()) }
}

/// Copies a part of a store to plain files.
pub(super) fn export(
    held: &[Registration],
    path: &Path,
    (dest, privileged): (&Path, bool),
) -> Result<(), Failure> {
    let unused = Unused::open(held)?;
    let target = Target::open(dest)?;
    let Store { registrations, root, options, progress, _locks } =
        unused.enter(Work::Copy { privileged })?;
    let stack = stack::build(&registrations, stack::open(root)?, &options, &kernel(), true)?;
    let from = resolve(&stack, path)?;
    if progress {
        print(&CheckEvent::Total(export::bytes_below(&*stack.top, from)));
    }
    export::copy(
        &*stack.top,
        from,
        &target,
        (privileged, &mut |bytes| {
            if progress {
                print(&CheckEvent::Progress(bytes));
            }
        }),
    )
}

fn kernel() -> Arc<dyn Kernel> {
    Arc::new(KernelCaches::default())
}

/// Walks down to a path in the store.
fn resolve(stack: &Stack, path: &Path) -> Result<Ino, Failure> {
    let mut ino = Ino::ROOT;
    for component in path.components() {
        let name: &OsStr = match component {
            Component::CurDir | Component::RootDir => continue,
            Component::Normal(name) => name,
            Component::ParentDir | Component::Prefix(_) => {
                let text = format!("{}: must not contain `..`", path.display());
                return Err(Failure::new(Exit::Usage, text));
            }
        };
        let found = stack
            .top
            .lookup(&Call::internal(), ino, name)
            .map_err(|error| Failure::new(Exit::Missing, format!("{}: {error}", path.display())))?;
        ino = found.ino;
    }
    Ok(ino)
}

/// A store that no host serves, and that none will as long as this is kept.
struct Unused {
    registrations: Vec<Registration>,
    asked: Offline,
    root: OwnedFd,
    locks: Locks,
}

/// Where the store is, what is to read it, and with which options.
type Asked<'a> = (&'a Path, &'a [Registration], Vec<MountOption>);

impl Unused {
    /// Opens the store that standard input names, to read it.
    fn open(held: &[Registration]) -> Result<Self, Failure> {
        Self::open_with(
            held,
            |outside| files::apart_to_read(outside),
            |outside, (path, ..)| Ok(Locks::Shared { _locks: lock::share(outside.as_fd(), path)? }),
        )
    }

    /// The same, for one who changes it.
    fn open_to_change(held: &[Registration]) -> Result<Self, Failure> {
        Self::open_with(
            held,
            |outside| files::apart(outside),
            |outside, (path, registrations, options)| {
                // A newer store is refused before its lock says who has it.
                as_recorded(outside, registrations, options).map_err(|failure| failure.of(path))?;
                let (lower, store) = lock::take_both(outside, path)?;
                Ok(Locks::Own { _lower: lower, store })
            },
        )
    }

    fn open_with(
        held: &[Registration],
        apart: fn(&OwnedFd) -> rustix::io::Result<OwnedFd>,
        lock: fn(&OwnedFd, Asked<'_>) -> Result<Locks, Failure>,
    ) -> Result<Self, Failure> {
        let usage = |why: &str| {
            Failure::new(Exit::Usage, format!("{why}; use `hsci check` or `hsci export`"))
        };
        let asked: Offline = receive(std::io::stdin())
            .map_err(|error| usage(&error.to_string()))?
            .ok_or_else(|| usage("there is nothing to do"))?;
        let registrations = stack::find(held, &asked.extensions)?;
        let fail = |errno| crate::place::failure(&asked.lower, errno);
        let place = crate::place::open_dir(&asked.lower)?;
        let outside = place.read().map_err(fail)?;
        let locks = lock(&outside, (place.path(), &registrations, asked.options.clone()))?;
        let root = apart(&outside).map_err(fail)?;
        Ok(Self { registrations, asked, root, locks })
    }

    /// Gives up what the work on the store does not take, before a byte of it is read; then sees whether these
    /// extensions can read it, and with which options.
    fn enter(self, work: Work) -> Result<Store, Failure> {
        let Self { registrations, asked: Offline { lower, options, progress, .. }, root, locks } =
            self;
        let needs: Vec<_> =
            registrations.iter().map(|registration| (registration.needs)()).collect();
        Sandbox::enter(&needs, &root, work).map_err(|why| Failure::new(Exit::Usage, why))?;
        let options =
            as_recorded(&root, &registrations, options).map_err(|failure| failure.of(&lower))?;
        let options = stack::check_options(&registrations, &options)?;
        Ok(Store { registrations, root, options, progress, _locks: locks })
    }
}

/// The options with which the store was made, and none that differ from them.
fn as_recorded(
    root: &OwnedFd,
    registrations: &[Registration],
    given: Vec<MountOption>,
) -> Result<Vec<MountOption>, Failure> {
    let described: Vec<_> = registrations.iter().map(Registration::describe).collect();
    match StoreFile::read(root)? {
        Some(found) => found.admit(&supervisor::keepers(&described), given),
        None => Ok(given),
    }
}

fn print(event: &CheckEvent) {
    // A reader that has seen enough is no reason to fail.
    let _ = send(std::io::stdout(), event);
}
