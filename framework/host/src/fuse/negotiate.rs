//! What is agreed with the kernel before the first real request.

use fuser::{InitFlags, KernelConfig};

use super::Profile;
use crate::takeover::Offer;

/// Most bytes of one write.
pub(super) const MOST_WRITE: u32 = 1 << 20;
/// The same where calls wait: there may be hundreds of loops, and each has memory for it.
pub(super) const MOST_WRITE_OF_MANY: u32 = 128 << 10;
/// Reads ahead count as well: calls that wait must not keep others from being sent.
const BACKGROUND: u16 = 1024;

/// What the kernel offers, for the workers to come.
pub(super) fn offer(config: &mut KernelConfig) -> Offer {
    let version = config.kernel_abi();
    // The flag says that there is a second word of them.
    let flags = config.capabilities() | InitFlags::FUSE_INIT_EXT;
    // Asking for too much changes nothing and tells the limit.
    let max_readahead = config.set_max_readahead(u32::MAX).err().unwrap_or(u32::MAX);
    Offer { major: version.0, minor: version.1, max_readahead, flags: flags.bits() }
}

/// Asks for what makes a mount fast and right, as far as the kernel offers it.
pub(super) fn negotiate(config: &mut KernelConfig, profile: &Profile) {
    // ATOMIC_O_TRUNC stays off: without OPEN requests it would lose truncations. Locks stay
    // with the kernel, for all users come through this mount. WRITEBACK_CACHE stays off: each
    // close would then write, and the writer's identity would be lost. READDIRPLUS_AUTO stays off:
    // who walks a tree lists a directory whole before looking at files, and with it all names but
    // those of the first answer would be looked up one by one.
    let wanted = [
        InitFlags::FUSE_ASYNC_READ,
        InitFlags::FUSE_BIG_WRITES,
        InitFlags::FUSE_MAX_PAGES,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_POSIX_ACL,
        InitFlags::FUSE_DONT_MASK,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_NO_OPEN_SUPPORT,
        InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        InitFlags::FUSE_HAS_RESEND,
    ];
    let passthrough = profile.data.then_some(InitFlags::FUSE_PASSTHROUGH);
    // The lower files must not lie on a stack themselves; others can stack on the mount.
    let depth = config.set_max_stack_depth(passthrough.is_some().into());
    debug_assert!(depth.is_ok(), "the kernel stacks two");
    for flag in wanted.into_iter().chain(passthrough) {
        if config.add_capabilities(flag).is_err() {
            log::info!("the kernel does not offer {flag:?}");
        }
    }
    // Refused values are answered with the nearest one; asking again for that cannot fail.
    let most = if profile.waits { MOST_WRITE_OF_MANY } else { MOST_WRITE };
    let set = config.set_max_write(most).or_else(|most| config.set_max_write(most));
    debug_assert!(set.is_ok(), "the value offered is accepted");
    let _ = config.set_max_background(BACKGROUND);
}
