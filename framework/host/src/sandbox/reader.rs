//! A process that reads a store, and has no right but to read what it was handed.
//!
//! A copy of this process goes to a user namespace of its own, as a user whom nothing belongs to. What it keeps there,
//! `CAP_DAC_READ_SEARCH`, is a right over the files that it can reach: those below the descriptor of the store, on a
//! mount that cannot be written. On the machine it has none; handles open nothing. What has to be done with rights, its
//! *keeper* does, which has started it and reads nothing of the store.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use hsci_extension::{Needs, protection};
use hsci_protocol::failure::{Exit, Failure};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions, geteuid, setrlimit, waitpid,
};
use rustix::thread::{
    CapabilitiesSecureBits, set_capabilities_secure_bits, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::NOBODY;
use crate::passing::{receive, send};
use crate::sys::identity::own_user_namespace;
use crate::sys::process::fork;

/// The least memory that a reader may use, whatever the machine has.
const MEMORY: u64 = 1 << 30;
/// The first of the users to whom nothing belongs, one for each process.
const FIRST_USER: u32 = 0xff00_0000;

/// How often is looked whether a reader that is not wanted any more has ended, and the time between.
const MOMENTS: u32 = 2000;
const A_MOMENT: Duration = Duration::from_micros(500);

/// Who goes on after [`split`].
pub(crate) enum Side {
    /// The process that was there before.
    Keeper(Reader),
    /// The one that reads; the socket leads to its keeper.
    Reader(OwnedFd),
}

/// A process that reads, as its keeper sees it.
pub(crate) struct Reader {
    process: Pid,
    socket: OwnedFd,
}

/// A pair of sockets for messages.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Makes two of this process, which must have one thread. What the keeper alone has to have, the reader closes.
pub(crate) fn split() -> std::result::Result<Side, Failure> {
    let split = || -> Result<Side> {
        let (ours, theirs) = pair()?;
        let is_alone = |status: String| status.lines().any(|line| line == "Threads:\t1");
        let alone = fs::read_to_string("/proc/self/status").map_or(true, is_alone);
        assert!(alone, "locks that other threads hold stay held in a copy");
        Ok(match fork()? {
            Some(process) => Side::Keeper(Reader { process, socket: ours }),
            None => Side::Reader(theirs),
        })
    };
    split().map_err(|errno| Failure::new(Exit::Internal, format!("a process to read: {errno}")))
}

impl Reader {
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Gives the reader a user namespace with all ids of this one, once it has asked for that.
    pub(crate) fn admit(&self, needs: &[Needs]) -> Result<()> {
        if !wants_namespace(needs) {
            return Ok(());
        }
        let (len, _) = receive(&self.socket, &mut [0])?;
        if len == 0 {
            // It has ended, and says why.
            return Ok(());
        }
        let users = self.map();
        let answer = users.map_err(|errno| errno.raw_os_error());
        send(&self.socket, &answer, &[], &[])
    }

    /// Maps each id to itself; returns a user whom nothing belongs to.
    fn map(&self) -> Result<u32> {
        let process = self.process.as_raw_pid();
        let mut user = None;
        for map in ["gid_map", "uid_map"] {
            let own = text(fs::read_to_string(format!("/proc/self/{map}")))?;
            let ranges: Vec<(u32, u32)> = own.lines().filter_map(range).collect();
            let same: String =
                ranges.iter().map(|(first, count)| format!("{first} {first} {count}\n")).collect();
            text(fs::write(format!("/proc/{process}/{map}"), same))?;
            let is_there = |id: &u32| {
                ranges
                    .iter()
                    .any(|(first, count)| id.checked_sub(*first).is_some_and(|n| n < *count))
            };
            user = [FIRST_USER + process.unsigned_abs(), NOBODY].into_iter().find(is_there);
        }
        user.ok_or(Errno::INVAL)
    }

    /// Tells the reader that nothing more is wanted, which ends it. One that was taken over may stay: it ends with
    /// this process, which may not end others.
    pub(crate) fn dismiss(self) {
        let Self { process, socket } = self;
        drop(socket);
        let has_ended = |_| {
            let ended = waitpid(Some(process), WaitOptions::NOHANG);
            let waits = matches!(ended, Ok(None) | Err(Errno::INTR));
            if waits {
                std::thread::sleep(A_MOMENT);
            }
            !waits
        };
        if !(0..MOMENTS).any(has_ended) {
            log::warn!("a process that was to read a store does not end: {}", process.as_raw_pid());
        }
    }

    /// Waits for the end of the reader, which has said why if it has failed.
    pub(crate) fn wait(self) -> std::result::Result<(), Failure> {
        let Self { process, socket } = self;
        drop(socket);
        let ended = rustix::io::retry_on_intr(|| waitpid(Some(process), WaitOptions::empty()));
        let status = ended.ok().flatten().map(|(_, status)| status);
        match status.and_then(|status| status.exit_status()) {
            Some(0) => Ok(()),
            Some(code) => {
                let code = u8::try_from(code).unwrap_or(u8::MAX);
                Err(Failure::new(Exit::from_code(code), ""))
            }
            None => {
                let signal = status.and_then(|status| status.terminating_signal()).unwrap_or(0);
                let text = format!("the process that read the store was ended by signal {signal}");
                Err(Failure::new(Exit::Internal, text))
            }
        }
    }
}

/// A line of a map of ids: the first one here, and how many.
fn range(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
    let first = numbers.next()??;
    Some((first, numbers.nth(1)??))
}

fn text<T>(outcome: std::io::Result<T>) -> Result<T> {
    outcome.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// True if there are rights to give up: those of root, of which the extensions need none.
fn wants_namespace(needs: &[Needs]) -> bool {
    let none = |needs: &Needs| {
        let Needs { files, network, programs, capabilities, .. } = needs;
        !files && !network && !programs && capabilities.is_empty()
    };
    geteuid().is_root() && needs.iter().all(none) && protection::stands("unprivileged")
}

/// The reader's part: asks for a user namespace. Returns the user to become in it; nothing where there is nothing to
/// give up.
pub(crate) fn enter_namespace(keeper: &OwnedFd, needs: &[Needs]) -> Result<Option<u32>> {
    if !wants_namespace(needs) {
        return Ok(None);
    }
    let entered = own_user_namespace();
    if let Err(errno) = entered {
        // The keeper waits no longer.
        rustix::net::shutdown(keeper, rustix::net::Shutdown::Write)?;
        return Err(errno);
    }
    send(keeper, &(), &[], &[])?;
    let mut buffer = [0; 64];
    let (len, _) = receive(keeper, &mut buffer)?;
    let user: std::result::Result<u32, i32> =
        serde_json::from_slice(&buffer[..len]).map_err(|_| Errno::PIPE)?;
    user.map(Some).map_err(Errno::from_raw_os_error)
}

/// Becomes a user in that namespace. The capabilities stay, for the next step to take.
pub(super) fn become_user(user: u32) -> Result<()> {
    set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)
}

/// Becomes a user whom nothing belongs to, where root can. The capabilities stay, for the next step to take.
pub(super) fn become_somebody() -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    // In a container there may be no such number.
    become_user(FIRST_USER + std::process::id()).or_else(|_| become_user(NOBODY))
}

/// Bounds what it may use, and lets it end with its keeper.
pub(super) fn bound() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let machine = rustix::system::sysinfo();
    let total = (machine.totalram as u64).saturating_mul(machine.mem_unit.into());
    let most = Some((total / 2).max(MEMORY));
    setrlimit(Resource::Data, Rlimit { current: most, maximum: most })
}
