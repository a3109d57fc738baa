//! What a worker may do: as little as serving a directory takes.
//!
//! A worker parses what users wrote, and runs an extension's code. Whoever takes it over is to find the
//! lower directory and the requests of its mount, and nothing else of the machine. What
//! serving does not take, and an extension does not ask for ([`Needs`]), a worker gives up after it was started and before
//! it reads the first byte of the store.

mod backing;
pub(crate) mod broker;
pub(crate) mod callers;
mod calls;
mod capabilities;
pub(crate) mod files;
pub(crate) mod reader;

use std::os::fd::OwnedFd;

use hsci_extension::{Needs, protection};
use hsci_protocol::status::SandboxStatus;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit,
};
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    needs: Needs,
    /// What could not be given up, and why.
    kept: Vec<String>,
}

/// What a process does inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It serves the lower directory, or repairs what is stored there.
    Serve,
    /// It reads the lower directory, and changes nothing anywhere: as this user, in a user namespace, where there is one.
    Read { user: Option<u32> },
    /// It makes files of any owner and mode in the directory, and reads no store; with what gives rights, if that is
    /// wanted.
    Write { privileged: bool },
    /// It parses what it gets by messages on the given socket, and has nothing else: no user, no file.
    Parse,
}

impl Work {
    fn capabilities(self) -> CapabilitySet {
        match self {
            Self::Serve | Self::Write { privileged: false } => capabilities::NEEDED,
            Self::Read { .. } => CapabilitySet::DAC_READ_SEARCH,
            Self::Parse => CapabilitySet::empty(),
            // Attributes `trusted.*` and `security.*`.
            Self::Write { privileged: true } => capabilities::NEEDED | CapabilitySet::SYS_ADMIN,
        }
    }
}

/// Gives up all rights of root for something that needs none: this process, which must have one thread, goes on as
/// nobody. Who is not root has none. What a container refuses is left as it is, for this process has nothing to
/// read but its own program.
pub(crate) fn become_nobody() {
    if !protection::stands("nobody") {
        return;
    }
    if geteuid().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        let left = set_thread_groups(&[])
            .and_then(|()| set_thread_res_gid(group, group, group))
            .and_then(|()| set_thread_res_uid(user, user, user));
        if let Err(errno) = left {
            log::debug!("the user stays root: {errno}");
        }
    }
    let left = capabilities::keep(CapabilitySet::empty()).and_then(|()| set_no_new_privs(true));
    if let Err(errno) = left {
        log::debug!("rights stay: {errno}");
    }
}

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

impl Sandbox {
    /// Confines this process, which must have one thread, to the lower directory that is open here and has
    /// to stay so. What fails is logged and kept, for a mount
    /// that works is worth more than none on a kernel that lacks something.
    pub(crate) fn enter(needs: &[Needs], lower: &OwnedFd, work: Work) -> Result<Self, String> {
        let needs = sum(needs);
        // What is asked for later, when it cannot be looked for.
        let _ = crate::lower::anybody_links();
        let capabilities = work.capabilities() | named(&needs)?;
        let mut kept = Vec::new();
        let mut step = |what: &str, outcome: Result<(), String>| {
            if let Err(why) = outcome {
                log::warn!("the worker keeps {what}: {why}");
                kept.push(format!("{what}: {why}"));
            }
        };
        let text = |errno: rustix::io::Errno| errno.to_string();
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let stands = protection::stands;
        if stands("core-dumps") {
            step("core dumps", setrlimit(Resource::Core, none).map_err(text));
        }
        let is_root = geteuid().is_root();
        if !needs.files && !needs.programs && protection::stands("namespace") {
            let left = if is_root { files::leave_all_others().map_err(text) } else { Ok(()) };
            step("the machine's files", left);
        }
        if let Work::Read { user } = work {
            let left = user.map_or(Ok(()), reader::become_user).and_then(|()| reader::bound());
            step("its user, or memory without bounds", left.map_err(text));
        }
        if work == Work::Parse {
            let left = reader::become_somebody().and_then(|()| reader::bound());
            step("its user, or memory without bounds", left.map_err(text));
        }
        if stands("capabilities") {
            step("capabilities", capabilities::keep(capabilities).map_err(text));
        }
        // The list of system calls below would see to it as well.
        step("set-user-id programs", set_no_new_privs(true).map_err(text));
        // Who only parses opens no files at all.
        let is_kept_in = !needs.files && !needs.programs && work != Work::Parse;
        if !is_root && is_kept_in && stands("landlock") {
            step("the user's other files", files::keep_below(lower));
        }
        let behavior = DumpableBehavior::NotDumpable;
        if stands("dumpable") {
            step("a memory that debuggers read", set_dumpable_behavior(behavior).map_err(text));
        }
        if stands("system-calls") {
            let limited = match work {
                Work::Parse => calls::limit_to_messages(),
                _ => calls::limit(&needs, lower),
            };
            step("all system calls", limited);
        }
        Ok(Self { needs, kept })
    }

    /// For `hsci status`.
    pub(crate) fn status(&self) -> SandboxStatus {
        SandboxStatus { needs: words(&self.needs), kept: self.kept.clone() }
    }
}

/// Needs as people and other programs read them.
pub(crate) fn words(needs: &Needs) -> Vec<String> {
    needs.words().map(str::to_owned).collect()
}

/// The needs of all extensions of a stack.
fn sum(needs: &[Needs]) -> Needs {
    let any = |needed: fn(&Needs) -> bool| needs.iter().any(needed);
    let mut capabilities: Vec<_> =
        needs.iter().flat_map(|needs| needs.capabilities).copied().collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    Needs {
        files: any(|needs| needs.files),
        network: any(|needs| needs.network),
        programs: any(|needs| needs.programs),
        // A process enters one sandbox.
        capabilities: capabilities.leak(),
    }
}

fn named(needs: &Needs) -> Result<CapabilitySet, String> {
    needs.capabilities.iter().try_fold(CapabilitySet::empty(), |set, name| {
        let one = CapabilitySet::from_name(name);
        one.map(|one| set | one).ok_or_else(|| format!("there is no capability `{name}`"))
    })
}
