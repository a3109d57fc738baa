//! What commands order of mounts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsci_protocol::control::{Command, Reply};
use hsci_protocol::failure::{Exit, Failure};
use hsci_protocol::status::Status;
use rustix::process::Signal;

use super::{holders, kernel};
use crate::control::{Channel, Silence, are_served, ask_all, force_end, sweep};
use crate::mounts::{self, Mounted};

/// Time for unmounting, which first writes what is dirty in the kernel.
const UNMOUNT: Duration = Duration::from_secs(60);
/// Time for a forced end, and for the supervisor's own end.
const FORCE: Duration = Duration::from_secs(5);
/// Time for bringing everything into the lower directory.
const FINISH: Duration = Duration::from_secs(600);
/// Time after which it is looked who else has what was unmounted here.
const ELSEWHERE: Duration = Duration::from_secs(5);
/// Time for another worker.
const UPGRADE: Duration = Duration::from_secs(60);
/// Time for another policy.
const RENEWAL: Duration = Duration::from_secs(10);

/// Unmounts; returns when everything is in the lower directory. With `force` users of the mount get
/// errors, and it ends within a limited time whatever its processes do.
///
/// Returns the files whose last changes are lost, and why.
pub fn unmount(dir: &Path, force: bool) -> Result<Vec<String>, Failure> {
    let mounted = at(dir)?;
    let channel = Channel::open(&mounted);
    let reply = match &channel {
        Ok(channel) if force => force_by(channel),
        Ok(channel) => channel.ask(Command::Unmount { force }, UNMOUNT),
        Err(silence) => Err(silence.clone()),
    };
    let lost = match reply {
        Ok(Reply::Lost(files)) => files,
        Ok(reply) => reply.done().map(|()| Vec::new()).map_err(|failure| failure.of(dir))?,
        Err(_) if force => {
            return force_off(&mounted, channel.ok().as_ref()).map(|()| Vec::new());
        }
        // Nobody is left who could bring anything into order.
        Err(Silence::Gone) => return kernel::unmount(&mounted.dir, false).map(|()| Vec::new()),
        Err(silence) => return Err(silence.failure(&mounted)),
    };
    let channel = channel.expect("it has answered");
    let end = Instant::now() + if force { 4 * FORCE } else { FINISH };
    while Instant::now() < end {
        if channel.wait_for_end(ELSEWHERE) {
            sweep();
            return Ok(lost);
        }
        if let Some(other) = holders::describe_other_namespace(&mounted) {
            let text = format!(
                "unmounted here; but the mount namespace of {other} still has it, and it is served until that process ends or \
                 unmounts it"
            );
            return Err(Failure::new(Exit::InUse, text).of(dir));
        }
    }
    let text = format!(
        "{}: unmounted, but its worker has not written everything yet; its log says more",
        dir.display()
    );
    Err(Failure::new(Exit::Internal, text))
}

/// Changes a mount, under those who use it, to one that can be read only or back.
pub fn remount(dir: &Path, read_only: bool) -> Result<(), Failure> {
    let mounted = at(dir)?;
    if !read_only {
        let status =
            Channel::open(&mounted).and_then(|channel| channel.ask(Command::Status, FORCE));
        let begun_so = matches!(status, Ok(Reply::Status(status))
            if status.supervisor.as_ref().is_some_and(|supervisor| supervisor.read_only));
        if begun_so {
            let text = "was mounted read-only; unmount it, and mount it to be written";
            return Err(Failure::new(Exit::Impossible, text).of(dir));
        }
    }
    kernel::remount(&mounted, read_only)
}

/// Has the supervisor end a mount. One that is stopped goes on for that.
fn force_by(channel: &Channel) -> Result<Reply, Silence> {
    match channel.ask(Command::Unmount { force: true }, FORCE) {
        Err(Silence::Late(_)) => {
            channel.signal(Signal::CONT);
            channel.answer(FORCE)
        }
        answer => answer,
    }
}

/// Takes a mount off whose supervisor does not do it, and ends its connection and its processes.
fn force_off(mounted: &Mounted, channel: Option<&Channel>) -> Result<(), Failure> {
    kernel::unmount(&mounted.dir, true)?;
    force_end(mounted.device);
    let Some(channel) = channel else { return Ok(()) };
    // Without a supervisor, its worker ends in order at SIGTERM.
    let workers = channel.children();
    channel.signal(Signal::KILL);
    channel.wait_for_end(FORCE);
    for (signal, limit) in [(Signal::TERM, FORCE), (Signal::KILL, FORCE)] {
        workers.iter().for_each(|worker| worker.signal(signal));
        if workers.iter().all(|worker| worker.wait_for_end(limit)) {
            break;
        }
    }
    Ok(())
}

/// Has the program that is on the disk now serve a mount, under those who use it. Returns its status
/// afterwards.
pub fn upgrade(dir: &Path) -> Result<Status, Failure> {
    let mounted = at(dir)?;
    let reply = Channel::open(&mounted)
        .and_then(|channel| channel.ask(Command::Upgrade, UPGRADE + FORCE))
        .map_err(|silence| silence.failure(&mounted))?;
    match reply {
        Reply::Status(status) => Ok(*status),
        other => Err(other.failure().of(dir)),
    }
}

/// How long a supervisor waits for another worker.
pub(super) const UPGRADE_LIMIT: Duration = UPGRADE;

fn at(dir: &Path) -> Result<Mounted, Failure> {
    // By its name in the table first: what covers it may belong to a user whose server does not answer.
    let name = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    if let Some(named) = mounts::all()?.into_iter().rev().find(|mounted| mounted.dir == name) {
        kernel::require_uncovered(&named)?;
        return Ok(named);
    }
    if let Some(mounted) = crate::place::find_mount(dir)? {
        return Ok(mounted);
    }
    let text = format!("{}: no mount of hsci; `hsci status` lists them", dir.display());
    Err(Failure::new(Exit::Missing, text))
}

/// Has all mounts take the policy in force, which has this number, or none. Returns those that have
/// not, and why; and those whose store is not fenced, if it is to be.
pub fn renew_policies(
    number: Option<u64>,
    fenced: bool,
) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mounts = mounts::all()?;
    let answers = ask_all(&mounts, &Command::RenewPolicy, RENEWAL);
    let served = are_served(mounts.iter().zip(&answers));
    let left = mounts.into_iter().zip(answers).zip(served);
    let left = left.filter_map(|((mounted, answer), is_served)| {
        let why = match answer {
            Ok(reply) => renewed(reply, number, fenced).err()?,
            Err(Silence::Gone) if is_served => UNHEARD.to_owned(),
            // Dead mounts judge nothing.
            Err(Silence::Gone) => return None,
            Err(silence) => silence.failure(&mounted).text,
        };
        Some((mounted.dir, why))
    });
    Ok(left.collect())
}

/// Whether a mount has the policy of a number; an error says why not, or why its store is not fenced.
fn renewed(reply: Reply, number: Option<u64>, fenced: bool) -> Result<(), String> {
    let status = match reply {
        Reply::Status(status) => status,
        other => return Err(other.failure().text),
    };
    let supervisor = status.supervisor.unwrap_or_default();
    // Supervisors that were started by an older program say it of their workers.
    let has = match status.worker {
        Some(worker) => worker.policy.map(|policy| policy.number),
        None => supervisor.policy_number,
    };
    if has != number {
        return Err("it goes on with the last policy".to_owned());
    }
    if fenced && !supervisor.fenced {
        return Err(format!("its store is not fenced: {}", supervisor.fenced_reason));
    }
    Ok(())
}

/// Of a mount without a supervisor.
const UNHEARD: &str = "it takes the policy in force when it is mounted again";
