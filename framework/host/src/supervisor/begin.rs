//! Making a mount, and going on until it has ended.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hsci_extension::options::Options;
use hsci_protocol::failure::{Exit, Failure};
use hsci_protocol::mount::{Death, Job, MountOption, MountRequest, Start};
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::desk::{Desk, RENEWAL};
use super::fence::Fence;
use super::listener::Listener;
use super::paths::Places;
use super::policy::PolicyLine;
use super::reach::Reach;
use super::serving::Serving;
use super::starting::Starts;
use super::tenure::Tenure;
use super::traces::Traces;
use super::worker::{Lasting, Locks, Program, Worker};
use super::workers::Workers;
use super::{KernelSide, internal, is_read_only, kernel, log_file, notify, paths, store, writers};
use crate::lock::{Last, Lock};
use crate::lower::lifetime;
use crate::place;
use crate::program::HOST_OPTIONS;
use crate::sandbox::files::apart;
use crate::takeover::{self, DescriptorStore};

/// A mount with the workers that serve it, one after the other.
pub(super) struct Supervisor {
    workers: Workers,
    serving: Serving,
    fence: Arc<Fence>,
    signals: Handle,
    log: Option<PathBuf>,
    /// Its socket goes with the mount.
    _listener: Listener,
    /// The lower directory in the mount table: its file system stays mounted.
    _outside: OwnedFd,
}

/// What the signals of this process mean: at first that the start is called off, then that the mount
/// is to end.
type Obeying = Arc<Mutex<Obedience>>;

#[derive(Default)]
struct Obedience {
    /// Ends the mount.
    desk: Option<Desk>,
    /// A signal came when there was none yet, perhaps after the last start that could be called off.
    came_early: bool,
}

impl Obedience {
    /// The mount can be used, and a signal that came too late for its start ends it.
    fn begin(&mut self, desk: Desk, starts: &Starts) {
        self.desk = Some(desk);
        if self.came_early {
            // Somebody may use it already, and it stays until they have left.
            starts.allow();
            // A process may always signal itself.
            let _ = kill_process(getpid(), Signal::TERM);
        }
    }
}

impl Supervisor {
    /// Makes the mount. If that fails, nothing of it is left.
    pub(super) fn begin(
        job: &Job,
        log: Option<PathBuf>,
        side: KernelSide,
    ) -> Result<Self, Failure> {
        let options = host_options(&job.request)?;
        let starts = Starts::new(options.time("start-deadline"));
        let obeying = Obeying::default();
        let signals = obey(&starts, &obeying)?;
        let limit = raise_descriptor_limit();
        let program = Program::open(&job.program)?;
        let Places { lower: outside, dir, request } = paths::open(&job.request)?;
        let request = &request;
        if !options.flag("force") && !is_read_only(request) {
            writers::refuse(&outside, &request.lower)?;
        }
        let reach = Reach::of(&outside)?;
        if !is_read_only(request) {
            reach.admit(request, options.flag("single-host"))?;
        }
        let lifetime = lifetime::find(&outside);
        let lower = apart(&outside).map_err(|errno| place::failure(&request.lower, errno))?;
        let lock = Lock::take(&lower, &request.lower)?;
        place::case::refuse(lower.as_fd(), &request.lower, is_read_only(request))?;
        let traces = Traces::of(&lower).map_err(|error| internal("the lower directory", &error))?;
        let (elsewhere, was_free) = (Mutex::new(None), Cell::new(true));
        let admit = |last: &Last| {
            reach.succeed(last, request, options.flag("take-over"))?;
            was_free.set(false);
            *elsewhere.lock() = last.is_elsewhere.then(|| last.text.clone());
            Ok(())
        };
        let (request, store_lock) =
            store::claim(&lower, &Job { request: request.clone(), ..job.clone() }, &admit)?;
        let last_served = elsewhere.into_inner();
        let request = &request;
        let takeover =
            takeover::create().map_err(|errno| internal("a file in memory", &errno.into()))?;
        let (policy, opens) = PolicyLine::new(side, &request.dir)?;
        let fence = Fence::new(side.guardian, &lower)
            .map_err(|errno| internal("the lower directory", &errno.into()))?;
        let (descriptors, fence) = (DescriptorStore::new(limit), Arc::new(fence));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let start = Start {
            version: hsci_protocol::VERSION,
            request: request.clone(),
            supervisor_pid: std::process::id(),
            since,
            log: log.clone(),
            workers: 0,
            death: Death::Own,
            unlinked: 0,
            opens,
            lifetime: (lifetime.machine, lifetime.mount),
            finish: false,
        };
        let tenure = store_lock.as_ref().filter(|_| reach == Reach::Server).map(Tenure::of);
        let tenure =
            tenure.transpose().map_err(|error| internal("the lock of the store", &error))?;
        let mut lasting = Lasting {
            lower,
            locks: Locks { on_directory: lock, on_store: store_lock, tenure: tenure.clone() },
            takeover,
            descriptors,
            policy: policy.clone(),
            fence: Arc::clone(&fence),
        };
        let started = Worker::start(&program, &mut lasting, &start, &starts);
        if started.is_err() && was_free.get() {
            lasting.locks.release();
        }
        let mut worker = started?;
        let device = kernel::mount(request, &dir)?;
        // It would keep the mount's directory, and what that lies on, in use.
        drop(dir);
        let serving = Serving::new();
        let serve = || {
            let link = worker.serve(device.as_fd(), &lasting)?;
            policy.attach()?;
            let mounted = place::find_mount(&request.dir)?
                .ok_or_else(|| Failure::new(Exit::Internal, "the mount has gone already"))?;
            let process = worker.process().map_err(|error| internal("the worker", &error))?;
            serving.begin(link, process, 1).map_err(|error| internal("the worker", &error))?;
            let began = tenure.as_ref().map_or(Ok(()), |tenure| tenure.begin(&serving));
            began.map_err(|error| internal("a thread", &error))?;
            let (request, serving) = (request.clone(), serving.clone());
            let (device, fence, policy) = (mounted.device, Arc::clone(&fence), policy.clone());
            let desk =
                Desk { request, device, since, last_served, log, serving, tenure, fence, policy };
            let listener = Listener::start(&mounted, desk.clone())?;
            let caught_up = desk.policy.catch_up(RENEWAL);
            caught_up.map_err(|why| Failure::new(Exit::Store, format!("the policy: {why}")))?;
            Ok((listener, desk))
        };
        let (listener, desk) = match serve() {
            Ok(served) => served,
            Err(failure) => {
                // Nobody can use it: there is nothing to wait for.
                kernel::unmount(&request.dir, true)?;
                return Err(failure);
            }
        };
        traces.keep();
        if let Some(log) = start.log.clone() {
            log_file::limit(log);
        }
        kernel::enlarge_readahead(&request.dir);
        obeying.lock().begin(desk, &starts);
        notify::ready();
        let watched = serving.clone();
        notify::keep_alive(move || {
            let _ = watched.workers();
        });
        let (shared, log) = ((starts, serving.clone()), start.log.clone());
        let workers = Workers::new(program, lasting, device, start, worker, shared);
        Ok(Self { workers, serving, fence, signals, log, _listener: listener, _outside: outside })
    }

    /// Returns when the mount has ended.
    pub(super) fn run(self) -> Result<(), Failure> {
        let ended = self.workers.run();
        self.serving.end();
        self.fence.end();
        self.signals.close();
        if let (Some(log), true) = (&self.log, ended.is_ok()) {
            log_file::remove_empty(log);
        }
        // A mount that nobody serves any more stays: what lies below its directory are the stored
        // forms, and nobody is to take them for the files.
        ended
    }
}

/// Obeys signals from now on, until the handle is closed.
fn obey(starts: &Starts, obeying: &Obeying) -> Result<Handle, Failure> {
    let fail = |error: std::io::Error| internal("signals", &error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(fail)?;
    let handle = signals.handle();
    let (starts, obeying) = (starts.clone(), Arc::clone(obeying));
    let obey = move || {
        let mut asked_before = false;
        for _ in signals.forever() {
            let mut obeying = obeying.lock();
            let Some(desk) = obeying.desk.clone() else {
                obeying.came_early = true;
                starts.call_off(Failure::new(Exit::Impossible, "its start was interrupted"));
                continue;
            };
            drop(obeying);
            // The second signal does not wait for those who still use the mount.
            if let Err(failure) = desk.unmount(asked_before) {
                log::warn!("{failure}");
            }
            asked_before = true;
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(obey).map_err(fail)?;
    Ok(handle)
}

/// The options of the request that are the host's own.
fn host_options(request: &MountRequest) -> Result<Options, Failure> {
    let ours = |name: &str| HOST_OPTIONS.iter().any(|spec| spec.name == name);
    let given = request.options.iter().filter(|MountOption(name, _)| ours(name));
    let given = given.map(|MountOption(name, value)| (name.as_str(), value.as_str()));
    let options = Options::check(&HOST_OPTIONS, given);
    options.map_err(|complaint| Failure::new(Exit::Usage, complaint))
}

/// One descriptor is kept for each unlinked file that is in use: as many as the kernel allows for root, those that the
/// caller may have for others. Workers inherit the limit. Returns how many there can be.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let allowed = std::fs::read_to_string("/proc/sys/fs/nr_open");
    let allowed = allowed.ok().and_then(|text| text.trim().parse().ok());
    let most = Rlimit { current: allowed, maximum: allowed };
    if allowed > limit.maximum && setrlimit(Resource::Nofile, most).is_ok() {
        return allowed.unwrap_or(u64::MAX);
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let holds = if raised.is_ok() { limit.maximum } else { limit.current };
    holds.unwrap_or(u64::MAX)
}
