//! Acting with the identity of a caller when something is created.

use std::cell::Cell;

use hsci_extension::Call;
use rustix::fs::Mode;
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet};

use crate::sandbox::broker;
use crate::sandbox::callers::Wanted;
use crate::sys::identity::set_filesystem_ids;

/// Whether and how this process can act for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    switches: bool,
}

thread_local! {
    /// The ids that the thread has now; `None` before the first switch.
    static ACTING: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
    /// The umask that the thread has now, once it has one of its own.
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

impl Credentials {
    /// Prepares the process; to be called before any thread is started.
    ///
    /// With `SECBIT_NO_SETUID_FIXUP` a change of the file-system user id leaves capabilities alone:
    /// the kernel has checked the caller's permissions before a request arrives, so what is left
    /// to do is ownership. Without `CAP_SYS_RESOURCE` quotas and reserved blocks hold for what the
    /// host writes as they do for its callers.
    pub(super) fn prepare() -> Self {
        let fixup = CapabilitiesSecureBits::NO_SETUID_FIXUP;
        let switches = rustix::process::geteuid().is_root()
            && rustix::thread::capabilities_secure_bits().is_ok_and(|bits| {
                bits.contains(fixup)
                    || rustix::thread::set_capabilities_secure_bits(bits | fixup).is_ok()
            });
        if switches
            && let Ok(mut sets) = rustix::thread::capabilities(None)
            && sets.permitted.contains(CapabilitySet::SYS_RESOURCE)
        {
            sets.effective.remove(CapabilitySet::SYS_RESOURCE);
            sets.permitted.remove(CapabilitySet::SYS_RESOURCE);
            if let Err(error) = rustix::thread::set_capabilities(None, sets) {
                log::warn!("CAP_SYS_RESOURCE stays, so quotas do not hold: {error}");
            }
        }
        Self { switches }
    }

    /// Makes this thread create names as the caller.
    pub(super) fn create_as(self, call: &Call) {
        self.act_as(call.credentials());
        if UMASK.get() == Some(call.umask) {
            return;
        }
        if UMASK.get().is_none()
            && let Err(error) = crate::sys::identity::unshare_filesystem_attributes()
        {
            log::warn!("threads share a umask, so new files may get that of another: {error}");
        }
        rustix::process::umask(Mode::from_raw_mode(call.umask));
        UMASK.set(Some(call.umask));
    }

    /// Makes this thread own, and take space, as somebody: the file system's reserve is for root alone.
    /// Whatever takes space or makes a name says first as whom; capabilities do not change.
    pub(super) fn act_as(self, by: hsci_extension::Credentials) {
        let wanted = Some((by.uid, by.gid));
        if self.switches && ACTING.get() != wanted {
            set_filesystem_ids(by.uid, by.gid);
            ACTING.set(wanted);
        }
    }
}

/// True if a change by this caller leaves set-user-id and set-group-id as they are: the host's own work, and
/// root with `CAP_FSETID`, which containers often take away.
pub(crate) fn keeps_set_id(call: &Call) -> bool {
    call.anonymous || (call.uid == 0 && has_fsetid(call.pid).unwrap_or(true))
}

/// True if a caller is in a group.
pub(crate) fn is_member(call: &Call, group: u32) -> bool {
    call.anonymous || call.gid == group || broker::groups(call.pid).contains(&group)
}

fn has_fsetid(pid: u32) -> Option<bool> {
    let wanted = Wanted { capabilities: true, ..Wanted::default() };
    let caller = broker::caller(pid, wanted)?;
    Some(caller.capabilities & CapabilitySet::FSETID.bits() != 0)
}
