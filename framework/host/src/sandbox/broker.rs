//! What the supervisor does for a worker that may not do it itself: it looks into `/proc` for who calls,
//! handles attributes that belong to the kernel, has lower files served by the kernel, and gives threads their priority
//! back.
//!
//! A worker with `CAP_SYS_PTRACE`, or with other processes' files in `/proc` at hand, could become any
//! of them, and `CAP_SYS_ADMIN` is nearly all of root. Questions are rare: callers are
//! looked up where a policy asks for more than their user and the kernel does not say, attributes
//! where root sets them, priorities at the end of a rush of requests.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::{Errno, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::Pid;
use serde::{Deserialize, Serialize};

use self::Answered::{All, Attributes};
use super::backing;
use super::callers::{Caller, Wanted, look_up};
use crate::passing::{parse, receive, send};
use crate::sys::scheduling::make_ordinary as make_threads_ordinary;

/// The largest value of an attribute, and a head.
const MOST: usize = (64 << 10) + 1024;
/// How long an answer may take, and for how long nothing is asked after one has not come.
const TIME_TO_ANSWER: Duration = Duration::from_secs(1);
const TIME_OF_SILENCE: Duration = Duration::from_secs(10);

/// Name spaces of attributes in which only `CAP_SYS_ADMIN` may write.
const KERNEL_NAMES: [&[u8]; 2] = [b"trusted.", b"security."];

/// A question; the value of an attribute follows it, and a descriptor of the file comes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Question {
    Caller {
        process: u32,
        wanted: Wanted,
    },
    /// The answer comes with the process's `/proc/PID/stat`.
    Status {
        process: u32,
    },
    /// All threads of the worker but this one get ordinary priority.
    MakeOrdinary {
        but: i32,
    },
    GetXattr {
        name: Vec<u8>,
    },
    SetXattr {
        name: Vec<u8>,
        flags: u32,
    },
    RemoveXattr {
        name: Vec<u8>,
    },
    ListXattrs,
    /// The file and the FUSE device come with it.
    OpenBacking,
    /// The FUSE device comes with it. There is no answer: nobody would do anything else for it.
    CloseBacking {
        number: u32,
    },
}

/// What stands before the bytes of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    /// The number of the question.
    number: u64,
    outcome: std::result::Result<(), i32>,
}

/// True for attributes that a worker leaves to its supervisor.
pub(crate) fn is_kernels(name: &[u8]) -> bool {
    KERNEL_NAMES.iter().any(|prefix| name.starts_with(prefix))
}

/// The supervisor's side for one worker: answers until the worker is gone. Returns the worker's end.
pub(crate) fn open(worker: u32) -> std::io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    serve_on(ours, All, worker)?;
    Ok(theirs)
}

/// Which questions are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    All,
    /// What attributes a file has, for a process that copies it.
    Attributes,
}

/// The keeper's side for a process that reads a store, which has the other end.
pub(crate) fn serve_reader(socket: OwnedFd) -> std::io::Result<()> {
    serve_on(socket, Attributes, 0)
}

fn serve_on(socket: OwnedFd, answered: Answered, worker: u32) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("broker".to_owned());
    thread.spawn(move || serve(&socket, answered, worker)).map(drop)
}

fn serve(socket: &OwnedFd, answered: Answered, worker: u32) {
    let mut buffer = vec![0; MOST];
    while let Ok((len @ 1.., files)) = receive(socket, &mut buffer) {
        let Some(((number, question), value)) = parse::<(u64, Question)>(&buffer[..len]) else {
            log::warn!("a worker asks for something that is not known here");
            return;
        };
        if let (Question::CloseBacking { number }, All) = (&question, answered) {
            close(&files, *number);
            continue;
        }
        let status = match (&question, answered) {
            (Question::Status { process }, All) => open_status(*process),
            _ => None,
        };
        let is_read = matches!(question, Question::GetXattr { .. } | Question::ListXattrs);
        let outcome = match answered == All || is_read {
            true => answer(question, value, &files, worker),
            false => Err(Errno::PERM),
        };
        let head =
            Head { number, outcome: outcome.as_ref().map(drop).map_err(|e| e.raw_os_error()) };
        let files: Vec<BorrowedFd<'_>> = status.iter().map(AsFd::as_fd).collect();
        if send(socket, &head, &outcome.unwrap_or_default(), &files).is_err() {
            return;
        }
    }
}

fn answer(question: Question, value: &[u8], files: &[OwnedFd], worker: u32) -> Result<Vec<u8>> {
    let path = || {
        files.first().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd())).ok_or(Errno::BADF)
    };
    let checked = |name: Vec<u8>| if is_kernels(&name) { Ok(name) } else { Err(Errno::PERM) };
    match question {
        Question::Caller { process, wanted } => {
            let caller = look_up(process, wanted).ok_or(Errno::SRCH)?;
            serde_json::to_vec(&caller).map_err(|_| Errno::INVAL)
        }
        // The file comes beside it.
        Question::Status { .. } => Ok(Vec::new()),
        Question::MakeOrdinary { but } => make_threads_ordinary(worker, but).map(|()| Vec::new()),
        Question::SetXattr { name, flags } => {
            let flags = XattrFlags::from_bits_truncate(flags);
            rustix::fs::setxattr(path()?, checked(name)?, value, flags).map(|()| Vec::new())
        }
        Question::GetXattr { name } => {
            let mut value = Vec::with_capacity(64 << 10);
            let space = rustix::buffer::spare_capacity(&mut value);
            rustix::fs::getxattr(path()?, checked(name)?, space).map(|_| value)
        }
        Question::RemoveXattr { name } => {
            rustix::fs::removexattr(path()?, checked(name)?).map(|()| Vec::new())
        }
        Question::ListXattrs => {
            let mut names = Vec::with_capacity(64 << 10);
            let space = rustix::buffer::spare_capacity(&mut names);
            rustix::fs::listxattr(path()?, space).map(|_| names)
        }
        Question::OpenBacking => {
            let [file, device] = files else { return Err(Errno::BADF) };
            backing::open(device, file).map(|number| number.to_ne_bytes().to_vec())
        }
        Question::CloseBacking { .. } => Err(Errno::PERM),
    }
}

/// Lets go of a number for a worker.
fn close(files: &[OwnedFd], number: u32) {
    let closed = files.first().ok_or(Errno::BADF);
    match closed.and_then(|device| crate::sys::passthrough::close_backing(device, number)) {
        // The worker before came to it.
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => {
            log::warn!("file {number} stays with the kernel until the mount ends: {error}");
        }
    }
}

/// The worker's side.
#[derive(Debug)]
struct Asking {
    socket: OwnedFd,
    number: u64,
    /// When the supervisor has last not answered.
    silent: Option<Instant>,
    buffer: Vec<u8>,
}

/// A process has one supervisor or none.
static SUPERVISOR: OnceLock<Mutex<Asking>> = OnceLock::new();

/// From now on the supervisor at the other end is asked for what this process may not do.
pub(crate) fn connect(socket: OwnedFd) -> std::io::Result<()> {
    set_socket_timeout(&socket, Timeout::Recv, Some(TIME_TO_ANSWER))?;
    set_socket_timeout(&socket, Timeout::Send, Some(TIME_TO_ANSWER))?;
    let asking = Asking { socket, number: 0, silent: None, buffer: vec![0; MOST] };
    let _ = SUPERVISOR.set(Mutex::new(asking));
    Ok(())
}

/// Who calls, as far as that is wanted; nothing if something of it cannot be found out.
pub(crate) fn caller(process: u32, wanted: Wanted) -> Option<Caller> {
    match ask(&Question::Caller { process, wanted }, &[], &[]) {
        Some(answer) => serde_json::from_slice(&answer.ok()?).ok(),
        None => look_up(process, wanted),
    }
}

/// What the kernel says of a process, by a descriptor that is read anew each time.
pub(crate) fn process_status(process: u32) -> Option<OwnedFd> {
    let question = Question::Status { process };
    match ask_for(&question, &[], &[]) {
        Some(answer) => answer.ok()?.1,
        None => open_status(process),
    }
}

fn open_status(process: u32) -> Option<OwnedFd> {
    let place = format!("/proc/{process}/stat");
    rustix::fs::open(place, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Gives all threads of this process but one ordinary priority.
pub(crate) fn make_ordinary(but: Option<Pid>) -> Result<()> {
    let but = but.map_or(0, Pid::as_raw_pid);
    ask(&Question::MakeOrdinary { but }, &[], &[]).ok_or(Errno::PERM)?.map(drop)
}

/// The supplementary groups of a caller; none if it is gone or is nobody in particular.
pub(crate) fn groups(process: u32) -> Vec<u32> {
    let wanted = Wanted { groups: true, ..Wanted::default() };
    caller(process, wanted).map(|caller| caller.groups).unwrap_or_default()
}

/// Sets an attribute of the kernel's; nothing where this process has no supervisor. So with the others.
pub(crate) fn set_xattr(
    file: BorrowedFd<'_>,
    name: &[u8],
    value: &[u8],
    flags: XattrFlags,
) -> Option<Result<()>> {
    let question = Question::SetXattr { name: name.to_owned(), flags: flags.bits() };
    ask(&question, value, &[file]).map(|answer| answer.map(drop))
}

pub(crate) fn xattr(file: BorrowedFd<'_>, name: &[u8]) -> Option<Result<Vec<u8>>> {
    ask(&Question::GetXattr { name: name.to_owned() }, &[], &[file])
}

pub(crate) fn remove_xattr(file: BorrowedFd<'_>, name: &[u8]) -> Option<Result<()>> {
    let question = Question::RemoveXattr { name: name.to_owned() };
    ask(&question, &[], &[file]).map(|answer| answer.map(drop))
}

/// Names of all attributes, each ended by 0.
pub(crate) fn xattrs(file: BorrowedFd<'_>) -> Option<Result<Vec<u8>>> {
    ask(&Question::ListXattrs, &[], &[file])
}

/// Has the kernel serve an open file on a FUSE connection; returns the number that it goes by there. `PERM` where
/// this process has no supervisor.
pub(crate) fn open_backing(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<u32> {
    let number = ask(&Question::OpenBacking, &[], &[file, device]).ok_or(Errno::PERM)??;
    number.try_into().map(u32::from_ne_bytes).map_err(|_| Errno::INVAL)
}

/// Lets go of a number, some time soon.
pub(crate) fn close_backing(device: BorrowedFd<'_>, number: u32) -> Result<()> {
    let question = Question::CloseBacking { number };
    unless_silent(|asking| asking.tell(&question, &[], &[device])).unwrap_or(Err(Errno::PERM))
}

fn ask(question: &Question, value: &[u8], files: &[BorrowedFd<'_>]) -> Option<Result<Vec<u8>>> {
    ask_for(question, value, files).map(|answer| answer.map(|(bytes, _)| bytes))
}

/// An answer, and the descriptor that came with it.
type Received = (Vec<u8>, Option<OwnedFd>);

fn ask_for(
    question: &Question,
    value: &[u8],
    files: &[BorrowedFd<'_>],
) -> Option<Result<Received>> {
    unless_silent(|asking| asking.ask(question, value, files))
}

fn unless_silent<T>(ask: impl FnOnce(&mut Asking) -> Result<T>) -> Option<Result<T>> {
    let mut asking = SUPERVISOR.get()?.lock();
    if asking.silent.is_some_and(|since| since.elapsed() < TIME_OF_SILENCE) {
        return Some(Err(Errno::PERM));
    }
    let answer = ask(&mut asking);
    // What keeps the worker from doing it itself is the answer to give if nobody else does it.
    let lost = matches!(answer, Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET));
    asking.silent = lost.then(Instant::now);
    Some(if lost { Err(Errno::PERM) } else { answer })
}

impl Asking {
    fn tell(&mut self, question: &Question, value: &[u8], files: &[BorrowedFd<'_>]) -> Result<()> {
        self.number += 1;
        send(&self.socket, &(self.number, question), value, files)
    }

    fn ask(
        &mut self,
        question: &Question,
        value: &[u8],
        files: &[BorrowedFd<'_>],
    ) -> Result<Received> {
        self.tell(question, value, files)?;
        loop {
            let (len, files) = receive(&self.socket, &mut self.buffer)?;
            if len == 0 {
                return Err(Errno::PIPE);
            }
            let (head, bytes) = parse::<Head>(&self.buffer[..len]).ok_or(Errno::INVAL)?;
            // Others are answers to questions that were given up.
            if head.number == self.number {
                let file = files.into_iter().next();
                return head
                    .outcome
                    .map(|()| (bytes.to_vec(), file))
                    .map_err(Errno::from_raw_os_error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::sys::scheduling::set_idle;

    fn asking() -> Asking {
        let socket = open(std::process::id()).expect("a socket");
        Asking { socket, number: 0, silent: None, buffer: vec![0; MOST] }
    }

    #[test]
    fn a_caller_is_looked_up_as_far_as_wanted() {
        let wanted = Wanted { command: true, ..Wanted::default() };
        let process = std::process::id();
        let question = Question::Caller { process, wanted };
        let (answer, _) = asking().ask(&question, &[], &[]).expect("an answer");
        let caller: Caller = serde_json::from_slice(&answer).expect("a caller");
        assert_eq!(Some(caller), look_up(process, wanted));
        let status = Question::Status { process };
        let (_, file) = asking().ask(&status, &[], &[]).expect("an answer");
        let mut text = String::new();
        std::fs::File::from(file.expect("a file")).read_to_string(&mut text).expect("a status");
        assert!(text.starts_with(&format!("{process} (")));
        let gone = Question::Caller { process: u32::MAX, wanted };
        assert_eq!(asking().ask(&gone, &[], &[]).unwrap_err(), Errno::SRCH);
    }

    #[test]
    fn threads_get_their_priority_back() {
        let policy = |thread: Pid| {
            let status = format!("/proc/self/task/{}/stat", thread.as_raw_pid());
            let status = std::fs::read_to_string(status).expect("a status");
            status.rsplit(' ').nth(52 - 41).expect("a policy").to_owned()
        };
        let this = rustix::thread::gettid();
        let before = policy(this);
        set_idle(this).expect("everybody may");
        let idle = policy(this);
        assert_ne!(idle, before);
        let ask = |but: i32| asking().ask(&Question::MakeOrdinary { but }, &[], &[]);
        match ask(this.as_raw_pid()) {
            // A user who is not root may not.
            Err(Errno::PERM | Errno::ACCESS) => return,
            answered => drop(answered.expect("an answer")),
        }
        assert_eq!(policy(this), idle);
        ask(0).expect("an answer");
        assert_eq!(policy(this), before);
    }

    #[test]
    fn only_attributes_of_the_kernel_are_handled() {
        let file = tempfile::tempfile().expect("a file");
        for name in ["user.a", "system.posix_acl_access", "securitya", ""] {
            let name = name.as_bytes().to_owned();
            let question = Question::SetXattr { name, flags: 0 };
            let answer = asking().ask(&question, b"x", &[file.as_fd()]);
            assert_eq!(answer.unwrap_err(), Errno::PERM);
        }
        let question = Question::SetXattr { name: b"trusted.a".to_vec(), flags: 0 };
        assert_eq!(asking().ask(&question, b"x", &[]).unwrap_err(), Errno::BADF);
    }
}
