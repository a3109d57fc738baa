//! Who makes a call: as the kernel handed it over, or as `/proc` tells.

use hsci_abi::callers::{self, HANDED_LEN};
use hsci_abi::memory::{Known, MEMORY_LEN, Memory};
use hsci_abi::tables::SubjectClass;
use hsci_engine::{Tables, Uses};
use hsci_extension::Call;
use hsci_language::{HOST_USER_NAMESPACE, Subject};
use rustix::fd::OwnedFd;

use crate::sandbox::broker;
use crate::sandbox::callers::Wanted;
use crate::sys::shared::Shared;

/// What a program in the kernel hands over.
#[derive(Debug)]
pub(crate) struct KernelCallers {
    memory: Shared,
    generation: u32,
    /// What is remembered of processes.
    remembered: Option<Shared>,
}

/// Who makes a call.
pub(super) struct Caller {
    pub(super) subject: SubjectClass,
    /// Which process it is, if the kernel has found that out.
    pub(super) process: Option<Known>,
    /// True if the kernel has found out who it is.
    pub(super) handed_over: bool,
}

impl KernelCallers {
    /// `generation` marks callers classified by the tables that they are wanted for.
    pub(super) fn new(
        memory: OwnedFd,
        generation: u32,
        remembered: Option<OwnedFd>,
    ) -> std::io::Result<Self> {
        let remembered =
            remembered.map(|memory| Shared::writable(memory, 0, MEMORY_LEN)).transpose()?;
        Ok(Self { memory: Shared::new(memory, HANDED_LEN)?, generation, remembered })
    }

    /// What is remembered of processes.
    pub(super) fn remembered(&self) -> Option<Memory<'_, Shared>> {
        self.remembered.as_ref().map(Memory)
    }

    /// Who makes a call, if the kernel has found out.
    pub(super) fn find(&self, call: &Call) -> Option<Caller> {
        let caller = callers::caller(&self.memory, call.request, call.pid)?;
        // A thread's place may hold its request before this one: by the same user, at least.
        let fits = caller.generation == self.generation && caller.subject.uid == call.uid;
        let (subject, process) = (caller.subject, caller.process);
        fits.then_some(Caller { subject, process, handed_over: true })
    }
}

/// Who makes a call, found out by asking; nothing if something that rules look at cannot be known.
pub(super) fn ask(tables: &Tables, uses: Uses, call: &Call) -> Option<Caller> {
    let mut subject = Subject { uid: call.uid, gids: vec![call.gid], ..Subject::default() };
    let Uses { groups, executable, command, cgroup, pid_namespace, .. } = uses;
    let Uses { capabilities, login, ancestors, .. } = uses;
    // Capabilities are worth what the namespace is.
    let user_namespace = uses.user_namespace || capabilities;
    let wanted = Wanted {
        groups,
        executable,
        command,
        cgroup,
        pid_namespace,
        capabilities,
        user_namespace,
        login,
        ancestors,
        process: false,
    };
    let asks =
        [groups, executable, command, cgroup, pid_namespace, user_namespace, login, ancestors];
    if asks.contains(&true) {
        let caller = broker::caller(call.pid, wanted)?;
        subject.gids.extend(caller.groups);
        subject.executable = caller.executable;
        subject.command = caller.command;
        subject.cgroup = caller.cgroup;
        subject.pid_namespace = caller.pid_namespace;
        subject.user_namespace = caller.user_namespace;
        if caller.user_namespace == HOST_USER_NAMESPACE {
            subject.capabilities = caller.capabilities;
        }
        subject.login = caller.login;
        subject.ancestors = caller.ancestors;
    }
    let subject = tables.classify(&subject);
    Some(Caller { subject, process: None, handed_over: false })
}

/// The process that makes a call, of which the kernel has not told.
pub(super) fn process(memory: Memory<'_, Shared>, call: &Call) -> Option<Known> {
    let wanted = Wanted { process: true, ..Wanted::default() };
    memory.find_by_id(broker::caller(call.pid, wanted)?.process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_is_gone_is_unknown_only_if_somebody_asks() {
        let call = Call::new(7, 7, 0);
        let is_known = |uses| ask(&Tables::default(), uses, &call).is_some();
        for uses in [
            Uses { groups: true, ..Uses::default() },
            Uses { executable: true, ..Uses::default() },
            Uses { command: true, ..Uses::default() },
            Uses { cgroup: true, ..Uses::default() },
            Uses { pid_namespace: true, ..Uses::default() },
            Uses { user_namespace: true, ..Uses::default() },
            Uses { capabilities: true, ..Uses::default() },
            Uses { login: true, ..Uses::default() },
            Uses { ancestors: true, ..Uses::default() },
        ] {
            assert!(!is_known(uses), "{uses:?}");
        }
    }
}
