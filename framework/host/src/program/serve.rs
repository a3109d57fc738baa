//! Serving a mount as the worker of a supervisor.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use hsci_extension::Kernel;
use hsci_protocol::failure::{Answer, Exit, Failure};
use hsci_protocol::line::{receive, send};
use hsci_protocol::mount::{Fenced, Start};
use hsci_protocol::status::{Status, SupervisorStatus, WorkerStatus};
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{RecvFlags, recv};

use super::Registration;
use super::stack::{self, Stack};
use crate::fuse::{self, KernelCaches, Mounted, Profile, Requests};
use crate::lower::{LowerTree, Takeover};
use crate::passing::receive_descriptor;
use crate::policy::{self, Judged, Policy};
use crate::sys::descriptors::inherited;
use crate::takeover::{DescriptorSender, TakeoverState};

/// Serves until the mount ends.
pub(super) fn run(registrations: &[Registration], lower: i32, control: i32) -> Result<(), Failure> {
    let unusable = |errno| {
        Failure::new(Exit::Usage, format!("descriptors: {errno}; hsci starts this program"))
    };
    let lower = inherited(lower).map_err(unusable)?;
    let control = UnixStream::from(inherited(control).map_err(unusable)?);
    let start: Start = receive(&control)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?
        .ok_or_else(|| Failure::new(Exit::Internal, "the supervisor is gone"))?;

    let received = Received::receive(&control, &start)?;
    let caches = Arc::new(KernelCaches::default());
    let prepared = prepare(registrations, &start, lower, received, &(Arc::clone(&caches) as _));
    let worker = answer(&control, prepared)?;
    let (_, device) = receive_descriptor(&control)
        .map_err(|error| Failure::new(Exit::Internal, format!("no FUSE descriptor: {error}")))?;
    let top = Arc::clone(&worker.stack.top);
    let line = control
        .try_clone()
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?;
    let serving = worker.begin(line, device, &start, &caches);
    let serving = answer(&control, serving)?;
    let ended = serving.run();
    top.shutdown();
    ended.map_err(|error| Failure::new(Exit::Internal, format!("serving: {error}")))
}

/// What outlives a worker, as it comes from the supervisor.
struct Received {
    takeover: OwnedFd,
    /// The way to the descriptor store.
    descriptors: OwnedFd,
    /// Where the supervisor tells of policies.
    policy: UnixStream,
    /// Unlinked files, by number.
    unlinked: HashMap<u64, OwnedFd>,
}

impl Received {
    fn receive(control: &UnixStream, start: &Start) -> Result<Self, Failure> {
        let receive = || {
            receive_descriptor(control)
                .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))
        };
        let (takeover, descriptors) = (receive()?.1, receive()?.1);
        let policy = UnixStream::from(receive()?.1);
        let unlinked = (0..start.unlinked).map(|_| receive()).collect::<Result<_, _>>()?;
        Ok(Self { takeover, descriptors, policy, unlinked })
    }
}

/// Reports to the supervisor how a step went; a failed step ends the worker.
fn answer<T>(control: &UnixStream, outcome: Result<T, Failure>) -> Result<T, Failure> {
    let (step, outcome) = match outcome {
        Ok(value) => (Answer::Done, Ok(value)),
        // The supervisor reports it; the worker has nothing to add.
        Err(failure) => {
            let silent = Failure::new(failure.exit, "");
            (Answer::from(Err(failure)), Err(silent))
        }
    };
    send(control, &step)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?;
    outcome
}

struct Worker {
    stack: Stack,
    profile: Profile,
    opens_reason: &'static str,
    takeover: Arc<TakeoverState>,
    policy: Arc<Policy>,
}

fn prepare(
    registrations: &[Registration],
    start: &Start,
    lower: OwnedFd,
    received: Received,
    kernel: &Arc<dyn Kernel>,
) -> Result<Worker, Failure> {
    let registrations = stack::find(registrations, &start.request.extensions)?;
    let options = stack::check_options(&registrations, &start.request.options)?;
    let flags = MountFlags::from_bits_retain(start.request.flags);
    let read_only = flags.contains(MountFlags::RDONLY);
    let Received { takeover, descriptors, policy: line, unlinked } = received;
    let (takeover, inherited) =
        TakeoverState::open(takeover).map_err(|text| Failure::new(Exit::Internal, text))?;
    let takeover = Arc::new(takeover);
    let descriptors = DescriptorSender::new(descriptors, unlinked.keys().copied());
    let ways = Takeover { state: Arc::clone(&takeover), descriptors };
    let tree = LowerTree::inherit(lower, ways, &inherited, unlinked)
        .map_err(|error| stack::failure("the lower directory", &error))?;
    let mut stack = stack::build(&registrations, tree, &options, kernel, read_only)?;
    let opens_reason = match (stack.declared.opens, start.opens) {
        (true, _) => "an extension of the stack wants to see opens",
        (false, true) => "the policy judges what is opened, and no guard does",
        (false, false) => "nobody needs to see opens",
    };
    let opens = stack.declared.opens || start.opens;
    let policy = Arc::new(Policy::new(opens, start.opens));
    policy::follow(line, &start.request.dir, &policy)
        .map_err(|why| Failure::new(Exit::Store, format!("the policy in force: {why}")))?;
    stack.top = Arc::new(Judged::new(stack.top, Arc::clone(&policy)));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let profile = Profile {
        opens,
        flushes: stack.declared.flushes,
        opendirs: start.opens || stack.declared.names_differ,
        names_differ: stack.declared.names_differ,
        cache: options.time("cache"),
        threads: stack.declared.threads.unwrap_or_else(|| cores.clamp(2, 8)).max(1),
        deadline: options.time("deadline"),
    };
    Ok(Worker { stack, profile, opens_reason, takeover, policy })
}

impl Worker {
    fn begin(
        self,
        control: UnixStream,
        device: OwnedFd,
        start: &Start,
        caches: &KernelCaches,
    ) -> Result<fuse::Serving, Failure> {
        let requests = Arc::new(Requests::new());
        let mounted = Mounted {
            status: self.status(control, start, &requests),
            top: self.stack.top,
            tree: self.stack.tree,
            profile: self.profile,
            requests,
            takeover: self.takeover,
            death: start.death,
        };
        fuse::begin(device, mounted, caches)
            .map_err(|error| Failure::new(Exit::Internal, format!("FUSE: {error}")))
    }

    /// The answer to the question `status`.
    fn status(
        &self,
        control: UnixStream,
        start: &Start,
        requests: &Arc<Requests>,
    ) -> Box<dyn Fn() -> String + Send + Sync> {
        let (tree, requests) = (Arc::clone(&self.stack.tree), Arc::clone(requests));
        let policy = Arc::clone(&self.policy);
        let profile = if self.profile.opens { "dispatch-opens" } else { "no-open" };
        let supervisor = SupervisorStatus {
            extensions: start.request.extensions.clone(),
            read_only: start.request.flags & MountFlags::RDONLY.bits() != 0,
            supervisor_pid: start.supervisor_pid,
            workers: start.workers + 1,
            since: start.since,
            log: start.log.clone(),
            ..SupervisorStatus::default()
        };
        let worker = WorkerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            worker_pid: std::process::id(),
            program: std::env::current_exe().ok(),
            profile: profile.to_owned(),
            profile_reason: self.opens_reason.to_owned(),
            ..WorkerStatus::default()
        };
        let fixed = Status {
            dir: start.request.dir.clone(),
            lower: start.request.lower.clone(),
            supervisor: Some(supervisor),
            worker: Some(worker),
            ..Status::default()
        };
        let line = Mutex::new(Line::new(control, start));
        Box::new(move || {
            let mut status = fixed.clone();
            let mut line = line.lock();
            if let Some(supervisor) = &mut status.supervisor {
                supervisor.supervised = line.read();
                supervisor.fenced = line.fenced.is_ok();
                supervisor.fenced_reason = line.reason();
            }
            if let Some(worker) = &mut status.worker {
                let (inodes, descriptors) = tree.counts();
                (worker.inodes, worker.descriptors) = (inodes as u64, descriptors as u64);
                worker.requests = requests.counts();
                worker.policy = policy.status();
            }
            serde_json::to_string(&status).expect("texts and numbers are JSON")
        })
    }
}

/// What the supervisor says while the worker serves.
struct Line {
    control: UnixStream,
    /// What has no end of line yet.
    rest: Vec<u8>,
    fenced: Fenced,
    over_itself: bool,
}

impl Line {
    fn new(control: UnixStream, start: &Start) -> Self {
        let over_itself = start.request.dir == start.request.lower;
        Self { control, rest: Vec::new(), fenced: Err(String::new()), over_itself }
    }

    /// Takes what has been said; true while the supervisor holds the other end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 1024];
        loop {
            match recv(&self.control, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok((len, _)) => self.take(&buffer[..len]),
                Err(Errno::INTR) => {}
                Err(errno) => return errno == Errno::AGAIN,
            }
        }
    }

    fn take(&mut self, said: &[u8]) {
        self.rest.extend(said);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(fenced) => self.fenced = fenced,
                Err(error) => log::warn!("the supervisor is not understood: {error}"),
            }
        }
    }

    /// What keeps users from the store. A process whose working directory was in it before the mount
    /// is kept from it by a seal only.
    fn reason(&self) -> String {
        let without = if self.over_itself {
            "mounted over itself, so no name leads to the store"
        } else {
            "the lower directory is open to whom its permissions admit"
        };
        match &self.fenced {
            Ok(()) => "the guard keeps everybody but the host from the store".to_owned(),
            Err(why) if why.is_empty() => without.to_owned(),
            Err(why) => format!("{without}; {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_the_supervisor_counts() {
        let (control, supervisor) = UnixStream::pair().expect("sockets");
        let mut line =
            Line { control, rest: Vec::new(), fenced: Err(String::new()), over_itself: false };
        assert!(line.read(), "it is there");
        assert!(!line.reason().contains(';'), "and has said nothing");
        send(&supervisor, &Fenced::Ok(())).expect("sent");
        assert!(line.read() && line.fenced.is_ok());
        for why in ["first", "last"] {
            send(&supervisor, &Fenced::Err(why.to_owned())).expect("sent");
        }
        drop(supervisor);
        assert!(!line.read(), "it is gone");
        assert!(line.reason().ends_with("; last"), "{}", line.reason());
    }
}
