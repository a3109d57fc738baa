//! Serving a mount as the worker of a supervisor.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hsci_extension::{FileSystem, Kernel};
use hsci_protocol::failure::{Answer, Exit, Failure};
use hsci_protocol::line::send;
use hsci_protocol::mount::Start;
use hsci_protocol::status::WorkerStatus;
use parking_lot::Mutex;
use rustix::mount::MountFlags;

use super::Registration;
use super::link::{self, Knowledge, leave_signals_to_supervisor};
use super::recovery::Recoverer;
use super::stack::{self, Stack};
use crate::fuse::{self, KernelCaches, ListQuarantined, Mounted, Profile, Requests};
use crate::lower::{LowerTree, Takeover, lifetime};
use crate::mounts::{self, Device};
use crate::passing::{receive_descriptor, receive_line};
use crate::place::case;
use crate::policy::{self, Judged, Policy};
use crate::sandbox::{Sandbox, Work, broker};
use crate::sys::descriptors::inherited;
use crate::sys::process::exit_now;
use crate::takeover::{DescriptorSender, TakeoverState};

/// Serves until the mount ends.
pub(super) fn run(
    registrations: &[Registration],
    lower: i32,
    control: i32,
    locks: &[i32],
) -> Result<(), Failure> {
    crate::caller::leave(&[&[lower, control], locks].concat());
    let unusable = |errno| {
        Failure::new(Exit::Usage, format!("descriptors: {errno}; hsci starts this program"))
    };
    let lower = inherited(lower).map_err(unusable)?;
    let locks = locks.iter().map(|lock| inherited(*lock)).collect::<Result<Vec<_>, _>>();
    // They are let go of by the end of this process.
    let _locks = locks.map_err(unusable)?;
    let control = UnixStream::from(inherited(control).map_err(unusable)?);
    let start: Start = receive_line(&control)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?
        .ok_or_else(|| Failure::new(Exit::Internal, "the supervisor is gone"))?;

    if start.version != hsci_protocol::VERSION {
        let text = "its supervisor is of another version of hsci; mount it again";
        return answer(&control, Err(Failure::new(Exit::Impossible, text)));
    }
    lifetime::give(start.lifetime);
    // Before other threads are started, and before anything of the store is read.
    let confined = match Confined::enter(registrations, &start, &lower) {
        Ok(confined) => confined,
        Err(failure) => return answer(&control, Err(failure)),
    };
    let supervised = Arc::new(AtomicBool::new(true));
    let (dir, connection) = (start.request.dir.clone(), Arc::new(Mutex::new(None)));
    let device = Arc::clone(&connection);
    leave_signals_to_supervisor(Arc::clone(&supervised), move || end(&dir, &device.lock().clone()))
        .map_err(|error| Failure::new(Exit::Internal, format!("signals: {error}")))?;
    let received = Received::receive(&control, &start)?;
    let caches = Arc::new(KernelCaches::default());
    let kernel = Arc::clone(&caches) as _;
    let prepared = prepare(registrations, &start, lower, (received, confined), &kernel);
    let worker = answer(&control, prepared)?;
    let (top, tree) = (Arc::clone(&worker.stack.top), Arc::clone(&worker.stack.tree));
    if start.finish {
        shut_down(&tree, &*top);
        return Ok(());
    }
    let (_, device) = receive_descriptor(&control)
        .map_err(|error| Failure::new(Exit::Internal, format!("no FUSE descriptor: {error}")))?;
    let requests = Arc::new(Requests::new());
    let knowledge = worker.knowledge(&requests);
    let serving = answer(&control, worker.begin(device, &start, &caches, requests))?;
    let knowledge = knowledge(serving.quarantined());
    *connection.lock() =
        Some((mounts::find_by_name(&start.request.dir), Arc::clone(&tree), Arc::clone(&top)));
    link::answer(control, knowledge, supervised)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?;
    let ended = serving.run();
    shut_down(&tree, &*top);
    ended.map_err(|error| Failure::new(Exit::Internal, format!("serving: {error}")))
}

/// Brings into the store all that was acknowledged.
fn shut_down(tree: &LowerTree, top: &dyn FileSystem) {
    for file in link::commit(tree, top) {
        log::error!("what was written last may be missing: {file}");
    }
    top.shutdown();
}

/// What a worker serves, once it does.
type Served = Option<(Option<Device>, Arc<LowerTree>, Arc<dyn FileSystem>)>;

/// Ends a mount that nobody supervises. Where the connection cannot be ended first, so that nothing comes
/// after what is written now, its end is that of this process.
fn end(dir: &Path, served: &Served) {
    log::warn!("{}: ended by a signal, for its supervisor is gone", dir.display());
    if let Some((device, tree, top)) = served
        && !device.is_some_and(crate::control::force_end)
    {
        shut_down(tree, &**top);
        exit_now(0);
    }
}

/// The process inside its sandbox, and what it found out before it went there.
struct Confined {
    sandbox: Sandbox,
    cores: usize,
    /// The machine's, in bytes.
    memory: u64,
    program: Option<PathBuf>,
    /// Directories of the lower one may ignore the case of names.
    folds: bool,
    recoverer: Option<Arc<Recoverer>>,
}

impl Confined {
    fn enter(
        registrations: &[Registration],
        start: &Start,
        lower: &OwnedFd,
    ) -> Result<Self, Failure> {
        let stack = stack::find(registrations, &start.request.extensions)?;
        let needs: Vec<_> = stack.iter().map(|registration| (registration.needs)()).collect();
        // Files that are out of reach inside.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = rustix::system::sysinfo();
        let memory = (machine.totalram as u64).saturating_mul(machine.mem_unit.into());
        let program = std::env::current_exe().ok();
        let folds = case::may_fold(lower.as_fd());
        let recoverer = Recoverer::start(&stack)?;
        let sandbox = Sandbox::enter(&needs, lower, Work::Serve)
            .map_err(|why| Failure::new(Exit::Usage, why))?;
        Ok(Self { sandbox, cores, memory, program, folds, recoverer })
    }
}

/// What outlives a worker, as it comes from the supervisor.
struct Received {
    takeover: OwnedFd,
    /// The way to the descriptor store.
    descriptors: OwnedFd,
    /// Where the supervisor tells of policies.
    policy: UnixStream,
    /// Where the supervisor does what a worker may not.
    broker: OwnedFd,
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
        let broker = receive()?.1;
        let unlinked = (0..start.unlinked).map(|_| receive()).collect::<Result<_, _>>()?;
        Ok(Self { takeover, descriptors, policy, broker, unlinked })
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
    /// The stack as callers see it: under the policy in force.
    top: Arc<Judged>,
    profile: Profile,
    opens_reason: &'static str,
    takeover: Arc<TakeoverState>,
    policy: Arc<Policy>,
    confined: Confined,
}

fn prepare(
    registrations: &[Registration],
    start: &Start,
    lower: OwnedFd,
    (received, mut confined): (Received, Confined),
    kernel: &Arc<dyn Kernel>,
) -> Result<Worker, Failure> {
    let registrations = stack::find(registrations, &start.request.extensions)?;
    let options = stack::check_options(&registrations, &start.request.options)?;
    let flags = MountFlags::from_bits_retain(start.request.flags);
    let read_only = flags.contains(MountFlags::RDONLY);
    let Received { takeover, descriptors, policy: line, broker, unlinked } = received;
    broker::connect(broker)
        .map_err(|error| Failure::new(Exit::Internal, format!("supervisor: {error}")))?;
    let (takeover, inherited) =
        TakeoverState::open(takeover).map_err(|text| Failure::new(Exit::Internal, text))?;
    let takeover = Arc::new(takeover);
    let descriptors = DescriptorSender::new(descriptors, unlinked.keys().copied());
    let ways = Takeover { state: Arc::clone(&takeover), descriptors };
    let keeps_access_times = read_only || flags.contains(MountFlags::NOATIME);
    let memory = match options.size("memory") {
        0 => confined.memory / 4,
        given => given,
    };
    let folds = confined.folds;
    let tree =
        LowerTree::inherit(lower, ways, &inherited, unlinked, keeps_access_times, memory, folds)
            .map_err(|error| stack::failure("the lower directory", &error))?;
    let recoverer = confined.recoverer.take();
    let mut stack = stack::build(&registrations, (tree, recoverer), &options, kernel, read_only)?;
    stack.end_recovery();
    let data = options.has_data_profile();
    // What a layer above makes of content, and opens that somebody judges, are not the kernel's to serve.
    let serves = data && stack.layers == 1 && !stack.declared.opens && !start.opens;
    if data && !serves {
        let text =
            "the kernel serves no files of a stack, or where an extension or a policy sees opens";
        log::warn!("profile=data: {text}");
    }
    let opens_reason = match (stack.declared.opens || serves, start.opens) {
        (true, _) if serves => "profile=data",
        (true, _) => "an extension of the stack wants to see opens",
        (false, true) => "the policy judges what is opened, and no guard does",
        (false, false) => "nobody needs to see opens",
    };
    let opens = stack.declared.opens || start.opens || serves;
    let policy = Arc::new(Policy::new(opens, start.opens));
    policy::follow(line, &start.request.dir, &policy)
        .map_err(|why| Failure::new(Exit::Store, format!("the policy in force: {why}")))?;
    let top = Arc::new(Judged::new(Arc::clone(&stack.top), Arc::clone(&policy)));
    let profile = Profile {
        opens,
        flushes: stack.declared.flushes,
        data: serves,
        opendirs: start.opens || stack.declared.names_differ,
        names_differ: stack.declared.names_differ,
        waits: stack.declared.waits,
        cache: options.time("cache"),
        threads: stack.declared.threads.unwrap_or_else(|| confined.cores.clamp(2, 8)).max(1),
        deadline: options.time("deadline"),
    };
    Ok(Worker { stack, top, profile, opens_reason, takeover, policy, confined })
}

impl Worker {
    fn begin(
        self,
        device: OwnedFd,
        start: &Start,
        caches: &KernelCaches,
        requests: Arc<Requests>,
    ) -> Result<fuse::Serving, Failure> {
        let mounted = Mounted {
            top: self.top,
            tree: self.stack.tree,
            profile: self.profile,
            requests,
            takeover: self.takeover,
            death: start.death,
            debug: start.request.debug,
        };
        fuse::begin(device, mounted, caches)
            .map_err(|error| Failure::new(Exit::Internal, format!("FUSE: {error}")))
    }

    fn knowledge(
        &self,
        requests: &Arc<Requests>,
    ) -> impl FnOnce(ListQuarantined) -> Knowledge + use<> {
        let profile = match self.profile {
            Profile { data: true, .. } => "data",
            Profile { opens: true, .. } => "dispatch-opens",
            _ => "no-open",
        };
        let fixed = WorkerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            worker_pid: std::process::id(),
            program: self.confined.program.clone(),
            sandbox: self.confined.sandbox.status(),
            profile: profile.to_owned(),
            profile_reason: self.opens_reason.to_owned(),
            ..WorkerStatus::default()
        };
        let (tree, requests) = (Arc::clone(&self.stack.tree), Arc::clone(requests));
        let top = Arc::clone(&self.stack.top);
        let policy = Arc::clone(&self.policy);
        move |quarantined| Knowledge { fixed, tree, top, requests, policy, quarantined }
    }
}
