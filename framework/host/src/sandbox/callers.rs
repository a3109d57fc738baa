//! Who makes a call, as `/proc` says it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hsci_abi::tables::MAX_ANCESTRY;
use hsci_language::NO_LOGIN;
use rustix::fs::Statx;
use serde::{Deserialize, Serialize};

use crate::place;

/// What is to be found out about a caller.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "one for each thing that may be wanted")]
pub(crate) struct Wanted {
    pub(crate) groups: bool,
    pub(crate) executable: bool,
    pub(crate) command: bool,
    pub(crate) cgroup: bool,
    pub(crate) pid_namespace: bool,
    #[serde(default)]
    pub(crate) capabilities: bool,
    #[serde(default)]
    pub(crate) user_namespace: bool,
    #[serde(default)]
    pub(crate) login: bool,
    #[serde(default)]
    pub(crate) ancestors: bool,
    #[serde(default)]
    pub(crate) process: bool,
}

/// What was wanted, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Caller {
    pub(crate) groups: Vec<u32>,
    pub(crate) executable: Vec<u8>,
    pub(crate) command: Vec<u8>,
    pub(crate) cgroup: Vec<u8>,
    pub(crate) pid_namespace: u32,
    /// The effective ones, as bits.
    #[serde(default)]
    pub(crate) capabilities: u64,
    #[serde(default)]
    pub(crate) user_namespace: u32,
    /// User id of its login, or [`NO_LOGIN`].
    #[serde(default)]
    pub(crate) login: u32,
    /// Paths of its ancestors' executables.
    #[serde(default)]
    pub(crate) ancestors: Vec<Vec<u8>>,
    /// Id of the thread's process, where it is the kernel's own number.
    #[serde(default)]
    pub(crate) process: u32,
}

/// Looks into `/proc`; nothing if something that is wanted cannot be known.
pub(super) fn look_up(process: u32, wanted: Wanted) -> Option<Caller> {
    let place = |name: &str| (process != 0).then(|| format!("/proc/{process}/{name}"));
    let mut caller = Caller::default();
    if wanted.groups {
        caller.groups = groups(&fs::read_to_string(place("status")?).ok()?)?;
    }
    if wanted.executable {
        caller.executable = executable(&place("exe")?)?;
    }
    if wanted.command {
        caller.command = fs::read(place("comm")?).ok()?;
        caller.command.pop();
    }
    if wanted.cgroup {
        caller.cgroup = cgroup(&fs::read(place("cgroup")?).ok()?)?;
    }
    if wanted.pid_namespace {
        caller.pid_namespace = fs::metadata(place("ns/pid")?).ok()?.ino() as u32;
    }
    if wanted.process {
        caller.process = process_of(&fs::read_to_string(place("status")?).ok()?)?;
    }
    if wanted.capabilities {
        caller.capabilities = capabilities(&fs::read_to_string(place("status")?).ok()?)?;
    }
    if wanted.user_namespace {
        caller.user_namespace = fs::metadata(place("ns/user")?).ok()?.ino() as u32;
    }
    if wanted.login {
        caller.login = login(&place("loginuid")?)?;
    }
    if wanted.ancestors {
        // One who ends while it is asked hands its children on to another.
        caller.ancestors = (0..TRIES).find_map(|_| ancestors(process))?;
    }
    Some(caller)
}

/// A process is asked again this often for its ancestors.
const TRIES: usize = 4;

/// Where a kernel keeps no logins, nobody has one.
fn login(file: &str) -> Option<u32> {
    match fs::read_to_string(file) {
        Ok(text) => text.trim().parse().ok(),
        Err(_) => fs::metadata("/proc/self/loginuid").is_err().then_some(NO_LOGIN),
    }
}

fn ancestors(process: u32) -> Option<Vec<Vec<u8>>> {
    parents(process)?.iter().map(|parent| executable(&format!("/proc/{parent}/exe"))).collect()
}

/// The process's parent, that one's parent, and so on.
fn parents(process: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let mut at = process;
    while found.len() <= MAX_ANCESTRY as usize {
        let status = fs::read_to_string(format!("/proc/{at}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        at = parent.trim().parse().ok()?;
        if at == 0 {
            return Some(found);
        }
        found.push(at);
    }
    None
}

/// Nothing in a pid namespace of our own.
fn process_of(status: &str) -> Option<u32> {
    let is_first = fs::metadata("/proc/self/ns/pid")
        .is_ok_and(|own| own.ino() == u64::from(hsci_language::HOST_PID_NAMESPACE));
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok().filter(|_| is_first)
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn groups(status: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    line.split_whitespace().map(|group| group.parse().ok()).collect()
}

fn executable(link: &str) -> Option<Vec<u8>> {
    const DELETED: &[u8] = b" (deleted)";
    let mut path = fs::read_link(link).ok()?.into_os_string().into_vec();
    // A caller's program may lie on a server of the caller's own: neither it nor the way to it is asked.
    let file = place::known(Path::new(link)).ok()?;
    if path.ends_with(DELETED) && file.stx_nlink == 0 {
        path.truncate(path.len() - DELETED.len());
    }
    // The path is one of the caller's own mount namespace, where anybody can mount anything over it.
    let place = place::look(Path::new(OsStr::from_bytes(&path)));
    let here = place.ok().and_then(|place| place::known(&place.reach()).ok());
    let identity = |file: &Statx| (place::device_of(file), file.stx_ino);
    let is_machine_s = here.is_some_and(|here| identity(&here) == identity(&file));
    Some(if is_machine_s || file.stx_nlink == 0 { path } else { Vec::new() })
}

fn cgroup(text: &[u8]) -> Option<Vec<u8>> {
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_by_what_proc_says() {
        let own = format!("/proc/{}/exe", std::process::id());
        let executable = executable(&own).expect("an executable");
        let expected = std::env::current_exe().expect("this program").into_os_string().into_vec();
        assert_eq!(executable, expected);
        assert_eq!(groups("Uid:\t1\nGroups:\t4 24 \nNgid: 0\n"), Some(vec![4, 24]));
        assert_eq!(groups("Uid:\t1\n"), None);
        assert_eq!(capabilities("Uid:\t1\nCapEff:\t0000000000000011\n"), Some(0x11));
        let parents = parents(std::process::id()).expect("parents");
        assert_eq!(parents.first(), Some(&std::os::unix::process::parent_id()));
        assert_eq!(cgroup(b"1:cpu:/x\n0::/a/b\n"), Some(b"/a/b".to_vec()));
    }
}
