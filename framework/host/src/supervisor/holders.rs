//! Who keeps a mount busy, and who still has one that was taken off here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::mounts::{self, Device, Mounted};
use crate::place;

/// More than these are not named.
const MOST: usize = 5;

/// Processes with a working directory, a root or an open file in the mount at `dir`, as far as this
/// user may look: `make (4711), bash (4702)`. Empty if there is none to be seen.
pub(super) fn describe(dir: &Path) -> String {
    let Some(mount) = mounts::find_by_name(dir).map(Device::number) else { return String::new() };
    let using = processes().filter(|process| uses(process, mount));
    using.filter_map(|process| name(&process)).take(MOST).collect::<Vec<_>>().join(", ")
}

/// The directories of all processes in /proc.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let processes = entries.filter(move |entry| entry.file_name().to_str().is_some_and(is_number));
    processes.map(|entry| entry.path())
}

/// `make (4711)`
fn name(process: &Path) -> Option<String> {
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("{} ({})", name.trim_end(), process.file_name()?.display()))
}

/// A process in another mount namespace, to which the unmounting here has not come, with the place where it has the mount:
/// `sh (4711) at /mnt`.
pub(super) fn describe_other_namespace(mounted: &Mounted) -> Option<String> {
    let mut seen = BTreeSet::new();
    processes().find_map(|process| {
        // Of a process that this user may not look at, the namespace is not known.
        let namespace = fs::read_link(process.join("ns/mnt")).ok();
        if namespace.is_some() && !seen.insert(namespace) {
            return None;
        }
        let table = mounts::lines_of(&process).into_iter();
        let mut found = table.filter(|line| line.device == mounted.device);
        let found = found.find(|line| line.is_from(&mounted.lower))?;
        Some(format!("{} at {}", name(&process)?, found.dir.display()))
    })
}

/// Whether a process, given by its directory in /proc, uses something on a device.
fn uses(process: &Path, device: u64) -> bool {
    let on_device =
        |link: &Path| place::known(link).is_ok_and(|file| place::device_of(&file) == device);
    if ["cwd", "root", "exe"].iter().any(|link| on_device(&process.join(link))) {
        return true;
    }
    let descriptors = fs::read_dir(process.join("fd"));
    descriptors.is_ok_and(|mut open| open.any(|fd| fd.is_ok_and(|fd| on_device(&fd.path()))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_uses_the_device_of_its_open_files() {
        // On a device of the kernel's own, where programs have nothing by themselves.
        let file = rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::CLOEXEC);
        let file = fs::File::from(file.expect("memfd"));
        let device = file.metadata().expect("stat").dev();
        for (input, expected) in [(Stdio::from(file), true), (Stdio::null(), false)] {
            let mut process = Command::new("sleep").arg("60").stdin(input).spawn().expect("sleep");
            let used = uses(Path::new(&format!("/proc/{}", process.id())), device);
            process.kill().and_then(|()| process.wait()).expect("kill");
            assert_eq!(used, expected);
        }
        assert!(!uses(Path::new("/proc/0"), device), "no such process");
    }
}
