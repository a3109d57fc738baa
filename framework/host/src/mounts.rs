//! The mounts of this program in the kernel's mount table.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::io::Errno;

use crate::failure::{Exit, Failure};

/// Type of the mounts, as the table shows it.
pub(crate) const TYPE: &str = "fuse.hsci";
const TABLE: &str = "/proc/self/mountinfo";

/// The number of a mount's device, which no other file system has at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Always 0 for mounts of FUSE.
    pub major: u32,
    /// Also the number of the connection in `/sys/fs/fuse/connections`.
    pub minor: u32,
}

impl Device {
    /// As stat(2) gives it.
    pub(crate) fn number(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its number in the table.
    pub id: u64,
    /// Its device.
    pub device: Device,
    /// Where it is.
    pub dir: PathBuf,
    /// The lower directory, as the table names it.
    pub lower: PathBuf,
    /// The user who mounted it.
    pub user: u32,
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) device: Device,
    /// Which part of the file system is mounted.
    pub(crate) root: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) kind: String,
    /// Those of the mount and of the file system, as the table has them.
    pub(crate) options: String,
    lower: PathBuf,
    user: u32,
}

/// All mounts of this program that the calling process can see.
pub fn all() -> Result<Vec<Mounted>, Failure> {
    let own = lines()?.into_iter().filter(|line| line.kind == TYPE);
    Ok(own.map(Mounted::from).collect())
}

impl Line {
    /// True if it is a mount of this program that shows such a lower directory.
    pub(crate) fn is_from(&self, lower: &Path) -> bool {
        self.kind == TYPE && self.lower == lower
    }

    /// True if the mount or its file system has an option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

impl From<Line> for Mounted {
    fn from(Line { id, device, dir, lower, user, .. }: Line) -> Self {
        Self { id, device, dir, lower, user }
    }
}

/// All mounts that a process can see, given by its directory in /proc.
pub(crate) fn lines_of(process: &Path) -> Vec<Line> {
    std::fs::read(process.join("mountinfo")).map(|text| parse(&text)).unwrap_or_default()
}

/// All mounts that the calling process can see.
pub(crate) fn lines() -> Result<Vec<Line>, Failure> {
    let text = std::fs::read(TABLE)
        .map_err(|error| Failure::new(Exit::Internal, format!("{TABLE}: {error}")))?;
    Ok(parse(&text))
}

/// The device of the topmost mount of this program that the table has at a place.
pub(crate) fn find_by_name(dir: &Path) -> Option<Device> {
    all().ok()?.into_iter().rev().find(|mounted| mounted.dir == dir).map(|mounted| mounted.device)
}

/// The user whose program serves the file system of a mount, if it is one of FUSE.
pub(crate) fn server_of(mount: u64) -> Option<u32> {
    let line = lines().ok()?.into_iter().find(|line| line.id == mount)?;
    let is_fuse = ["fuse", "fuseblk"].contains(&line.kind.split('.').next().unwrap_or_default());
    is_fuse.then_some(line.user)
}

/// The number, in the table of mounts, of the mount that a descriptor refers to.
pub fn mount_id(descriptor: impl AsFd) -> Option<u64> {
    let number = descriptor.as_fd().as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

/// The number of the topmost mount at a name in a directory, without asking its server.
pub(crate) fn id_at(directory: impl AsFd, name: &OsStr) -> Result<u64, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let stat = statx(directory, name, flags, StatxFlags::MNT_ID)?;
    match stat.stx_mask & StatxFlags::MNT_ID.bits() {
        // A kernel before 5.8.
        0 => Err(Errno::OPNOTSUPP),
        _ => Ok(stat.stx_mnt_id),
    }
}

/// Lines of proc_pid_mountinfo(5).
fn parse(table: &[u8]) -> Vec<Line> {
    table.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let id = text()?.parse().ok()?;
    let _parent = text()?;
    let (major, minor) = text()?.split_once(':')?;
    let device = Device { major: major.parse().ok()?, minor: minor.parse().ok()? };
    let (root, dir) = (unescape(fields.next()?), unescape(fields.next()?));
    let own = String::from_utf8_lossy(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let lower = unescape(rest.next()?);
    let options = String::from_utf8_lossy(rest.next()?).into_owned();
    let user = options.split(',').find_map(|option| option.strip_prefix("user_id="));
    let user = user.and_then(|user| user.parse().ok()).unwrap_or(u32::MAX);
    let options = format!("{own},{options}");
    Some(Line { id, device, root, dir, kind, options, lower, user })
}

/// Space, tab, newline and backslash stand as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut parts = field.split(|byte| *byte == b'\\');
    let mut path = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(3));
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        path.extend(u8::from_str_radix(digits, 8).ok());
        path.extend(rest);
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table() {
        let table =
            b"36 35 0:57 / /mnt\\040a rw,noatime master:1 - fuse.hsci /srv/a\\134b rw,user_id=7\n\
            37 35 98:0 / /other rw - ext4 /dev/sda rw\nbroken\n";
        let expected = Mounted {
            id: 36,
            device: Device { major: 0, minor: 57 },
            dir: "/mnt a".into(),
            lower: "/srv/a\\b".into(),
            user: 7,
        };
        let lines = parse(table);
        assert!(lines[0].has("noatime") && !lines[0].has("atime") && lines[0].has("rw"));
        assert_eq!(lines.iter().map(|line| line.kind.as_str()).collect::<Vec<_>>(), [TYPE, "ext4"]);
        assert_eq!(lines.into_iter().next().map(Mounted::from), Some(expected));
    }
}
