//! Who keeps a mount busy.

use std::fs;
use std::path::Path;

use crate::mounts::{self, Device};
use crate::place;

/// More than these are not named.
const MOST: usize = 5;

/// Processes with a working directory, a root or an open file in the mount at `dir`, as far as this
/// user may look: `make (4711), bash (4702)`. Empty if there is none to be seen.
pub(super) fn describe(dir: &Path) -> String {
    let Some(mount) = mounts::find_by_name(dir).map(Device::number) else { return String::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return String::new() };
    let named = processes.flatten().filter_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let process = process.path();
        if !uses(&process, mount) {
            return None;
        }
        let name = fs::read_to_string(process.join("comm")).ok()?;
        Some(format!("{} ({pid})", name.trim_end()))
    });
    named.take(MOST).collect::<Vec<_>>().join(", ")
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
