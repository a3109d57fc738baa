//! What supervisors and workers have of those who start them, and show of what they know.

use std::collections::BTreeSet;
use std::path::Path;

use hsci_tests::{Mount, Run, machine};
use rustix::process::Pid;

use super::pid;

fn number(process: Pid) -> i32 {
    process.as_raw_nonzero().get()
}

pub(super) fn take_nothing(dir: &Path) {
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    for place in [&lower, &point] {
        std::fs::create_dir(place).expect("directory");
    }
    let lock = dir.join("lock");
    let line = format!(
        "trap '' HUP XFSZ USR1; ulimit -S -f 64; exec 7> '{0}' 8< /etc/passwd; flock 7; \
         EVIL=1 LD_LIBRARY_PATH=/tmp '{1}' mount '{2}' '{3}'; exec 7>&- 8>&-",
        lock.display(),
        machine::hsci().display(),
        lower.display(),
        point.display()
    );
    Run::shell(line).ok();
    // The mount is unmounted with this value.
    let mount = Mount::adopt(&lower, &point, "compressfs");
    Run::new("flock").args(["--nonblock"]).arg(&lock).arg("true").ok();
    for whose in ["supervisor_pid", "worker_pid"] {
        let process = number(pid(&mount, whose));
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("descriptors");
        for descriptor in open.flatten() {
            let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
            assert!(target != lock && target != Path::new("/etc/passwd"), "{whose}: {target:?}");
        }
        let environment = std::fs::read(format!("/proc/{process}/environ")).expect("environment");
        let names: BTreeSet<_> = environment
            .split(|byte| *byte == 0)
            .filter(|variable| !variable.is_empty())
            .map(|variable| String::from_utf8_lossy(variable).split('=').next().map(str::to_owned))
            .map(|name| name.expect("a name"))
            .collect();
        let known = |name: &String| name == "PATH" || hsci_host::ENVIRONMENT.contains(&&**name);
        assert!(names.iter().all(known), "{whose}: {names:?}");
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("limits");
        let size = limits.lines().find(|line| line.starts_with("Max file size")).expect("a limit");
        assert!(size.contains("unlimited"), "{whose}: {size}");
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("status");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a set");
        let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a set");
        assert_eq!(ignored & (1 << 9), 0, "{whose} ignores SIGUSR1 as its caller does");
    }
    std::fs::write(mount.path("large"), "0123456789".repeat(100_000)).expect("beyond ulimit -f");
    mount.settle();
}

pub(super) fn hide_options(dir: &Path) {
    let secret = dir.join("5ecret");
    std::fs::write(&secret, "").expect("a file");
    let options = format!("count={}", secret.display());
    let mount = Mount::new(dir, "mount", "faulty", &options);
    let mut looked_at = 0;
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains("5ecret"), "{:?}: {line}", process.path());
        looked_at += usize::from(line.contains("hsci"));
    }
    assert!(looked_at >= 2, "a supervisor and a worker");
    let status = mount.status().to_string();
    assert!(!status.contains("5ecret"), "{status}");
}
