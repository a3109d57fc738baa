//! Times of access are those of callers' reads: what the host reads for itself leaves them alone.
//!
//! The lower file system sets them, by its own mount options and without a change of `ctime`: a byte is
//! read through a descriptor that counts. Where many reads follow each other, one in a second does it.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use hsci_extension::Ino;
use rustix::fs::{OFlags, StatVfsMountFlags, Statx, StatxTimestamp};
use rustix::time::{ClockId, clock_gettime};

use super::LowerTree;
use super::attributes::{stat_of, time};

/// Older times are renewed by any read, also under `relatime`.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

impl LowerTree {
    /// A caller has read from a file.
    pub(crate) fn accessed(&self, ino: Ino) {
        if self.keeps_access_times {
            return;
        }
        let Some(inode) = self.inodes.find(ino) else { return };
        let second = clock_gettime(ClockId::MonotonicCoarse).tv_sec as u32 + 1;
        if inode.read_in.swap(second, Ordering::Relaxed) == second {
            return;
        }
        let Ok(stat) = self.path_of(&inode).and_then(|path| stat_of(&path)) else { return };
        if self.is_relative() && !is_due(&stat) {
            return;
        }
        // It is the time of a read that was answered: where it cannot be set, it stays.
        if let Ok(file) = self.reopen(&inode, OFlags::RDONLY) {
            let _ = rustix::io::pread(&file, &mut [0; 1], 0);
        }
    }

    /// True if the lower file system does not count each read.
    fn is_relative(&self) -> bool {
        let quiet = StatVfsMountFlags::RELATIME | StatVfsMountFlags::NOATIME;
        rustix::fs::fstatvfs(&self.root).is_ok_and(|stat| stat.f_flag.intersects(quiet))
    }
}

/// The rule of `relatime`.
fn is_due(stat: &Statx) -> bool {
    let at = |stamp: &StatxTimestamp| (stamp.tv_sec, stamp.tv_nsec);
    let accessed = at(&stat.stx_atime);
    let age = SystemTime::now().duration_since(time(&stat.stx_atime)).unwrap_or_default();
    accessed <= at(&stat.stx_mtime) || accessed <= at(&stat.stx_ctime) || age >= OLD
}
