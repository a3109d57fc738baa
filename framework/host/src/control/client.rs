//! Asking the supervisor of a mount.

use std::cmp::Reverse;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use hsci_protocol::control::{Command, Reply, Request};
use hsci_protocol::line::{receive, send};
use hsci_protocol::status::{Status, SupervisorStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{own_prefix, prefix, sweep};
use crate::failure::{Exit, Failure};
use crate::mounts::{Device, Mounted};
use crate::place::open_below;
use crate::run_dir;
use crate::supervisor::last_words;

/// Time for an answer that takes no work.
const QUICK: Duration = Duration::from_secs(4);

/// How many sockets of a mount are tried, for users can make any number of names.
const MOST_NAMES: usize = 64;

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
        for directory in run_dir::of_user(mounted.user) {
            let Ok(entries) = std::fs::read_dir(directory.path("")) else { continue };
            let prefix = prefix(mounted.device);
            let begins =
                |name: &OsString, with: &str| name.as_encoded_bytes().starts_with(with.as_bytes());
            let names = entries.flatten().map(|entry| entry.file_name());
            let names = names.filter(|name| begins(name, &prefix)).take(MOST_NAMES);
            // A supervisor before, whose numbers were given again, may not have ended yet: the socket of this
            // very mount comes first, the newest of them. A bind mount shares the device alone.
            let this = own_prefix(mounted);
            let found = names.filter_map(|name| {
                let socket = open_below(directory.as_fd(), &*name, OFlags::PATH).ok()?;
                let stat = fstat(&socket).ok()?;
                let made = (stat.st_mtime, stat.st_mtime_nsec);
                Some((!begins(&name, &this), Reverse(made), socket))
            });
            let mut found: Vec<_> = found.collect();
            found.sort_by_key(|(is_other, made, _)| (*is_other, *made));
            for (.., socket) in found {
                if let Some(channel) = Self::connect(&socket, mounted.user)? {
                    return Ok(channel);
                }
            }
        }
        Err(Silence::Gone)
    }

    /// Nothing if nobody listens there, or somebody else than the user.
    fn connect(found: &OwnedFd, user: u32) -> Result<Option<Self>, Silence> {
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let broken = |errno: Errno| Silence::Broken(std::io::Error::from(errno).to_string());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(broken)?;
        let address = SocketAddrUnix::new(path).map_err(broken)?;
        let begun = Instant::now();
        loop {
            match connect(&socket, &address) {
                Ok(()) => break,
                // Too many others wait already.
                Err(Errno::AGAIN) if begun.elapsed() < QUICK => {
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
        let sent = self
            .socket
            .set_write_timeout(Some(QUICK))
            .and_then(|()| send(&self.socket, &Request::new(command)));
        sent.map_err(|error| self.silence(&error, QUICK))?;
        self.answer(limit)
    }

    /// Waits as long as `limit` for the answer to what was asked.
    pub(crate) fn answer(&self, limit: Duration) -> Result<Reply, Silence> {
        let answer = self.socket.set_read_timeout(Some(limit)).and_then(|()| receive(&self.socket));
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

/// The status of each mount, all asked at the same time.
#[must_use]
pub fn statuses(mounts: &[Mounted]) -> Vec<Status> {
    sweep();
    std::thread::scope(|scope| {
        let asked: Vec<_> = mounts.iter().map(|one| scope.spawn(|| status(one))).collect();
        asked.into_iter().map(|answer| answer.join().expect("nothing in it panics")).collect()
    })
}

/// The status of a mount. Where it is and who mounted it is the kernel's word.
fn status(mounted: &Mounted) -> Status {
    let answer = Channel::open(mounted).and_then(|channel| channel.ask(Command::Status, QUICK));
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
        Err(Silence::Gone) if is_served(mounted) => {
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

/// Whether anything answers requests of a mount. The question is put by a process of its own, for who
/// asks a hanging file system may not come back.
pub(crate) fn is_served(mounted: &Mounted) -> bool {
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
