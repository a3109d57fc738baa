//! Telling workers which policy is in force, and who calls.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsci_engine::Tables;
use parking_lot::Mutex;
use rustix::process::geteuid;

use super::{KernelSide, internal, kernel};
use crate::failure::{Exit, Failure};
use crate::policy::file::{self, Handed};
use crate::policy::{self, Change};

/// Finds out in the kernel who makes the requests of a mount, for as long as it is kept.
pub trait Callers: Send {
    /// Begins with the mount that has this device number.
    fn attach(&self, device: u64);
    /// Marks callers that were classified by the tables it was made for.
    fn generation(&self) -> u32;
    /// Where they are, [`hsci_abi::callers::HANDED_LEN`] bytes.
    fn memory(&self) -> BorrowedFd<'_>;
    /// What is remembered of processes, [`hsci_abi::memory::MEMORY_LEN`] bytes, where the kernel follows them.
    fn remembered(&self) -> Option<BorrowedFd<'_>>;
}

/// Starts to find out, by the classes of the given tables; an error says why that cannot be.
pub type FindCallers = fn(&Tables) -> Result<Box<dyn Callers>, String>;

/// Makes the guard judge the calls on a mount: its policy, the directory, the device number. An error
/// says why it cannot.
pub type PlaceMount = fn(&Tables, &Path, u64) -> Result<(), String>;

/// The policy in force, and the line to the worker of a mount.
#[derive(Clone)]
pub(super) struct PolicyLine(Arc<Mutex<State>>);

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
    fn new(side: KernelSide, (file, mut policy): (File, Handed)) -> Self {
        // Only root may give the guard mounts.
        policy.head.guarded &= geteuid().is_root();
        Self { callers: (side.callers)(&policy.tables), file, policy }
    }
}

impl PolicyLine {
    /// Reads the policy in force. Says as well whether the mount at a directory has to show opens.
    pub(super) fn new(side: KernelSide, dir: &Path) -> Result<(Self, bool), Failure> {
        let in_force = read().map_err(|why| {
            let text = format!("{}: {why}; `hsci policy load` or `unload` one first", file::PATH);
            Failure::new(Exit::Store, text)
        })?;
        let in_force = in_force.map(|policy| InForce::new(side, policy));
        let needs_opens =
            in_force.as_ref().is_some_and(|now| policy::needs_opens(&now.policy, dir));
        let state = State { side, dir: dir.to_owned(), device: None, in_force, line: None };
        Ok((Self(Arc::new(Mutex::new(state))), needs_opens))
    }

    /// The line for another worker; the policy in force is sent on it already.
    pub(super) fn open(&self) -> std::io::Result<OwnedFd> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut state = self.0.lock();
        state.line = Some(ours);
        state.send()?;
        Ok(theirs.into())
    }

    /// The mount is there. A failure means that nobody would judge the calls on it.
    pub(super) fn attach(&self) -> Result<(), Failure> {
        let mut state = self.0.lock();
        let device = kernel::device_of(&state.dir);
        state.device = Some(device.map_err(|error| internal("the mount", &error))?);
        state.attach().map_err(|why| {
            let text = format!("{}: the guard cannot judge it: {why}", state.dir.display());
            Failure::new(Exit::Impossible, text)
        })
    }

    /// There is another policy, or none any more. Returns its number.
    pub(super) fn renew(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let policy = match read() {
            Ok(policy) => policy,
            Err(why) => {
                log::error!("{}: {why}; the last policy goes on", file::PATH);
                return state.in_force.as_ref().map(|now| now.policy.head.number);
            }
        };
        state.in_force = policy.map(|policy| InForce::new(state.side, policy));
        if let (Err(why), Some(now)) = (state.attach(), &mut state.in_force) {
            log::error!("the guard cannot judge calls, so this host does: {why}");
            now.policy.head.guarded = false;
        }
        if let Err(error) = state.send() {
            // The next worker will get it.
            log::debug!("the worker does not hear of a policy: {error}");
        }
        state.in_force.as_ref().map(|now| now.policy.head.number)
    }
}

impl State {
    fn attach(&self) -> Result<(), String> {
        let (Some(device), Some(now)) = (self.device, &self.in_force) else { return Ok(()) };
        if let Ok(callers) = &now.callers {
            callers.attach(device);
        }
        if !now.policy.head.guarded {
            return Ok(());
        }
        (self.side.place)(&now.policy.tables, &self.dir, device)
    }

    fn send(&self) -> std::io::Result<()> {
        let Some(line) = &self.line else { return Ok(()) };
        let Some(InForce { file, policy, callers }) = &self.in_force else {
            let callers = Err(String::new());
            let none = Change { has_policy: false, guarded: false, callers, remembers: false };
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
        Change { has_policy: true, guarded, callers, remembers }.send(line, &descriptors)
    }
}

/// The policy in force, and an open file that holds it.
fn read() -> Result<Option<(File, Handed)>, String> {
    let opened = file::open().map_err(|error| error.to_string())?;
    opened.map(|file| Handed::read(&file).map(|policy| (file, policy))).transpose()
}
