//! The one module that knows `fuser`: requests of the kernel become calls of the operation door.

mod adapter;
mod answer;
mod convert;
mod kernel;
mod listing;
mod negotiate;
mod requests;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use hsci_extension::{Dispatch, FileSystem};

use self::adapter::Adapter;

pub(crate) use self::kernel::KernelCaches;
pub(crate) use self::requests::Requests;

/// How a mount treats the kernel's requests and caches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// The requests that some layer wants although the kernel could keep them to itself.
    pub(crate) dispatch: Dispatch,
    /// How long the kernel may rely on names and attributes without asking again.
    pub(crate) cache: Duration,
    /// Number of event loops.
    pub(crate) threads: usize,
}

/// A mount whose first request has been answered.
pub(crate) struct Serving(Session<Adapter>);

/// Answers the kernel's first request on a FUSE descriptor. `status` answers the question of the
/// same name; `caches` is told how to reach the kernel.
pub(crate) fn begin(
    device: OwnedFd,
    top: Arc<dyn FileSystem>,
    profile: Profile,
    requests: Arc<Requests>,
    status: Box<dyn Fn() -> String + Send + Sync>,
    caches: &KernelCaches,
) -> std::io::Result<Serving> {
    let adapter = Adapter::new(top, profile, requests, status);
    let mut config = Config::default();
    config.n_threads = Some(profile.threads);
    config.clone_fd = true;
    // The kernel itself admits nobody but the mounting user to a mount without `allow_other`.
    let session = Session::from_fd(adapter, device, SessionACL::All, config)?;
    caches.connect(session.notifier());
    Ok(Serving(session))
}

impl Serving {
    /// Serves requests until the mount ends.
    pub(crate) fn run(self) -> std::io::Result<()> {
        self.0.run()
    }
}
