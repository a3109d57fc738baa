//! Reading and changing attributes.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use hsci_extension::{
    Attr, Call, Error, FileKind, Ino, RESERVED_NAME, Result, SetAttr, SetTime, Times,
};
use rustix::fs::{
    AtFlags, FileType, Gid, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, Uid, statx,
};
use rustix::io::Errno;

use super::LowerTree;
use super::credentials::is_member;
use super::descriptors::Access;
use super::inodes::Inode;
use super::proc_path::proc_path;
use super::reach::MODES;

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o0010;
const UTIME_NOW: i64 = 0x3fff_ffff;
const UTIME_OMIT: i64 = 0x3fff_fffe;

impl LowerTree {
    pub(super) fn attributes(&self, ino: Ino) -> Result<Attr> {
        let inode = self.inodes.get(ino)?;
        let stat = match self.stat_by_name(&inode) {
            Some(stat) => stat,
            None => stat_of(&*self.path_of(&inode)?)?,
        };
        Ok(self.visible(ino, &stat))
    }

    pub(super) fn set_attributes(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        let inode = self.inodes.get(ino)?;
        let reached = self.reach(&inode)?;
        let path = &reached.descriptor;
        if let Some(size) = changes.size {
            self.truncate(call, &inode, size)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            self.drop_privileges_of(&inode)?;
            let owner = changes.uid.map(Uid::from_raw);
            let group = changes.gid.map(Gid::from_raw);
            rustix::fs::chownat(&**path, "", owner, group, AtFlags::EMPTY_PATH)?;
        }
        // After the owner: a change of owner clears set-user-id.
        if let Some(mode) = changes.mode {
            let _changing = MODES.lock();
            reached.set_mode(mode)?;
        }
        if changes.atime.is_some() || changes.mtime.is_some() {
            let times = Timestamps {
                last_access: timespec(changes.atime),
                last_modification: timespec(changes.mtime),
            };
            let is_now = changes.mtime == Some(SetTime::Now);
            // As truncation has set them, if a server keeps no times of what has no name.
            set_times(path, &times).or_else(|error| match error {
                Error::Lower(_) if is_now && self.is_nameless(&inode) => Ok(()),
                error => Err(error),
            })?;
        }
        Ok(self.visible(ino, &stat_of(path)?))
    }

    /// Attributes as they are seen through the mount, where the reserved directory does not exist
    /// and so is no subdirectory that the root could count.
    fn visible(&self, ino: Ino, stat: &Statx) -> Attr {
        let mut attr = attr_of(ino, stat);
        // File systems that do not count subdirectories show fewer links.
        if ino == Ino::ROOT && attr.nlink > 2 {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let reserved = statx(&self.root, RESERVED_NAME, flags, StatxFlags::TYPE);
            let is_directory = |found: Statx| {
                FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory
            };
            attr.nlink -= u32::from(reserved.is_ok_and(is_directory));
        }
        attr
    }

    fn truncate(&self, call: &Call, inode: &Inode, size: u64) -> Result<()> {
        let content = self.content(inode, Access::Write)?;
        rustix::fs::ftruncate(&*content, size)?;
        // The host's own capabilities keep the bits that the caller's truncation must clear.
        if call.uid != 0 && !call.anonymous {
            self.clear_set_id(inode.ino)?;
        }
        Ok(())
    }

    /// Clears set-group-id of what the group may not execute, if the caller is not in the group.
    pub(crate) fn clear_foreign_set_gid(&self, call: &Call, ino: Ino) -> Result<()> {
        let reached = self.reach(&*self.inodes.get(ino)?)?;
        let stat = stat_of(&reached.descriptor)?;
        let mode = u32::from(stat.stx_mode) & 0o7777;
        if mode & (SET_GID | GROUP_EXECUTE) == SET_GID && !is_member(call, stat.stx_gid) {
            reached.set_mode(mode & !SET_GID)?;
        }
        Ok(())
    }

    /// Clears set-user-id, and set-group-id of what the group may execute.
    pub(super) fn clear_set_id(&self, ino: Ino) -> Result<()> {
        let reached = self.reach(&*self.inodes.get(ino)?)?;
        let mode = u32::from(stat_of(&reached.descriptor)?.stx_mode) & 0o7777;
        let mut cleared = mode & !SET_UID;
        if mode & GROUP_EXECUTE != 0 {
            cleared &= !SET_GID;
        }
        if cleared != mode {
            reached.set_mode(cleared)?;
        }
        Ok(())
    }

    pub(super) fn times_of(&self, inode: &Inode) -> Result<Times> {
        let stat = stat_of(&*self.path_of(inode)?)?;
        Ok(Times::new(time(&stat.stx_atime), time(&stat.stx_mtime)))
    }

    pub(super) fn set_times_of(&self, inode: &Inode, times: &Times) -> Result<()> {
        let times = Timestamps {
            last_access: timespec(Some(SetTime::At(times.accessed))),
            last_modification: timespec(Some(SetTime::At(times.modified))),
        };
        match set_times(&*self.path_of(inode)?, &times) {
            Err(Error::Lower(_)) if self.is_nameless(inode) => Ok(()),
            done => done,
        }
    }
}

fn set_times(path: &OwnedFd, times: &Timestamps) -> Result<()> {
    match rustix::fs::utimensat(path, "", times, AtFlags::EMPTY_PATH) {
        // Kernels before 5.8 take no empty path here.
        Err(Errno::INVAL | Errno::NOENT) => {
            let at = rustix::fs::CWD;
            Ok(rustix::fs::utimensat(at, &*proc_path(path), times, AtFlags::empty())?)
        }
        other => Ok(other?),
    }
}

/// Everything that `statx` tells of what a descriptor refers to.
pub(super) fn stat_of(path: &OwnedFd) -> Result<Statx> {
    Ok(statx(path, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?)
}

/// Attributes as users see them. Only the root is known above by a number that is not its own.
pub(super) fn attr_of(ino: Ino, stat: &Statx) -> Attr {
    let mode = u32::from(stat.stx_mode);
    let kind = kind_of(FileType::from_raw_mode(mode)).unwrap_or(FileKind::Regular);
    let mut attr = Attr::new(ino, kind, mode & 0o7777);
    if ino == Ino::ROOT {
        attr.ino = stat.stx_ino;
    }
    (attr.nlink, attr.uid, attr.gid) = (stat.stx_nlink, stat.stx_uid, stat.stx_gid);
    attr.rdev = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    (attr.size, attr.blocks) = (stat.stx_size, stat.stx_blocks);
    attr.block_size = stat.stx_blksize;
    attr.atime = time(&stat.stx_atime);
    attr.mtime = time(&stat.stx_mtime);
    attr.ctime = time(&stat.stx_ctime);
    attr
}

pub(super) fn kind_of(kind: FileType) -> Option<FileKind> {
    Some(match kind {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Unknown => return None,
    })
}

pub(super) fn time(stamp: &StatxTimestamp) -> SystemTime {
    let nanoseconds = Duration::from_nanos(u64::from(stamp.tv_nsec));
    let seconds = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let whole = if stamp.tv_sec >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    };
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(time)) => timespec_of(time),
    }
}

/// A time as system calls take it; before 1970 the seconds are negative and the nanoseconds not.
pub(crate) fn timespec_of(time: SystemTime) -> Timespec {
    const SECOND: i64 = 1_000_000_000;
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => {
            let tv_nsec = i64::from(since.subsec_nanos());
            Timespec { tv_sec: since.as_secs() as i64, tv_nsec }
        }
        Err(before) => {
            let before = before.duration();
            let nanoseconds = i64::from(before.subsec_nanos());
            let borrowed = i64::from(nanoseconds > 0);
            let tv_sec = -(before.as_secs() as i64) - borrowed;
            Timespec { tv_sec, tv_nsec: borrowed * SECOND - nanoseconds }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_have_positive_nanoseconds() {
        let time = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        let spec = timespec_of(time);
        assert_eq!((spec.tv_sec, spec.tv_nsec), (-2, 500_000_000));
        let whole = timespec_of(SystemTime::UNIX_EPOCH - Duration::from_secs(3));
        assert_eq!((whole.tv_sec, whole.tv_nsec), (-3, 0));
    }
}
