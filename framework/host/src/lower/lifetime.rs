//! Since when nothing that was written below can have been lost.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use hsci_extension::Lifetime;
use rustix::fs::{AtFlags, StatxFlags, statx};

/// Another number each time the machine is started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// `STATX_MNT_ID` and `STATX_MNT_ID_UNIQUE` (Linux 6.8), whose numbers are never given twice.
const MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x1000);
const UNIQUE_MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What the supervisor has found: a worker cannot look, and has the lower directory on another mount.
static GIVEN: OnceLock<Lifetime> = OnceLock::new();

/// Takes what the supervisor has found.
pub(crate) fn give(found: (u64, u64)) {
    // A worker serves one mount.
    let _ = GIVEN.set(Lifetime { machine: found.0, mount: found.1 });
}

/// The lifetime of what is written below a directory; unknown where the machine does not say.
pub(crate) fn of(root: impl AsFd) -> Lifetime {
    GIVEN.get().copied().unwrap_or_else(|| find(root))
}

/// Looks for it.
pub(crate) fn find(root: impl AsFd) -> Lifetime {
    let Ok(boot) = std::fs::read(BOOT_ID) else { return Lifetime::default() };
    // FNV-1a: the same for every program, however it was built.
    let machine = boot.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let flags = MOUNT_ID | UNIQUE_MOUNT_ID;
    let mount = statx(root, "", AtFlags::EMPTY_PATH, flags).map_or(0, |stat| stat.stx_mnt_id);
    Lifetime { machine, mount }
}
