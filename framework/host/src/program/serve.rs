//! Serving a mount as the worker of a supervisor.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hsci_extension::{FileSystem, Kernel};
use rustix::mount::MountFlags;
use serde_json::json;

use super::Plugin;
use super::stack::{self, Stack};
use crate::failure::{Exit, Failure};
use crate::fuse::{self, KernelCaches, Profile, Requests};
use crate::protocol::{Answer, Start, receive, receive_descriptor, send};
use crate::sys::descriptors::inherited;

/// Serves until the mount ends.
pub(super) fn run(plugins: &[Plugin], lower: i32, control: i32) -> Result<(), Failure> {
    let unusable = |errno| {
        Failure::new(Exit::Usage, format!("descriptors: {errno}; hsci starts this program"))
    };
    let lower = inherited(lower).map_err(unusable)?;
    let control = UnixStream::from(inherited(control).map_err(unusable)?);
    let start: Start = receive(&control)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?
        .ok_or_else(|| Failure::new(Exit::Internal, "the supervisor is gone"))?;

    let caches = Arc::new(KernelCaches::default());
    let prepared = prepare(plugins, &start, lower, &(Arc::clone(&caches) as _));
    let worker = answer(&control, prepared)?;
    let device = receive_descriptor(&control)
        .map_err(|error| Failure::new(Exit::Internal, format!("no FUSE descriptor: {error}")))?;
    let serving = worker.begin(device, &start, &caches);
    let serving = answer(&control, serving)?;
    let ended = serving.run();
    worker.stack.top.shutdown();
    ended.map_err(|error| Failure::new(Exit::Internal, format!("serving: {error}")))
}

/// Tells the supervisor how a step went; a failed step ends the worker.
fn answer<T>(control: &UnixStream, outcome: Result<T, Failure>) -> Result<T, Failure> {
    let (told, outcome) = match outcome {
        Ok(value) => (Answer::Done, Ok(value)),
        // The supervisor reports it; the worker has nothing to add.
        Err(failure) => {
            let silent = Failure::new(failure.exit, "");
            (Answer::from(Err(failure)), Err(silent))
        }
    };
    send(control, &told)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?;
    outcome
}

struct Worker {
    stack: Stack,
    profile: Profile,
    requests: Arc<Requests>,
}

fn prepare(
    plugins: &[Plugin],
    start: &Start,
    lower: OwnedFd,
    kernel: &Arc<dyn Kernel>,
) -> Result<Worker, Failure> {
    let plugins = stack::find(plugins, &start.request.extensions)?;
    let options = stack::check_options(&plugins, &start.request.options)?;
    let flags = MountFlags::from_bits_retain(start.request.flags);
    let read_only = flags.contains(MountFlags::RDONLY);
    let stack = stack::build(&plugins, lower, &options, kernel, read_only)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let profile = Profile {
        dispatch: stack.dispatch,
        cache: options.time("cache"),
        threads: cores.clamp(2, 8),
    };
    Ok(Worker { stack, profile, requests: Arc::new(Requests::new()) })
}

impl Worker {
    fn begin(
        &self,
        device: OwnedFd,
        start: &Start,
        caches: &KernelCaches,
    ) -> Result<fuse::Serving, Failure> {
        let top: Arc<dyn FileSystem> = Arc::clone(&self.stack.top);
        let requests = Arc::clone(&self.requests);
        fuse::begin(device, top, self.profile, requests, self.status(start), caches)
            .map_err(|error| Failure::new(Exit::Internal, format!("FUSE: {error}")))
    }

    /// The answer to the question `status`.
    fn status(&self, start: &Start) -> Box<dyn Fn() -> String + Send + Sync> {
        let (tree, requests) = (Arc::clone(&self.stack.tree), Arc::clone(&self.requests));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let opens = self.profile.dispatch.open;
        let (profile, reason) = if opens {
            ("dispatch-opens", "an extension of the stack wants to see opens")
        } else {
            ("no-open", "no extension of the stack needs to see opens")
        };
        let fixed = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "dir": start.request.dir,
            "lower": start.request.lower,
            "extensions": start.request.extensions,
            "read_only": start.request.flags & MountFlags::RDONLY.bits() != 0,
            "profile": profile,
            "profile_reason": reason,
            "supervisor_pid": start.supervisor_pid,
            "worker_pid": std::process::id(),
            "since": since,
            "log": start.log,
            "sealed": false,
            "sealed_reason": "nothing in the kernel guards the store yet",
        });
        Box::new(move || {
            let mut status = fixed.clone();
            let (inodes, descriptors) = tree.counts();
            status["inodes"] = inodes.into();
            status["descriptors"] = descriptors.into();
            status["requests"] = requests.to_json().into();
            status.to_string()
        })
    }
}
