//! The supervisor: makes a mount, starts the worker that serves it, and ends both in order.
//!
//! It runs in a process of its own and holds no extension code. What it can check before anything
//! is mounted it checks; whatever fails, nothing stays mounted and no process is left.

mod begin;
mod desk;
mod fence;
mod holders;
mod kernel;
mod link;
mod listener;
mod log_file;
mod notify;
mod orders;
mod overlap;
mod paths;
mod policy;
mod reach;
mod serving;
mod starting;
mod store;
mod tenure;
mod traces;
mod worker;
mod workers;
mod writers;

use std::fs::File;
use std::io::{stdin, stdout};
use std::process::{Child, Command, Stdio};

use hsci_protocol::failure::{Answer, Exit, Failure};
use hsci_protocol::line::{receive, send};
use hsci_protocol::mount::{Job, MountRequest};
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::begin::Supervisor;
use self::log_file::Said;

pub use self::fence::Guardian;
pub use self::log_file::last_words;
pub use self::orders::{remount, renew_policies, unmount, upgrade};
pub use self::policy::{Callers, FindCallers, PlaceMount};
pub(crate) use self::reach::has_judge;
pub use self::store::check_contract;
pub use crate::store_file::{Keeper, StoreFile};

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

/// Lets go of what the caller has left to this process, which is to be a supervisor in the foreground.
///
/// Must come before anything is opened.
pub fn leave_caller() {
    crate::caller::leave(&[]);
}

/// Mounts; returns when the mount can be used, or, in the foreground, when it has ended.
///
/// In the background, `hsci supervise` is started from the calling program's own file. What to do
/// comes on its standard input, for options may be secret and arguments are for all to read.
pub fn mount(job: &Job, side: KernelSide) -> Result<(), Failure> {
    let job = Job { request: paths::open(&job.request)?.request, ..job.clone() };
    if job.request.foreground {
        crate::program::start_log();
        return Supervisor::begin(&job, None, side)?.run();
    }
    let log = log_file::path(&job.request.dir);
    let program = std::env::current_exe().map_err(|error| internal("this program", &error))?;
    let mut command = Command::new(program);
    command.arg("supervise").stdin(Stdio::piped()).stdout(Stdio::piped());
    crate::caller::filter_environment(&mut command);
    command.stderr(log.as_deref().and_then(log_file::open).map_or(Stdio::null(), Stdio::from));
    let said = Said::from_now(log.as_deref());
    let mut child = command.spawn().map_err(|error| internal("the supervisor", &error))?;
    forward_signals(&child);
    let begun = send(child.stdin.take().expect("it was asked for"), &job)
        .and_then(|()| receive::<Answer>(child.stdout.take().expect("it was asked for")));
    match begun {
        Ok(Some(Answer::Done)) => Ok(()),
        Ok(Some(failed)) => {
            // It has nothing left to do but to end.
            let _ = child.wait();
            failed.into()
        }
        Ok(None) | Err(_) => {
            let ended = child.wait().map_or_else(|error| error.to_string(), |end| end.to_string());
            let text = format!("the supervisor ended early ({ended}){}", said.quote());
            Err(Failure::new(Exit::Internal, text))
        }
    }
}

/// A start that is interrupted here is called off there, so that its end is waited for.
fn forward_signals(supervisor: &Child) {
    let supervisor = Pid::from_child(supervisor);
    let Ok(mut signals) = Signals::new([SIGTERM, SIGINT, SIGHUP]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            // The process is this one's child and not waited for as long as it may be alive.
            let _ = kill_process(supervisor, Signal::TERM);
        }
    });
}

/// What `hsci supervise` does: serves the mount that standard input asks for, and reports on standard
/// output how it began.
pub fn supervise(side: KernelSide) -> Result<(), Failure> {
    crate::caller::leave(&[]);
    let usage =
        |why: &str| Failure::new(Exit::Usage, format!("supervise: {why}; use `hsci mount`"));
    let job: Job = receive(stdin())
        .map_err(|error| usage(&error.to_string()))?
        .ok_or_else(|| usage("there is nothing to do"))?;
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
    // Who waited for the answer may be gone; the mount is made all the same.
    let _ = send(stdout(), &answer);
    match begun {
        Ok(supervisor) => {
            release_streams();
            supervisor.run()
        }
        Err(failure) => Err(Failure::new(failure.exit, "")),
    }
}

/// Lets go of the pipes to the process that asked for the mount.
fn release_streams() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        // If it fails the pipes stay open, and nothing is written to them.
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn is_read_only(request: &MountRequest) -> bool {
    MountFlags::from_bits_retain(request.flags).contains(MountFlags::RDONLY)
}

fn internal(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("{what}: {error}"))
}
