//! Who makes a call: as the kernel handed it over, or as `/proc` tells.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use hsci_abi::callers::{self, HANDED_LEN};
use hsci_abi::tables::SubjectClass;
use hsci_engine::{Tables, Uses};
use hsci_extension::Call;
use hsci_language::Subject;
use rustix::fd::OwnedFd;

use crate::sys::shared::Shared;

/// What a program in the kernel hands over.
#[derive(Debug)]
pub(crate) struct KernelCallers {
    memory: Shared,
    generation: u32,
}

impl KernelCallers {
    /// `generation` marks callers classified by the tables that they are wanted for.
    pub(super) fn new(memory: OwnedFd, generation: u32) -> std::io::Result<Self> {
        Ok(Self { memory: Shared::new(memory, HANDED_LEN)?, generation })
    }

    /// Who makes a call, if the kernel has found out.
    pub(super) fn of(&self, call: &Call) -> Option<SubjectClass> {
        let caller = callers::caller(&self.memory, call.request, call.pid)?;
        // A thread's place may hold its request before this one: by the same user, at least.
        let fits = caller.generation == self.generation && caller.subject.uid == call.uid;
        fits.then_some(caller.subject)
    }
}

/// Who makes a call, found out by asking; nothing if something that rules look at cannot be known.
pub(super) fn ask(tables: &Tables, uses: Uses, call: &Call) -> Option<SubjectClass> {
    let mut subject = Subject { uid: call.uid, gids: vec![call.gid], ..Subject::default() };
    let place = |name: &str| (call.pid != 0).then(|| format!("/proc/{}/{name}", call.pid));
    if uses.groups {
        subject.gids.extend(groups(&fs::read_to_string(place("status")?).ok()?)?);
    }
    if uses.executable {
        subject.executable = executable(&place("exe")?)?;
    }
    if uses.command {
        subject.command = fs::read(place("comm")?).ok()?;
        subject.command.pop();
    }
    if uses.cgroup {
        subject.cgroup = cgroup(&fs::read(place("cgroup")?).ok()?)?;
    }
    if uses.pid_namespace {
        subject.pid_namespace = fs::metadata(place("ns/pid")?).ok()?.ino() as u32;
    }
    Some(tables.classify(&subject))
}

fn groups(status: &str) -> Option<Vec<u32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    line.split_whitespace().map(|group| group.parse().ok()).collect()
}

fn executable(link: &str) -> Option<Vec<u8>> {
    const DELETED: &[u8] = b" (deleted)";
    let mut path = fs::read_link(link).ok()?.into_os_string().into_vec();
    if path.ends_with(DELETED) && fs::metadata(link).is_ok_and(|meta| meta.nlink() == 0) {
        path.truncate(path.len() - DELETED.len());
    }
    Some(path)
}

fn cgroup(text: &[u8]) -> Option<Vec<u8>> {
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::")).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_by_what_proc_tells() {
        let own = format!("/proc/{}/exe", std::process::id());
        let executable = executable(&own).expect("an executable");
        let expected = std::env::current_exe().expect("this program").into_os_string().into_vec();
        assert_eq!(executable, expected);
        assert_eq!(groups("Uid:\t1\nGroups:\t4 24 \nNgid: 0\n"), Some(vec![4, 24]));
        assert_eq!(groups("Uid:\t1\n"), None);
        assert_eq!(cgroup(b"1:cpu:/x\n0::/a/b\n"), Some(b"/a/b".to_vec()));
    }

    #[test]
    fn a_caller_who_is_gone_is_unknown_only_if_somebody_asks() {
        let call = Call::new(7, 7, 0);
        let is_known = |uses| ask(&Tables::default(), uses, &call).is_some();
        for uses in [
            Uses { groups: true, ..Uses::default() },
            Uses { executable: true, ..Uses::default() },
            Uses { command: true, ..Uses::default() },
            Uses { cgroup: true, ..Uses::default() },
            Uses { pid_namespace: true, ..Uses::default() },
        ] {
            assert!(!is_known(uses), "{uses:?}");
        }
    }
}
