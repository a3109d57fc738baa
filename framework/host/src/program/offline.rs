//! A store that is not mounted: verifying it, and reading it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::Arc;

use hsci_extension::{Call, Environment, Finding, Ino, Severity};
use hsci_protocol::check::{self, CheckEvent, CheckFinding};
use hsci_protocol::line::send;

use super::export::Target;
use super::stack::{self, Stack};
use super::{Registration, export};
use crate::failure::{Exit, Failure};
use crate::fuse::KernelCaches;
use crate::lock;
use crate::sandbox::{Sandbox, Work, files};
use crate::supervisor::StoreFile;

/// Verifies a store and prints what is found.
pub(super) fn check(
    registrations: &[Registration],
    lower: &Path,
    extension: &str,
) -> Result<(), Failure> {
    let registration = stack::find(registrations, &[extension.to_owned()])?[0];
    let unused = Unused::open(lower)?;
    let (root, _locks) = unused.enter(lower, registration, Work::Read)?;
    let options = stack::check_options(&[registration], &[])?;
    let bare = stack::build(
        &[],
        stack::open(root)?,
        &options,
        &(Arc::new(KernelCaches::default()) as _),
        true,
    )?;
    let store = stack::store_of(registration, &bare.tree, true)
        .map_err(|error| stack::failure("the store", &error))?;
    let kernel = Arc::new(KernelCaches::default());
    let environment = Environment::new(bare.top, store, options, kernel).read_only();
    let mut damaged = false;
    let mut report = |finding: Finding| {
        damaged |= finding.severity == Severity::Damage;
        print(&CheckEvent::Finding(CheckFinding {
            severity: match finding.severity {
                Severity::Notice => check::Severity::Notice,
                Severity::Damage => check::Severity::Damage,
            },
            path: finding.place,
            text: finding.text,
        }));
    };
    let checked = (registration.check)(&environment, &mut report, &mut |bytes| {
        print(&CheckEvent::Progress(bytes));
    })
    .map_err(|error| stack::failure("the check did not end", &error))?;
    print(&CheckEvent::Checked(check::Checked {
        files: checked.files,
        verified_bytes: checked.verified_bytes,
        unverified_bytes: checked.unverified_bytes,
    }));
    if damaged { Err(Failure::new(Exit::No, "")) } else { Ok(()) }
}

/// Copies a part of a store to plain files.
pub(super) fn export(
    registrations: &[Registration],
    lower: &Path,
    extension: &str,
    path: &Path,
    (dest, privileged): (&Path, bool),
) -> Result<(), Failure> {
    let registration = stack::find(registrations, &[extension.to_owned()])?[0];
    let unused = Unused::open(lower)?;
    let target = Target::open(dest)?;
    let (root, _locks) = unused.enter(lower, registration, Work::Copy { privileged })?;
    let options = stack::check_options(&[registration], &[])?;
    let kernel = Arc::new(KernelCaches::default()) as _;
    let stack = stack::build(&[registration], stack::open(root)?, &options, &kernel, true)?;
    let from = resolve(&stack, path)?;
    export::copy(&*stack.top, from, &target, privileged)
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
    root: OwnedFd,
    locks: Vec<OwnedFd>,
}

impl Unused {
    fn open(lower: &Path) -> Result<Self, Failure> {
        let fail = |errno| crate::place::failure(lower, errno);
        let place = crate::place::open_dir(lower)?;
        let outside = place.read().map_err(fail)?;
        let locks = lock::share(outside.as_fd(), place.path())?;
        let root = files::apart_to_read(&outside).map_err(fail)?;
        Ok(Self { root, locks })
    }

    /// Gives up what the work on the store does not take, before a byte of it is read; then sees whether an extension
    /// can read it.
    fn enter(
        self,
        lower: &Path,
        registration: Registration,
        work: Work,
    ) -> Result<(OwnedFd, Vec<OwnedFd>), Failure> {
        let Self { root, locks } = self;
        Sandbox::enter(&[(registration.needs)()], &root, work)
            .map_err(|why| Failure::new(Exit::Usage, why))?;
        let own =
            StoreFile { extension: registration.name.to_owned(), format: registration.format };
        StoreFile::read(&root)
            .and_then(|found| found.map_or(Ok(()), |found| found.admit(&own)))
            .map_err(|failure| failure.of(lower))?;
        Ok((root, locks))
    }
}

fn print(event: &CheckEvent) {
    // A reader that has seen enough is no reason to fail.
    let _ = send(std::io::stdout(), event);
}
