//! Capabilities: those that serving takes, in no set more.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

/// What a worker of root keeps. The kernel has checked the caller's permissions before a request
/// arrives (`default_permissions`), so the worker carries out what it would not be allowed itself.
///
/// Not among them, although a request may ask for it: `CAP_SYS_ADMIN` (attributes `trusted.*` and
/// `security.*`) and `CAP_SYS_PTRACE` (who calls); the supervisor does both, see [`super::broker`].
/// `CAP_SYS_RESOURCE` would lift quotas and the reserve of a file system.
pub(super) const NEEDED: CapabilitySet = CapabilitySet::CHOWN // Owners that a caller sets.
    .union(CapabilitySet::DAC_OVERRIDE) // Any file, whatever its mode.
    .union(CapabilitySet::DAC_READ_SEARCH) // open_by_handle_at; linkat from a descriptor.
    .union(CapabilitySet::FOWNER) // Modes, times and attributes of others' files; sticky directories.
    .union(CapabilitySet::FSETID) // Set-group-id bits that root sets on files of any group.
    .union(CapabilitySet::MKNOD) // Devices that root makes.
    .union(CapabilitySet::SETFCAP) // `security.capability`.
    .union(CapabilitySet::SETGID) // setfsgid: new files belong to the caller's group,
    .union(CapabilitySet::SETUID); // setfsuid: and to the caller.

/// Drops all but `kept` from every set. What the process did not have it does not get.
pub(super) fn keep(kept: CapabilitySet) -> Result<()> {
    let now = capabilities(None)?;
    if now.effective.contains(CapabilitySet::SETPCAP) {
        // A change of the file-system user id leaves capabilities alone, and a program that root
        // executes gains none.
        let bits = CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED;
        set_capabilities_secure_bits(bits)?;
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if kept.contains(one) {
                continue;
            }
            match remove_capability_from_bounding_set(one) {
                // The kernel knows no more of them.
                Err(Errno::INVAL) => break,
                other => other?,
            }
        }
    }
    clear_ambient_capability_set()?;
    let permitted = now.permitted & kept;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })
}
