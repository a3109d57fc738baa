//! The one module that knows `fuser`: requests of the kernel become calls of the layers.

mod adapter;
mod answer;
mod convert;
mod kernel;
mod listing;
mod negotiate;
mod operations;
mod replay;
mod resume;
mod watchdog;
mod xattr;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use hsci_extension::FileSystem;

use self::adapter::Adapter;
use crate::lower::LowerTree;
use crate::takeover::TakeoverState;
use hsci_protocol::mount::Death;

pub(crate) use self::kernel::KernelCaches;
pub(crate) use self::operations::Requests;

/// How a mount treats the kernel's requests and caches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Opens of files are wanted, although the kernel could keep them to itself; closes; opens of directories.
    pub(crate) opens: bool,
    pub(crate) flushes: bool,
    pub(crate) opendirs: bool,
    /// The kernel must not rely on names and listings: the next caller may see others.
    pub(crate) names_differ: bool,
    /// How long the kernel may rely on names and attributes without asking again.
    pub(crate) cache: Duration,
    /// Number of event loops.
    pub(crate) threads: usize,
    /// How long a request may take before another worker is tried; zero for any time.
    pub(crate) deadline: Duration,
}

/// What is mounted.
pub(crate) struct Mounted {
    /// The topmost layer.
    pub(crate) top: Arc<dyn FileSystem>,
    /// The lowest layer.
    pub(crate) tree: Arc<LowerTree>,
    pub(crate) profile: Profile,
    pub(crate) requests: Arc<Requests>,
    /// Answers the question of the same name.
    pub(crate) status: Box<dyn Fn() -> String + Send + Sync>,
    pub(crate) takeover: Arc<TakeoverState>,
    /// How the worker before has died, if there was one.
    pub(crate) death: Death,
}

/// A mount whose first request has been answered.
pub(crate) struct Serving(Session<Adapter>);

/// Answers the kernel's first request on a FUSE descriptor, or goes on where the worker before has
/// died. `caches` is told how to reach the kernel.
pub(crate) fn begin(
    device: OwnedFd,
    mounted: Mounted,
    caches: &KernelCaches,
) -> std::io::Result<Serving> {
    let mut config = Config::default();
    config.n_threads = Some(mounted.profile.threads);
    // The kernel fails what was read from a copy of the descriptor when the copy is closed, so
    // with copies of its own a worker's death would be seen.
    config.clone_fd = false;
    let deadline = mounted.profile.deadline;
    if !deadline.is_zero() {
        watchdog::watch(&mounted.takeover, deadline);
    }
    let begun = mounted.takeover.offer();
    let adapter = Adapter::new(mounted);
    let session = match begun {
        Some(offer) => resume::session(adapter, &device, config, &offer)?,
        // The kernel itself admits nobody but the mounting user to a mount without `allow_other`.
        None => Session::from_fd(adapter, device, SessionACL::All, config)?,
    };
    caches.connect(session.notifier());
    Ok(Serving(session))
}

impl Serving {
    /// Serves requests until the mount ends.
    pub(crate) fn run(self) -> std::io::Result<()> {
        self.0.run()
    }
}
