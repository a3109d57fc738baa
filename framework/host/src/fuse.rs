//! The one module that knows `fuser`: requests of the kernel become calls of the layers.

mod adapter;
mod ahead;
mod answer;
mod convert;
mod debug;
mod dispatch;
mod gate;
mod kernel;
mod listing;
mod negotiate;
mod opens;
mod operations;
mod passthrough;
mod placement;
mod pool;
mod prune;
mod replay;
mod resume;
mod rights;
mod seek;
mod sys;
mod transfer;
mod watchdog;
mod xattr;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};

use self::adapter::Adapter;
use self::passthrough::Passthrough;
use self::pool::Pool;
use crate::lower::LowerTree;
use crate::policy::Judged;
use crate::takeover::TakeoverState;
use hsci_protocol::mount::Death;
use hsci_protocol::status::Quarantined;

pub(crate) use self::kernel::KernelCaches;
pub(crate) use self::operations::Requests;

/// How a mount treats the kernel's requests and caches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Opens of files are wanted, although the kernel could keep them to itself; closes; opens of directories.
    pub(crate) opens: bool,
    pub(crate) flushes: bool,
    /// Files that are stored as they are, are served by the kernel while they are open.
    pub(crate) data: bool,
    pub(crate) opendirs: bool,
    /// The kernel must not rely on names and listings: the next caller may see others.
    pub(crate) names_differ: bool,
    /// Calls may wait: loops are added while they do.
    pub(crate) waits: bool,
    /// How long the kernel may rely on names and attributes without asking again.
    pub(crate) cache: Duration,
    /// Number of event loops.
    pub(crate) threads: usize,
    /// How long a request may take before another worker is tried; zero for any time.
    pub(crate) deadline: Duration,
}

/// Lists the requests that are refused because workers died of them.
pub(crate) type ListQuarantined = Box<dyn Fn() -> Vec<Quarantined> + Send + Sync>;

/// What is mounted.
pub(crate) struct Mounted {
    /// The topmost layer.
    pub(crate) top: Arc<Judged>,
    /// The lowest layer.
    pub(crate) tree: Arc<LowerTree>,
    pub(crate) profile: Profile,
    pub(crate) requests: Arc<Requests>,
    pub(crate) takeover: Arc<TakeoverState>,
    /// How the worker before has died, if there was one.
    pub(crate) death: Death,
    /// Every request is logged.
    pub(crate) debug: bool,
}

/// A mount whose first request has been answered.
pub(crate) struct Serving {
    session: Session<Adapter>,
    pool: Arc<Pool>,
    adapter: Adapter,
}

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
    let takeover = Arc::clone(&mounted.takeover);
    let waits = mounted.profile.waits;
    if waits {
        crate::sys::memory::take_large_pieces_from_the_kernel();
    }
    let begun = takeover.offer();
    let (more, near) = (device.try_clone()?, device.try_clone()?);
    let due = prune::start(device.try_clone()?, Arc::clone(&mounted.tree))?;
    let passthrough = match mounted.profile.data {
        true => Some(Passthrough::new(device.try_clone()?, Arc::clone(&mounted.tree))),
        false => None,
    };
    let requests = Arc::clone(&mounted.requests);
    let adapter = Adapter::new(mounted, passthrough, due)?;
    let pool = Arc::clone(&adapter.pool);
    let (asked, first) = (adapter.clone(), adapter.clone());
    let session = match begun {
        Some(offer) => resume::session(adapter, &device, config.clone(), &offer)?,
        // The kernel itself admits nobody but the mounting user to a mount without `allow_other`.
        None => Session::from_fd(adapter, device, SessionACL::All, config.clone())?,
    };
    asked.gate.close(&session, config.n_threads.unwrap_or(1))?;
    caches.connect(session.notifier(), requests, Arc::clone(&pool.placement));
    let _ = asked.notifier.set(session.notifier());
    let start = move |loops| {
        let mut config = config.clone();
        config.n_threads = Some(loops);
        let offer = takeover.offer().expect("the connection has begun");
        let extra = first.extra();
        let [gate, theirs] = [&extra.gate; 2].map(Arc::clone);
        let session = resume::join(extra, more.as_fd(), config, &offer)?;
        gate.close(&session, loops)?;
        let run = move || {
            // How they end is how the mount ends, which the first loops say; but it fails at once where one cannot
            // be started.
            if let Err(error) = session.run() {
                theirs.give_up(error);
            }
        };
        let handle = std::thread::Builder::new().name("loops".to_owned()).spawn(run)?;
        gate.wait().map(|()| handle)
    };
    if waits {
        pool.grow(Box::new(start))?;
    } else {
        pool.placement.start(near)?;
    }
    Ok(Serving { session, pool, adapter: asked })
}

impl Serving {
    /// Lists the requests that are refused because workers died of them.
    pub(crate) fn quarantined(&self) -> ListQuarantined {
        let adapter = self.adapter.clone();
        Box::new(move || adapter.quarantined())
    }

    /// Serves requests until the mount ends.
    pub(crate) fn run(self) -> std::io::Result<()> {
        let ended = self.session.run();
        self.pool.end();
        ended
    }
}
