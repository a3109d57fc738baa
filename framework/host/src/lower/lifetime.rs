//! Since when nothing that was written below can have been lost.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use hsci_extension::Lifetime;
use rustix::fs::{AtFlags, FsWord, StatxFlags, fstat, major, minor, stat, statfs, statx};

/// Another number each time the machine is started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// `STATX_MNT_ID` and `STATX_MNT_ID_UNIQUE` (Linux 6.8), whose numbers are never given twice.
const MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x1000);
const UNIQUE_MOUNT_ID: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// File systems of disks that have a directory each in sysfs, from when they are mounted until they are no more.
const LISTED: [&str; 3] = ["ext4", "xfs", "f2fs"];
const SYSFS: FsWord = 0x6265_6572;

/// What was found outside of a sandbox: who is in one cannot look, and has the lower directory on another mount.
static GIVEN: OnceLock<Lifetime> = OnceLock::new();

/// Looks for it before this process enters a sandbox.
pub(crate) fn keep(root: impl AsFd) {
    // A process has one store.
    let _ = GIVEN.set(find(root));
}

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
    let mount = file_system(&root).unwrap_or_else(|| {
        let flags = MOUNT_ID | UNIQUE_MOUNT_ID;
        statx(root, "", AtFlags::EMPTY_PATH, flags).map_or(0, |stat| stat.stx_mnt_id)
    });
    Lifetime { machine, mount }
}

/// A number of the file system itself, the same through all mounts of it, such as those that containers get: the inode
/// of its directory in sysfs, where none is given twice.
fn file_system(root: impl AsFd) -> Option<u64> {
    let device = fstat(root).ok()?.st_dev;
    let device = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let device = std::fs::read_link(device).ok()?;
    let listed = Path::new("/sys/fs");
    // Anything else may stand there in a container.
    statfs(listed).ok().filter(|found| found.f_type == SYSFS)?;
    let path = |kind| Some(listed.join(kind).join(device.file_name()?));
    let found = LISTED.iter().find_map(|kind| stat(&path(kind)?).ok())?;
    // Unlike any mount's.
    Some(found.st_ino | 1 << 63)
}
