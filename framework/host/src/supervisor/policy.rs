//! Telling workers which policy is in force, and who calls.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_engine::{Spoken, Tables};
use parking_lot::Mutex;
use rustix::process::geteuid;

use super::KernelSide;
use crate::failure::{Exit, Failure};
use crate::mounts;
use crate::passing::receive_line;
use crate::policy::file::{self, Handed};
use crate::policy::{self, Change, Taken};

/// Finds out in the kernel who makes the requests of a mount, for as long as it is kept.
pub trait Callers: Send {
    /// Begins with the mount that has this device number; an error says why that cannot be.
    fn attach(&mut self, device: u64) -> Result<(), String>;
    /// Classifies by the tables of another policy from now on, which takes much less than to start; an error
    /// says why that cannot be.
    fn put(&mut self, tables: &Tables, policy: u64) -> Result<(), String>;
    /// Marks callers that were classified by the present tables.
    fn generation(&self) -> u32;
    /// Where they are, [`hsci_abi::callers::HANDED_LEN`] bytes.
    fn memory(&self) -> BorrowedFd<'_>;
    /// What is remembered of processes, [`hsci_abi::memory::MEMORY_LEN`] bytes, where the kernel follows them.
    fn remembered(&self) -> Option<BorrowedFd<'_>>;
}

/// Starts to find out, by the tables of the policy of this number; an error says why that cannot be.
pub type FindCallers = fn(&Tables, u64) -> Result<Box<dyn Callers>, String>;

/// Makes the guard judge the calls on a mount: its policy, the directory, the device number. An error
/// says why it cannot.
pub type PlaceMount = fn(&Tables, &Path, u64) -> Result<(), String>;

/// The policy in force, and the line to the worker of a mount.
#[derive(Clone)]
pub(super) struct PolicyLine {
    state: Arc<Mutex<State>>,
    /// Numbers of answers; locked while one is waited for, which comes before the lock of the state.
    answers: Arc<Mutex<u64>>,
}

struct State {
    side: KernelSide,
    dir: PathBuf,
    /// Device number of the mount, once there is one.
    device: Option<u64>,
    in_force: Option<InForce>,
    line: Option<UnixStream>,
}

struct InForce {
    file: File,
    policy: Handed,
    callers: Result<Box<dyn Callers>, String>,
}

impl InForce {
    /// What found out callers for the policy before goes on.
    fn new(
        side: KernelSide,
        (file, mut policy): (File, Handed),
        dir: &Path,
        before: Option<Box<dyn Callers>>,
    ) -> Self {
        // Only root may give the guard mounts.
        policy.head.guarded &= geteuid().is_root();
        let put = |mut callers: Box<dyn Callers>| {
            callers.put(&policy.tables, policy.head.number).ok()?;
            Some(callers)
        };
        let callers = if policy::spoken(&policy.tables, dir) == Spoken::default() {
            Err("no rule applies to this mount".to_owned())
        } else {
            let start = || (side.callers)(&policy.tables, policy.head.number);
            before.and_then(put).map_or_else(start, Ok)
        };
        Self { callers, file, policy }
    }
}

impl PolicyLine {
    /// Reads the policy in force. Says as well whether the mount at a directory has to show opens.
    pub(super) fn new(side: KernelSide, dir: &Path) -> Result<(Self, bool), Failure> {
        let in_force = read().map_err(|why| {
            let text = format!("{}: {why}; `hsci policy load` or `unload` one first", file::PATH);
            Failure::new(Exit::Store, text)
        })?;
        let in_force = in_force.map(|policy| InForce::new(side, policy, dir, None));
        let needs_opens =
            in_force.as_ref().is_some_and(|now| policy::needs_opens(&now.policy, dir));
        let state = State { side, dir: dir.to_owned(), device: None, in_force, line: None };
        let state = Arc::new(Mutex::new(state));
        Ok((Self { state, answers: Arc::default() }, needs_opens))
    }

    /// The line for another worker; the policy in force is sent on it already.
    pub(super) fn open(&self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut state = self.state.lock();
        state.line = Some(ours);
        state.send(None)?;
        Ok(theirs.into())
    }

    /// The mount is there. A failure means that nobody would judge the calls on it.
    pub(super) fn attach(&self) -> Result<(), Failure> {
        let mut state = self.state.lock();
        let device = mounts::find_by_name(&state.dir).ok_or_else(|| {
            Failure::new(Exit::Internal, "the mount has gone already").of(&state.dir)
        })?;
        state.device = Some(device.number());
        state.attach().map_err(|why| {
            let text = format!("{}: the guard cannot judge it: {why}", state.dir.display());
            Failure::new(Exit::Impossible, text)
        })
    }

    /// There is another policy, or none any more: returns once it is in force in the worker, or will be in the
    /// next one before that serves. An error says why it is not.
    pub(super) fn renew(&self, limit: Duration) -> Result<(), String> {
        let mut answer = self.answers.lock();
        *answer += 1;
        let line = self.state.lock().renew(*answer)?;
        let Some(line) = line else { return Ok(()) };
        answer_on(&line, *answer, Instant::now() + limit)
    }

    /// The number of the policy that the worker has, or begins with.
    pub(super) fn number(&self) -> Option<u64> {
        self.state.lock().in_force.as_ref().map(|now| now.policy.head.number)
    }

    /// Takes a policy that was loaded after this one was read, and before the mount could be asked.
    pub(super) fn catch_up(&self, limit: Duration) -> Result<(), String> {
        let now = read()?.map(|(_, policy)| policy.head.number);
        if now == self.number() { Ok(()) } else { self.renew(limit) }
    }
}

/// Waits for what the worker says of a policy.
fn answer_on(line: &UnixStream, number: u64, end: Instant) -> Result<(), String> {
    loop {
        let rest = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        line.set_read_timeout(Some(rest)).map_err(|error| error.to_string())?;
        match receive_line::<Taken>(line) {
            Ok(Some(Taken { answer, refused })) if answer == number => {
                return refused.map_or(Ok(()), Err);
            }
            // To a change before, which was not waited for any longer.
            Ok(Some(_)) => {}
            // The worker has ended. The next one begins with the policy.
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(_) => return Err("it has not answered in time".to_owned()),
        }
    }
}

impl State {
    /// Reads the policy in force, and sends it to the worker. Returns the line on which that answers.
    fn renew(&mut self, answer: u64) -> Result<Option<UnixStream>, String> {
        let policy = read().map_err(|why| format!("{}: {why}", file::PATH))?;
        let before = self.in_force.take().and_then(|now| now.callers.ok());
        self.in_force = policy.map(|policy| InForce::new(self.side, policy, &self.dir, before));
        if let (Err(why), Some(now)) = (self.attach(), &mut self.in_force) {
            log::error!("the guard cannot judge calls, so this host does: {why}");
            now.policy.head.guarded = false;
        }
        match self.send(Some(answer)) {
            Ok(()) => {
                let line = self.line.as_ref().map(UnixStream::try_clone).transpose();
                line.map_err(|error| error.to_string())
            }
            Err(error) => {
                log::debug!("the worker has ended, the next one will have the policy: {error}");
                Ok(None)
            }
        }
    }

    fn attach(&mut self) -> Result<(), String> {
        let (Some(device), Some(now)) = (self.device, &mut self.in_force) else { return Ok(()) };
        if let Ok(callers) = &mut now.callers
            && let Err(why) = callers.attach(device)
        {
            now.callers = Err(why);
        }
        if !now.policy.head.guarded {
            return Ok(());
        }
        (self.side.place)(&now.policy.tables, &self.dir, device)
    }

    /// An answer is waited for if it has a number.
    fn send(&self, answer: Option<u64>) -> std::io::Result<()> {
        let Some(line) = &self.line else { return Ok(()) };
        let Some(InForce { file, policy, callers }) = &self.in_force else {
            let callers = Err(String::new());
            let (guarded, remembers) = (false, false);
            let none = Change { has_policy: false, guarded, callers, remembers, answer };
            return none.send(line, &[]);
        };
        let mut descriptors = vec![file.as_fd()];
        let remembered = callers.as_ref().ok().and_then(|callers| callers.remembered());
        let callers = callers.as_ref().map(|callers| {
            descriptors.push(callers.memory());
            callers.generation()
        });
        descriptors.extend(remembered);
        let callers = callers.map_err(Clone::clone);
        let (guarded, remembers) = (policy.head.guarded, remembered.is_some());
        let change = Change { has_policy: true, guarded, callers, remembers, answer };
        change.send(line, &descriptors)
    }
}

/// The policy in force, and an open file that holds it.
fn read() -> Result<Option<(File, Handed)>, String> {
    let opened = file::open().map_err(|error| error.to_string())?;
    opened.map(|file| Handed::read(&file).map(|policy| (file, policy))).transpose()
}
