//! The mounts of this program in the kernel's mount table.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::getxattr;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::kernel::TYPE;
use crate::failure::{Exit, Failure};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is.
    pub dir: PathBuf,
    /// The lower directory, as the table names it.
    pub lower: PathBuf,
}

/// All mounts of this program that the calling process can see.
pub fn all() -> Result<Vec<Mounted>, Failure> {
    const TABLE: &str = "/proc/self/mountinfo";
    let text = std::fs::read(TABLE)
        .map_err(|error| Failure::new(Exit::Internal, format!("{TABLE}: {error}")))?;
    Ok(parse(&text))
}

/// The mount at a directory, if it is the topmost there and one of ours.
pub fn find(dir: &Path) -> Result<Option<Mounted>, Failure> {
    // The root of a dead mount cannot be resolved, but its name can.
    let resolved = dir.canonicalize().or_else(|_| std::path::absolute(dir));
    let dir = resolved.map_err(|error| super::internal(&dir.display().to_string(), &error))?;
    Ok(all()?.into_iter().rev().find(|mounted| mounted.dir == dir))
}

/// What the mount at a directory says of itself; nothing if its worker does not answer.
pub fn status(dir: &Path) -> Option<Value> {
    let name = format!("{}status", hsci_extension::CONTROL_PREFIX);
    let mut answer = vec![0; 64 << 10];
    let len = getxattr(dir, name.as_str(), &mut answer).ok()?;
    serde_json::from_slice(&answer[..len]).ok()
}

/// The supervisor that a status names. A process id would not do to wait for its end: it stays in
/// use until the parent has noticed that.
pub(super) fn supervisor(status: &Value) -> Option<OwnedFd> {
    if status["supervised"] != true {
        return None;
    }
    let pid = Pid::from_raw(status["supervisor_pid"].as_i64()?.try_into().ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Waits until a process has ended.
pub(super) fn wait_for_end(process: &OwnedFd) -> Result<(), Failure> {
    loop {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], None) {
            Err(Errno::INTR) => {}
            outcome => {
                return outcome
                    .map(drop)
                    .map_err(|errno| super::internal("waiting", &errno.into()));
            }
        }
    }
}

/// Lines of proc_pid_mountinfo(5).
fn parse(table: &[u8]) -> Vec<Mounted> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let dir = fields.nth(4)?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    if rest.next()? != TYPE.as_bytes() {
        return None;
    }
    Some(Mounted { dir: unescape(dir), lower: unescape(rest.next()?) })
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
        let table = b"36 35 98:0 / /mnt\\040a rw,noatime master:1 - fuse.hsci /srv/a\\134b rw\n\
            37 35 98:0 / /other rw - ext4 /dev/sda rw\nbroken\n";
        let expected = Mounted { dir: "/mnt a".into(), lower: "/srv/a\\b".into() };
        assert_eq!(parse(table), [expected]);
    }
}
