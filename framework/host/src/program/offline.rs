//! A store that is not mounted: verifying it, and reading it.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_extension::check::regular_files;
use hsci_extension::options::Options;
use hsci_extension::{Call, Finding, Ino, Kernel, Needs, Severity, protection};
use hsci_protocol::check::{self, CheckEvent, CheckFinding, Offline};
use hsci_protocol::line::{receive, send};
use hsci_protocol::mount::MountOption;

use super::export::Target;
use super::recovery::Recoverer;
use super::stack::{self, Stack};
use super::{Registration, export};
use crate::failure::{Exit, Failure};
use crate::fuse::KernelCaches;
use crate::lock::{self, Lock};
use crate::lower::{LowerTree, lifetime, raise_descriptor_limit};
use crate::place::keep_own_user;
use crate::sandbox::reader::{self, Reader, Side};
use crate::sandbox::{Sandbox, Work, broker, files};
use crate::store_file::{StoreFile, keepers};
use crate::supervisor::has_judge;
use crate::sys::process::exit_now;

/// A store, kept from hosts for as long as this is there.
struct Store {
    registrations: Vec<Registration>,
    root: OwnedFd,
    options: Options,
    /// How many bytes there are is to be said.
    progress: bool,
    recoverer: Option<Arc<Recoverer>>,
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
    if repair {
        let unused = Unused::open_to_change(held)?;
        let recoverer = Recoverer::start(&unused.registrations)?;
        let store = unused.enter(Work::Serve)?;
        return verify(Store { recoverer, ..store }, true);
    }
    match Unused::open(held)?.split()? {
        Part::Reader(unused, keeper) => verify(unused.enter_to_read(&keeper)?, false),
        Part::Keeper(reader, _locks) => reader.wait(),
    }
}

fn verify(store: Store, repair: bool) -> Result<(), Failure> {
    let Store { registrations, root, options, progress, recoverer, _locks } = store;
    let kernel = kernel();
    let tree = stack::open(root)?;
    watch(&tree, options.time("deadline"));
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
        let below = (Arc::clone(&tree), recoverer.clone());
        let below = stack::build(above, below, &options, &kernel, !repair)?;
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
        let place = || format!("extension `{}`", registration.name);
        let checked = checked.map_err(|error| stack::failure(&place(), &error))?;
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
    let (ours, theirs) = reader::pair().map_err(not_read)?;
    match unused.split()? {
        Part::Reader(unused, keeper) => {
            drop((target, ours));
            if privileged {
                broker::connect(theirs).map_err(not_read)?;
            }
            send_files(unused.enter_to_read(&keeper)?, path, keeper)
        }
        Part::Keeper(reader, _locks) => {
            drop(theirs);
            write_files(reader, &target, privileged.then_some(ours))
        }
    }
}

/// The reader's part of an export.
fn send_files(store: Store, path: &Path, keeper: OwnedFd) -> Result<(), Failure> {
    let Store { registrations, root, options, progress, _locks, .. } = store;
    let tree = stack::open(root)?;
    watch(&tree, options.time("deadline"));
    let stack = stack::build(&registrations, (tree, None), &options, &kernel(), true)?;
    let from = resolve(&stack, path)?;
    if progress {
        print(&CheckEvent::Total(export::bytes_below(&*stack.top, from)));
    }
    let progress = &mut |bytes| {
        if progress {
            print(&CheckEvent::Progress(bytes));
        }
    };
    export::read(&*stack.top, from, (keeper, progress))
}

/// The keeper's part: it makes what the reader asks for, and has nothing of the store.
fn write_files(
    reader: Reader,
    target: &Target<'_>,
    attributes: Option<OwnedFd>,
) -> Result<(), Failure> {
    raise_descriptor_limit();
    let privileged = attributes.is_some();
    Sandbox::enter(&[], target.directory(), Work::Write { privileged })
        .map_err(|why| Failure::new(Exit::Usage, why))?;
    if let Some(socket) = attributes {
        broker::serve_reader(socket).map_err(not_read)?;
    }
    let written = export::write(reader.socket(), target, privileged);
    reader.wait()?;
    written
}

fn not_read(error: impl Into<std::io::Error>) -> Failure {
    let error: std::io::Error = error.into();
    Failure::new(Exit::Internal, format!("the process that reads: {error}"))
}

/// Ends this process when it asks nothing of a store for so long, and has not ended.
fn watch(tree: &Arc<LowerTree>, deadline: Duration) {
    if deadline.is_zero() || !protection::stands("unending") {
        return;
    }
    let tree = Arc::downgrade(tree);
    let look = move || {
        let mut asked = 0;
        let mut since = Instant::now();
        loop {
            std::thread::sleep(deadline.min(Duration::from_secs(1)));
            let Some(tree) = tree.upgrade() else { return };
            if std::mem::replace(&mut asked, tree.times_asked()) != tree.times_asked() {
                since = Instant::now();
            } else if since.elapsed() > deadline {
                super::warn(&format!(
                    "an extension has read nothing for {deadline:?} and is ended; see `-o deadline`"
                ));
                exit_now(Exit::Store.code().into());
            }
        }
    };
    let started = std::thread::Builder::new().name("watchdog".to_owned()).spawn(look);
    if let Err(error) = started {
        log::warn!("nobody notices an extension that hangs: {error}");
    }
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
    /// Whom the store's files are shown to is not this kernel's to decide.
    has_judge: bool,
}

/// Where the store is, what is to read it, and with which options.
type Asked<'a> = (&'a Path, &'a [Registration], Vec<MountOption>);

/// What one of two processes has to do.
enum Part {
    /// It reads the store; the socket leads to the other.
    Reader(Unused, OwnedFd),
    /// It keeps hosts from the store, and does what takes rights.
    Keeper(Reader, Locks),
}

impl Unused {
    /// Goes on as two processes, of which only one has the store, and only the other anything else.
    fn split(self) -> Result<Part, Failure> {
        keep_own_user();
        Ok(match reader::split()? {
            Side::Keeper(reader) => {
                let admitted = reader.admit(&self.needs());
                admitted.map_err(not_read)?;
                Part::Keeper(reader, self.locks)
            }
            Side::Reader(keeper) => {
                let locks = Locks::Shared { _locks: Vec::new() };
                Part::Reader(Self { locks, ..self }, keeper)
            }
        })
    }

    /// Gives up all rights but to read the store, if the extensions need no more.
    fn enter_to_read(self, keeper: &OwnedFd) -> Result<Store, Failure> {
        let user = reader::enter_namespace(keeper, &self.needs());
        if let Err(errno) = &user {
            super::warn(&format!(
                "the store is read as root, for want of a user namespace: {errno}"
            ));
        }
        // A server knows nothing of rights in a namespace, and shows root's files to root alone.
        let user = user.ok().flatten().filter(|_| !self.has_judge);
        self.enter(Work::Read { user })
    }

    fn needs(&self) -> Vec<Needs> {
        self.registrations.iter().map(|registration| (registration.needs)()).collect()
    }

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
        lifetime::keep(&outside);
        let locks = lock(&outside, (place.path(), &registrations, asked.options.clone()))?;
        let root = apart(&outside).map_err(fail)?;
        let has_judge = has_judge(&outside);
        Ok(Self { registrations, asked, root, locks, has_judge })
    }

    /// Gives up what the work on the store does not take, before a byte of it is read; then sees whether these
    /// extensions can read it, and with which options.
    fn enter(self, work: Work) -> Result<Store, Failure> {
        let needs = self.needs();
        let Self { registrations, asked, root, locks, .. } = self;
        let Offline { lower, options, progress, .. } = asked;
        Sandbox::enter(&needs, &root, work).map_err(|why| Failure::new(Exit::Usage, why))?;
        let options =
            as_recorded(&root, &registrations, options).map_err(|failure| failure.of(&lower))?;
        let options = stack::check_options(&registrations, &options)?;
        Ok(Store { registrations, root, options, progress, recoverer: None, _locks: locks })
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
        Some(found) => found.admit(&keepers(&described), given),
        None => Ok(given),
    }
}

fn print(event: &CheckEvent) {
    // A reader that has seen enough is no reason to fail.
    let _ = send(std::io::stdout(), event);
}
