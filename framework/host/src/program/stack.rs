//! Building a stack of layers over a lower directory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::options::{OptionKind, OptionSpec, Options, PROFILE};
use hsci_extension::{
    Declaration, Environment, Errno, Error, FileId, FileSystem, Kernel, LowerFile, Reopened,
    Result as LayerResult, Store,
};

use hsci_protocol::mount::MountOption;

use super::Registration;
use super::recovery::Recoverer;
use crate::failure::{Exit, Failure};
use crate::lower::{LowerStore, LowerTree};

/// The options of the host itself.
pub(crate) const HOST_OPTIONS: [OptionSpec; 8] = [
    OptionSpec::new(
        "cache",
        "seconds for which the kernel relies on names and attributes without asking again",
        OptionKind::Time,
        "3600",
    ),
    OptionSpec::new(
        "deadline",
        "time after which an extension that does not answer is restarted; 0 for never",
        OptionKind::Time,
        "5m",
    ),
    OptionSpec::new(
        "force",
        "mount although programs have files in the lower directory open for writing",
        OptionKind::Flag,
        "no",
    ),
    OptionSpec::new(
        "memory",
        "memory that the files which the kernel knows may take; 0 for a quarter of the machine's",
        OptionKind::Size { min: 0, max: 1 << 44 },
        "0",
    ),
    PROFILE,
    OptionSpec::new(
        "single-host",
        "no other machine mounts the store, where the file system below gives no lock to tell",
        OptionKind::Flag,
        "no",
    ),
    OptionSpec::new(
        "start-deadline",
        "time after which an extension that has not started is given up; 0 for never",
        OptionKind::Time,
        "2m",
    ),
    OptionSpec::new(
        "take-over",
        "the machine that has served the store, and has not unmounted it, is gone",
        OptionKind::Flag,
        "no",
    ),
];

/// Layers over a lower directory.
pub(super) struct Stack {
    pub(super) tree: Arc<LowerTree>,
    pub(super) top: Arc<dyn FileSystem>,
    pub(super) declared: Declaration,
    pub(super) layers: usize,
    /// Who brings the stores into order; nobody where this process does.
    recoverer: Option<Arc<Recoverer>>,
}

/// Finds the extensions of the given names.
pub(super) fn find(
    registrations: &[Registration],
    names: &[String],
) -> Result<Vec<Registration>, Failure> {
    let find = |name: &String| {
        registrations.iter().find(|registration| registration.name == name).copied().ok_or_else(|| {
            let held: Vec<_> = registrations.iter().map(|registration| registration.name).collect();
            let text = format!(
                "extension `{name}` is not in the program of `{}`, which holds {}; name first the one whose program holds them all",
                names[0],
                held.join(", ")
            );
            Failure::new(Exit::Usage, text)
        })
    };
    names.iter().map(find).collect()
}

/// Checks options of the host and of all extensions of a stack; each option goes to all that have it.
pub(super) fn check_options(
    stack: &[Registration],
    given: &[MountOption],
) -> Result<Options, Failure> {
    let specs = stack.iter().flat_map(|registration| (registration.options)());
    let specs: Vec<_> = HOST_OPTIONS.into_iter().chain(specs).collect();
    let given = given.iter().map(|MountOption(name, value)| (name.as_str(), value.as_str()));
    Options::check(&specs, given).map_err(|complaint| Failure::new(Exit::Usage, complaint))
}

/// A lower directory that no other process goes on to serve.
pub(super) fn open(root: OwnedFd) -> Result<Arc<LowerTree>, Failure> {
    LowerTree::open(root).map_err(|error| failure("the lower directory", &error))
}

/// Starts the layers, the lowest first.
pub(super) fn build(
    registrations: &[Registration],
    (tree, recoverer): (Arc<LowerTree>, Option<Arc<Recoverer>>),
    options: &Options,
    kernel: &Arc<dyn Kernel>,
    read_only: bool,
) -> Result<Stack, Failure> {
    let top = Arc::clone(&tree) as _;
    let mut stack = Stack { tree, top, declared: Declaration::new(), layers: 0, recoverer };
    for registration in registrations.iter().rev() {
        let environment = stack.environment(*registration, options, kernel, read_only)?;
        stack.top =
            (registration.start)(&environment).map_err(|error| named(registration, &error))?;
        stack.declared = stack.declared.and((registration.declaration)());
        stack.layers += 1;
    }
    Ok(stack)
}

impl Stack {
    /// All stores are in order.
    pub(super) fn end_recovery(&mut self) {
        self.recoverer = None;
    }

    /// What an extension is given that stands on this stack.
    pub(super) fn environment(
        &self,
        registration: Registration,
        options: &Options,
        kernel: &Arc<dyn Kernel>,
        read_only: bool,
    ) -> Result<Environment, Failure> {
        let store =
            self.store_of(registration, read_only).map_err(|error| named(&registration, &error))?;
        let (lower, kernel) = (Arc::clone(&self.top), Arc::clone(kernel));
        let environment = Environment::new(lower, Arc::clone(&store), options.clone(), kernel);
        let environment = match self.recoverer.clone() {
            Some(recoverer) => environment
                .recovering(Arc::new(move || recoverer.run(registration.name, &store, read_only))),
            None => environment,
        };
        Ok(if read_only { environment.read_only() } else { environment })
    }
}

impl Stack {
    /// The corner of the store that belongs to an extension. Nothing is made where nothing may be written.
    fn store_of(&self, registration: Registration, read_only: bool) -> LayerResult<Arc<dyn Store>> {
        if registration.format == 0 {
            return Ok(Arc::new(NoStore));
        }
        match self.tree.store(registration.name, !read_only) {
            Ok(store) if self.layers == 0 => Ok(store),
            Ok(store) => Ok(Arc::new(StoreAbove { store, below: Arc::clone(&self.top) })),
            Err(Error::Lower(Errno::NOENT)) if read_only => Ok(Arc::new(NoStore)),
            Err(error) => Err(error),
        }
    }
}

/// The store of an extension that stands on others: files of users that it finds again are those that it was given,
/// not what is stored of them below the others.
struct StoreAbove {
    store: Arc<LowerStore>,
    below: Arc<dyn FileSystem>,
}

impl Store for StoreAbove {
    fn open(&self, name: &str, create: bool) -> LayerResult<Arc<dyn LowerFile>> {
        self.store.open(name, create)
    }

    fn create(&self, name: &str) -> LayerResult<Arc<dyn LowerFile>> {
        self.store.create(name)
    }

    fn names(&self) -> LayerResult<Vec<String>> {
        self.store.names()
    }

    fn rename(&self, from: &str, to: &str) -> LayerResult<()> {
        self.store.rename(from, to)
    }

    fn remove(&self, name: &str) -> LayerResult<()> {
        self.store.remove(name)
    }

    fn sync_names(&self) -> LayerResult<()> {
        self.store.sync_names()
    }

    fn sync_all(&self) -> LayerResult<()> {
        self.store.sync_all()
    }

    fn free_space(&self) -> LayerResult<u64> {
        self.store.free_space()
    }

    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>) {
        self.store.find_again(ids, &mut |place, found| {
            let file = found.and_then(|ino| {
                let file = self.below.file(ino);
                self.below.forget(ino, 1);
                file
            });
            visit(place, file);
        });
    }

    fn bring_forward(&self, version: u32) -> LayerResult<()> {
        self.store.bring_forward(version)
    }

    fn epoch(&self) -> u64 {
        self.store.epoch()
    }
}

fn named(registration: &Registration, error: &Error) -> Failure {
    failure(&format!("extension `{}`", registration.name), error)
}

/// An error of a layer, as a command fails with it.
pub(super) fn failure(place: &str, error: &Error) -> Failure {
    let exit = match error {
        Error::Newer(_) | Error::Damaged(_) => Exit::Store,
        Error::Invalid(_) => Exit::Usage,
        Error::NotPermitted(_) => Exit::Impossible,
        Error::Busy => Exit::InUse,
        _ => Exit::Internal,
    };
    match error {
        // It says itself what is wrong with what.
        Error::Invalid(text) => Failure::new(exit, format!("{place}: {text}")),
        _ => Failure::new(exit, format!("{place}: {error}")),
    }
}

/// The store where there is none: it has no files, and none can be made.
struct NoStore;

impl Store for NoStore {
    fn open(&self, _: &str, create: bool) -> LayerResult<Arc<dyn LowerFile>> {
        Err(if create { Error::Unsupported } else { Errno::NOENT.into() })
    }

    fn create(&self, _: &str) -> LayerResult<Arc<dyn LowerFile>> {
        Err(Error::Unsupported)
    }

    fn names(&self) -> LayerResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn rename(&self, _: &str, _: &str) -> LayerResult<()> {
        Err(Error::Unsupported)
    }

    fn remove(&self, _: &str) -> LayerResult<()> {
        Err(Error::Unsupported)
    }

    fn sync_names(&self) -> LayerResult<()> {
        Ok(())
    }

    fn sync_all(&self) -> LayerResult<()> {
        Ok(())
    }

    fn free_space(&self) -> LayerResult<u64> {
        Ok(0)
    }

    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>) {
        for place in 0..ids.len() {
            visit(place, Err(Error::Unsupported));
        }
    }

    fn epoch(&self) -> u64 {
        0
    }
}
