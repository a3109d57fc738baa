//! Building a stack of layers over a lower directory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::options::{OptionKind, OptionSpec, Options};
use hsci_extension::{
    Declaration, Environment, Errno, Error, FileId, FileSystem, Kernel, LowerFile, Reopened,
    Result as LayerResult, Store,
};

use hsci_protocol::mount::MountOption;

use super::Registration;
use crate::failure::{Exit, Failure};
use crate::lower::LowerTree;

/// The options of the host itself.
pub(crate) const HOST_OPTIONS: [OptionSpec; 4] = [
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
        "start-deadline",
        "time after which an extension that has not started is given up; 0 for never",
        OptionKind::Time,
        "2m",
    ),
];

/// Layers over a lower directory.
pub(super) struct Stack {
    pub(super) tree: Arc<LowerTree>,
    pub(super) top: Arc<dyn FileSystem>,
    pub(super) declared: Declaration,
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
    tree: Arc<LowerTree>,
    options: &Options,
    kernel: &Arc<dyn Kernel>,
    read_only: bool,
) -> Result<Stack, Failure> {
    let mut top: Arc<dyn FileSystem> = Arc::clone(&tree) as _;
    let mut declared = Declaration::new();
    for registration in registrations.iter().rev() {
        let named = |error: Error| failure(&format!("extension `{}`", registration.name), &error);
        let store = store_of(*registration, &tree, read_only).map_err(named)?;
        let kernel = Arc::clone(kernel);
        let environment = Environment::new(top, store, options.clone(), kernel);
        let environment = if read_only { environment.read_only() } else { environment };
        top = (registration.start)(&environment).map_err(named)?;
        declared = declared.and((registration.declaration)());
    }
    Ok(Stack { tree, top, declared })
}

/// The corner of the store that belongs to an extension. Nothing is made where nothing may be written.
pub(super) fn store_of(
    registration: Registration,
    tree: &LowerTree,
    read_only: bool,
) -> LayerResult<Arc<dyn Store>> {
    if registration.format == 0 {
        return Ok(Arc::new(NoStore));
    }
    match tree.store(registration.name, !read_only) {
        Ok(store) => Ok(store),
        Err(Error::Lower(Errno::NOENT)) if read_only => Ok(Arc::new(NoStore)),
        Err(error) => Err(error),
    }
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
    Failure::new(exit, format!("{place}: {error}"))
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
