//! The supervisor: makes a mount, starts the worker that serves it, and ends both in order.
//!
//! It runs in a process of its own and holds no extension code. What it can check before anything
//! is mounted it checks; whatever fails, nothing stays mounted and no process is left.

mod fence;
mod holders;
mod kernel;
mod log_file;
mod paths;
mod policy;
mod store;
pub mod table;
mod worker;
mod workers;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hsci_protocol::failure::{Answer, Exit, Failure};
use hsci_protocol::line::{receive, send};
use hsci_protocol::mount::{Death, Job, MountRequest, Start};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, pidfd_send_signal, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use self::fence::Fence;
use self::policy::PolicyLine;
use self::worker::{Lasting, Program, Worker};
use self::workers::Workers;
use crate::takeover::{self, DescriptorStore};

pub use self::fence::Guardian;
pub use self::log_file::last_words;
pub use self::policy::{Callers, FindCallers, PlaceMount, renew_policies};
pub use self::store::StoreFile;

/// What supervisors are given of the kernel side.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "there is nothing to be seen")]
pub struct KernelSide {
    /// Finds out who calls.
    pub callers: FindCallers,
    /// Makes rules hold on a mount.
    pub place: PlaceMount,
    /// Keeps stores for their hosts.
    pub guardian: &'static dyn Guardian,
}

/// Mounts; returns when the mount can be used, or, in the foreground, when it has ended.
///
/// In the background, `hsci supervise JOB` is started from the calling program's own file.
pub fn mount(job: &Job, side: KernelSide) -> Result<(), Failure> {
    let job = Job { request: paths::check(&job.request)?, ..job.clone() };
    if job.request.foreground {
        crate::program::start_log();
        return Supervisor::begin(&job, None, side)?.run();
    }
    let log = log_file::path(&job.request.dir);
    let program = std::env::current_exe().map_err(|error| internal("this program", &error))?;
    let mut command = Command::new(program);
    command.arg("supervise").arg(serde_json::to_string(&job).expect("paths and texts are JSON"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(log.as_deref().and_then(log_file::open).map_or(Stdio::null(), Stdio::from));
    let mut child = command.spawn().map_err(|error| internal("the supervisor", &error))?;
    let out = child.stdout.take().expect("it was asked for");
    match receive::<Answer>(out) {
        Ok(Some(Answer::Done)) => Ok(()),
        Ok(Some(failed)) => {
            // It has nothing left to do but to end.
            let _ = child.wait();
            failed.into()
        }
        Ok(None) => {
            let ended = child.wait().map_or_else(|error| error.to_string(), |end| end.to_string());
            Err(internal("the supervisor ended early", &std::io::Error::other(ended)))
        }
        Err(error) => Err(internal("the supervisor", &error)),
    }
}

/// What `hsci supervise JOB` does: serves a mount, and tells on standard output how it began.
pub fn supervise(job: &str, side: KernelSide) -> Result<(), Failure> {
    let job: Job = serde_json::from_str(job).map_err(|error| {
        Failure::new(Exit::Usage, format!("supervise: {error}; use `hsci mount`"))
    })?;
    crate::program::start_log();
    // Fails where the process leads a group already, and is not needed then.
    let _ = rustix::process::setsid();
    let begun = rustix::process::chdir("/")
        .map_err(|errno| internal("/", &errno.into()))
        .and_then(|()| Supervisor::begin(&job, log_file::path(&job.request.dir), side));
    let answer = match &begun {
        Ok(_) => Answer::Done,
        Err(failure) => Answer::from(Err(failure.clone())),
    };
    // Whoever waits for the answer may be gone; the mount is made all the same.
    let _ = send(std::io::stdout(), &answer);
    match begun {
        Ok(supervisor) => {
            release_stdout();
            supervisor.run()
        }
        Err(failure) => Err(Failure::new(failure.exit, "")),
    }
}

/// Unmounts; returns when everything is in the lower directory, or with `force` at once.
pub fn unmount(dir: &Path, force: bool) -> Result<(), Failure> {
    let mounted = table::find(dir)?.ok_or_else(|| {
        let text = format!("{}: no mount of hsci; `hsci status` lists them", dir.display());
        Failure::new(Exit::Missing, text)
    })?;
    let supervisor = table::status(&mounted.dir).as_ref().and_then(table::supervisor);
    kernel::unmount(&mounted.dir, force)?;
    match supervisor {
        Some(supervisor) if !force => table::wait_for_end(&supervisor),
        _ => Ok(()),
    }
}

/// Has the program that is on the disk now serve a mount, under those who use it. Returns what the
/// mount says of itself afterwards.
pub fn upgrade(dir: &Path) -> Result<serde_json::Value, Failure> {
    let fail = |exit, text: &str| Failure::new(exit, format!("{}: {text}", dir.display()));
    let before = table::status(dir)
        .ok_or_else(|| fail(Exit::Missing, "no mount of hsci that answers; see `hsci status`"))?;
    let supervisor = table::supervisor(&before).ok_or_else(|| {
        fail(Exit::Missing, "its supervisor is gone; unmount it and mount it anew")
    })?;
    let refused = |errno: Errno| match errno {
        Errno::PERM => fail(Exit::Impossible, "only who mounted it or root may do that"),
        errno => internal("its supervisor", &errno.into()),
    };
    pidfd_send_signal(&supervisor, Signal::USR1).map_err(refused)?;
    let begun = Instant::now();
    loop {
        std::thread::sleep(UPGRADE_PAUSE);
        match table::status(dir) {
            Some(now) if now["workers"] != before["workers"] => return Ok(now),
            _ if begun.elapsed() > UPGRADE_TIME => {
                return Err(fail(Exit::Internal, "no other worker has answered; see its log"));
            }
            _ => {}
        }
    }
}

/// How long, and how often, another worker is looked for.
const UPGRADE_TIME: Duration = Duration::from_secs(60);
const UPGRADE_PAUSE: Duration = Duration::from_millis(10);

/// A mount with the workers that serve it, one after the other.
struct Supervisor {
    dir: PathBuf,
    workers: Workers,
    signals: Signals,
    policy: PolicyLine,
}

impl Supervisor {
    fn begin(job: &Job, log: Option<PathBuf>, side: KernelSide) -> Result<Self, Failure> {
        let request = &job.request;
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])
            .map_err(|error| internal("signals", &error))?;
        let limit = raise_descriptor_limit();
        let program = Program::open(&job.program)?;
        let lower = open_lower(request)?;
        store::claim(&lower, job)?;
        let takeover =
            takeover::create().map_err(|errno| internal("a file in memory", &errno.into()))?;
        let (policy, opens) = PolicyLine::new(side, &request.dir)?;
        let fence = Fence::new(side.guardian, &lower)
            .map_err(|errno| internal("the lower directory", &errno.into()))?;
        let (descriptors, fence) = (DescriptorStore::new(limit), Arc::new(fence));
        let mut lasting = Lasting { lower, takeover, descriptors, policy: policy.clone(), fence };
        let supervisor_pid = std::process::id();
        let request = request.clone();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let start = Start {
            version: hsci_protocol::VERSION,
            request,
            supervisor_pid,
            since,
            log,
            workers: 0,
            death: Death::Own,
            unlinked: 0,
            opens,
        };
        let mut worker = Worker::start(&program, &mut lasting, &start)?;
        let dir = start.request.dir.clone();
        let device = kernel::mount(&start.request)?;
        let served = worker.serve(device.as_fd(), &lasting);
        if let Err(failure) = served.and_then(|()| policy.attach()) {
            // Nobody can use it: there is nothing to wait for.
            kernel::unmount(&dir, true)?;
            return Err(failure);
        }
        kernel::enlarge_readahead(&dir);
        let workers = Workers::new(program, lasting, device, start, worker)
            .map_err(|error| internal("the worker", &error))?;
        Ok(Self { dir, workers, signals, policy })
    }

    /// Returns when the mount has ended.
    fn run(self) -> Result<(), Failure> {
        let Self { dir, workers, mut signals, policy } = self;
        let handle = signals.handle();
        let (replacer, fence) = (workers.replacer(), workers.fence());
        let obeying = std::thread::spawn(move || {
            let mut asked_before = false;
            for signal in signals.forever() {
                match signal {
                    SIGUSR1 => replacer.upgrade(),
                    SIGUSR2 => {
                        // Who waits for the policy's number finds the fence renewed as well.
                        fence.renew();
                        policy.renew();
                    }
                    _ => {
                        // The second signal does not wait for those who still use the mount.
                        if let Err(failure) = kernel::unmount(&dir, asked_before) {
                            log::warn!("{failure}");
                        }
                        asked_before = true;
                    }
                }
            }
        });
        let ended = workers.run();
        handle.close();
        // The thread only waited for signals.
        let _ = obeying.join();
        // A mount that nobody serves any more stays: what lies below its directory are the stored
        // forms, and nobody is to take them for the files.
        ended
    }
}

/// One descriptor is kept for each unlinked file that is in use. Returns how many there can be.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let holds = if raised.is_ok() { limit.maximum } else { limit.current };
    holds.unwrap_or(u64::MAX)
}

fn open_lower(request: &MountRequest) -> Result<OwnedFd, Failure> {
    let lower = &request.lower;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(lower, flags, Mode::empty())
        .map_err(|errno| paths::failure(lower, errno))?;
    let mut tries = 0;
    while flock(&root, FlockOperation::NonBlockingLockExclusive).is_err() {
        // After umount(8) the host that served it finishes its work, and then lets go.
        let mounted = table::all()?.iter().any(|mounted| mounted.lower == *lower);
        if mounted || tries == LOCK_TRIES {
            let text = format!("{}: served already; unmount that first", lower.display());
            return Err(Failure::new(Exit::InUse, text));
        }
        tries += 1;
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(root)
}

/// How often, and after what time, the lock of a lower directory is tried that is not mounted.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Lets go of the pipe to the process that asked for the mount.
fn release_stdout() {
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // If it fails the pipe stays open, and nothing is written to it.
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn is_read_only(request: &MountRequest) -> bool {
    MountFlags::from_bits_retain(request.flags).contains(MountFlags::RDONLY)
}

fn internal(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("{what}: {error}"))
}
