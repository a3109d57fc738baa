//! Asking the supervisor of a mount.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use hsci_protocol::control::{Command, Reply, Request};
use hsci_protocol::line::send;
use hsci_protocol::status::{Status, SupervisorStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::sockets::Sockets;
use super::sweep;
use crate::failure::{Exit, Failure};
use crate::mounts::{Device, Mounted};
use crate::passing::receive_line_before;
use crate::supervisor::last_words;

/// Time for an answer that takes no work.
const QUICK: Duration = Duration::from_secs(4);

/// A connection to the supervisor of a mount.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    /// The supervisor's.
    process: Process,
}

/// Why a mount cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No supervisor listens.
    Gone,
    /// Its supervisor does not answer within the time for it.
    Late(Duration),
    /// The connection failed.
    Broken(String),
}

impl Silence {
    /// The failure of a question about a mount.
    #[must_use]
    pub fn failure(&self, mounted: &Mounted) -> Failure {
        let dir = mounted.dir.display();
        match self {
            Self::Gone => gone(mounted),
            Self::Late(limit) => Failure::new(
                Exit::Internal,
                format!(
                    "{dir}: its supervisor does not answer within {limit:?}; it is stopped or hangs, `hsci unmount --force` ends it"
                ),
            ),
            Self::Broken(why) => {
                Failure::new(Exit::Internal, format!("{dir}: its supervisor: {why}"))
            }
        }
    }
}

impl Channel {
    /// Connects to the supervisor of a mount: a process of the user who mounted it.
    pub fn open(mounted: &Mounted) -> Result<Self, Silence> {
        Self::open_by(&mut Sockets::default(), mounted, Instant::now() + QUICK)
    }

    /// The same by sockets that are listed already; who has too many callers is waited for until `end`.
    fn open_by(sockets: &mut Sockets, mounted: &Mounted, end: Instant) -> Result<Self, Silence> {
        for socket in sockets.of(mounted) {
            if let Some(channel) = Self::connect(&socket, mounted.user, end)? {
                return Ok(channel);
            }
        }
        Err(Silence::Gone)
    }

    /// Nothing if nobody listens there, or somebody else than the user.
    fn connect(found: &OwnedFd, user: u32, end: Instant) -> Result<Option<Self>, Silence> {
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let broken = |errno: Errno| Silence::Broken(std::io::Error::from(errno).to_string());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(broken)?;
        let address = SocketAddrUnix::new(path).map_err(broken)?;
        loop {
            match connect(&socket, &address) {
                Ok(()) => break,
                // Too many others wait already.
                Err(Errno::AGAIN) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(Errno::AGAIN) => return Err(Silence::Late(QUICK)),
                Err(_) => return Ok(None),
            }
        }
        let peer = rustix::net::sockopt::socket_peercred(&socket).map_err(broken)?;
        if peer.uid.as_raw() != user {
            return Ok(None);
        }
        let Some(process) = Process::open(peer.pid.as_raw_nonzero().get()) else { return Ok(None) };
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(false).map_err(|error| Silence::Broken(error.to_string()))?;
        Ok(Some(Self { socket, process }))
    }

    /// Asks, and waits as long as `limit` for the answer.
    pub fn ask(&self, command: Command, limit: Duration) -> Result<Reply, Silence> {
        self.order(command)?;
        self.answer(limit)
    }

    fn order(&self, command: Command) -> Result<(), Silence> {
        let sent = self
            .socket
            .set_write_timeout(Some(QUICK))
            .and_then(|()| send(&self.socket, &Request::new(command)));
        sent.map_err(|error| self.silence(&error, QUICK))
    }

    /// Waits as long as `limit` for the answer to what was asked.
    pub(crate) fn answer(&self, limit: Duration) -> Result<Reply, Silence> {
        let answer = receive_line_before(&self.socket, Instant::now() + limit);
        match answer {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.silence(&ErrorKind::ConnectionReset.into(), limit)),
            Err(error) => Err(self.silence(&error, limit)),
        }
    }

    fn silence(&self, error: &std::io::Error, limit: Duration) -> Silence {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Silence::Late(limit),
            // It has ended after the connection was made.
            _ if self.wait_for_end(Duration::from_secs(1)) => Silence::Gone,
            _ => Silence::Broken(error.to_string()),
        }
    }

    /// Sends its supervisor a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// True if its supervisor has ended within `limit`.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> bool {
        self.process.wait_for_end(limit)
    }

    /// The children of its supervisor: its worker.
    pub(crate) fn children(&self) -> Vec<Process> {
        let pid = self.process.pid;
        let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let listed = listed.unwrap_or_default();
        listed.split_whitespace().filter_map(|pid| Process::open(pid.parse().ok()?)).collect()
    }
}

/// A process, whatever happens to its number.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    descriptor: OwnedFd,
}

impl Process {
    fn open(pid: i32) -> Option<Self> {
        let descriptor = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, descriptor })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        let _ = pidfd_send_signal(&self.descriptor, signal);
    }

    /// True if it has ended within `limit`.
    pub(crate) fn wait_for_end(&self, limit: Duration) -> bool {
        let limit = Timespec { tv_sec: limit.as_secs().cast_signed(), tv_nsec: 0 };
        loop {
            match poll(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(&limit)) {
                Err(Errno::INTR) => {}
                polled => return polled.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

/// What each mount answers, all asked at the same time. Nobody who does not answer makes it take longer than
/// `limit`, and the time for connections and for questions.
pub(crate) fn ask_all(
    mounts: &[Mounted],
    command: &Command,
    limit: Duration,
) -> Vec<Result<Reply, Silence>> {
    let mut sockets = Sockets::default();
    let end = Instant::now() + QUICK;
    let mut ask = |mounted| {
        let channel = Channel::open_by(&mut sockets, mounted, end)?;
        channel.order(command.clone()).map(|()| channel)
    };
    let asked: Vec<_> = mounts.iter().map(&mut ask).collect();
    let end = Instant::now() + limit;
    let answer = |channel: Channel| {
        let rest = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        channel.answer(rest).map_err(|silence| match silence {
            Silence::Late(_) => Silence::Late(limit),
            silence => silence,
        })
    };
    asked.into_iter().map(|channel| channel.and_then(answer)).collect()
}

/// The status of each mount, all asked at the same time.
#[must_use]
pub fn statuses(mounts: &[Mounted]) -> Vec<Status> {
    sweep();
    let answers = ask_all(mounts, &Command::Status, QUICK);
    let served = are_served(mounts.iter().zip(&answers));
    let all = mounts.iter().zip(answers).zip(served);
    all.map(|((mounted, answer), is_served)| status(mounted, answer, is_served)).collect()
}

/// The status of a mount that has answered so. Where it is and who mounted it is the kernel's word.
fn status(mounted: &Mounted, answer: Result<Reply, Silence>, is_served: bool) -> Status {
    let place = (mounted.dir.clone(), mounted.lower.clone());
    let silent = |why: String| Status {
        dir: place.0.clone(),
        lower: place.1.clone(),
        silent: Some(why),
        ..Status::default()
    };
    match answer {
        Ok(Reply::Status(status)) => Status { dir: place.0, lower: place.1, ..*status },
        Ok(other) => silent(other.failure().text),
        Err(Silence::Gone) if is_served => {
            let supervisor = SupervisorStatus { supervised: false, ..SupervisorStatus::default() };
            Status { supervisor: Some(supervisor), ..silent(ORPHAN.to_owned()) }
        }
        Err(why) => {
            let text = why.failure(mounted).text;
            let dir = format!("{}: ", mounted.dir.display());
            silent(text.strip_prefix(&dir).unwrap_or(&text).to_owned())
        }
    }
}

const ORPHAN: &str = "its supervisor is gone; unmount it and mount it again";

/// What to say of a mount without a supervisor.
fn gone(mounted: &Mounted) -> Failure {
    let dir = mounted.dir.display();
    if is_served(mounted) {
        return Failure::new(Exit::Missing, format!("{dir}: {ORPHAN}"));
    }
    if mounted.user != rustix::process::geteuid().as_raw() && mounted.user != 0 {
        let text =
            format!("{dir}: mounted by user {}, whose supervisor is not found", mounted.user);
        return Failure::new(Exit::Impossible, text);
    }
    let last = last_words(&mounted.dir).map(|words| format!(", and its log ends: {words}"));
    let text =
        format!("{dir}: its host is gone; `hsci mount` it again{}", last.unwrap_or_default());
    Failure::new(Exit::Internal, text)
}

/// Whether mounts whose supervisors are gone are served all the same, by what these have answered.
pub(crate) fn are_served<'a>(
    asked: impl Iterator<Item = (&'a Mounted, &'a Result<Reply, Silence>)>,
) -> Vec<bool> {
    std::thread::scope(|scope| {
        let look = |(mounted, answer): (&'a Mounted, &'a Result<Reply, Silence>)| {
            matches!(answer, Err(Silence::Gone)).then(|| scope.spawn(|| is_served(mounted)))
        };
        let looking: Vec<_> = asked.map(look).collect();
        let end =
            looking.into_iter().map(|look| look.is_some_and(|look| look.join().unwrap_or(false)));
        end.collect()
    })
}

/// Whether anything answers requests of a mount. The question is put by a process of its own, for who
/// asks a hanging file system may not come back.
fn is_served(mounted: &Mounted) -> bool {
    let mut probe = Program::new("stat");
    probe.args(["-f", "-c", "", "--"]).arg(&mounted.dir).env("LC_ALL", "C");
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut probe) = probe.spawn() else { return false };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        match probe.try_wait() {
            Ok(Some(ended)) => return ended.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return false,
        }
    }
    let _ = probe.kill();
    true
}

/// Ends the connection of a mount, by the kernel: whoever waits for an answer gets an error. Returns
/// whether that could be done.
pub(crate) fn force_end(device: Device) -> bool {
    let abort = format!("/sys/fs/fuse/connections/{}/abort", device.minor);
    std::fs::write(abort, "1").is_ok()
}
