//! What every way in which a mount can end leaves where its supervisor was asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hsci_tests::{Mount, Run, machine, mount};
use rustix::process::Signal;

use super::{MINUTE, has_ended, pid, send, within};

/// Sockets and locks of root's mounts.
fn names() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/run/hsci").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".sock") || name.ends_with(".lock")).collect()
}

/// Those of one process, and the lock of one directory.
fn of(process: &str, lower: &Path) -> BTreeSet<String> {
    use std::os::unix::fs::MetadataExt as _;
    let lower = std::fs::metadata(lower).expect("the lower directory");
    let (major, minor) = (rustix::fs::major(lower.dev()), rustix::fs::minor(lower.dev()));
    let lock = format!("{major}-{minor}-{}.lock", lower.ino());
    let is_its = |name: &String| *name == lock || name.contains(&format!("-{process}-"));
    names().into_iter().filter(is_its).collect()
}

/// Ends a mount in some way, and returns what is left when its processes are gone.
fn end(dir: &Path, name: &str, how: impl FnOnce(&mut Mount)) -> BTreeSet<String> {
    let mut mount = Mount::new(dir, name, "compressfs", "settle=1h");
    std::fs::write(mount.path("file"), "content").expect("write");
    let (supervisor, worker) = (pid(&mount, "supervisor_pid"), pid(&mount, "worker_pid"));
    let (number, lower) = (supervisor.as_raw_nonzero().to_string(), mount.lower().to_owned());
    assert_eq!(of(&number, &lower).len(), 2, "a socket and a lock while it is served");
    how(&mut mount);
    assert!(within(MINUTE, || has_ended(supervisor) && has_ended(worker)), "{name}: it goes on");
    of(&number, &lower)
}

/// A way to end a mount.
type How = Box<dyn FnOnce(&mut Mount)>;

pub(super) fn leave_nothing(dir: &Path) {
    machine::need_root();
    let umount = |flag: &'static str| {
        move |mount: &mut Mount| {
            Run::new("umount").args((!flag.is_empty()).then_some(flag)).arg(mount.dir()).ok();
        }
    };
    let ends: [(&str, How); 6] = [
        ("unmount", Box::new(Mount::unmount)),
        ("force", Box::new(|mount: &mut Mount| drop(mount.hsci(["unmount", "--force"]).ok()))),
        ("umount", Box::new(umount(""))),
        ("lazily", Box::new(umount("-l"))),
        (
            "terminated",
            Box::new(|mount: &mut Mount| send(pid(mount, "supervisor_pid"), Signal::TERM)),
        ),
        (
            "killed-worker",
            Box::new(|mount: &mut Mount| {
                send(pid(mount, "worker_pid"), Signal::KILL);
                assert!(mount.path("file").exists());
                mount.unmount();
            }),
        ),
    ];
    for (name, how) in ends {
        assert_eq!(end(dir, name, how), BTreeSet::new(), "after `{name}`");
    }
    for start in ["start=panic", "start=hang,start-deadline=1"] {
        let before = names();
        let (lower, point) = (dir.join("faulty.lower"), dir.join("faulty"));
        for place in [&lower, &point] {
            std::fs::create_dir_all(place).expect("directory");
        }
        let run = Run::new(machine::hsci()).args(["mount", "-x", "faulty", "-o", start]);
        assert_ne!(run.arg(&lower).arg(&point).done().code, 0);
        assert_eq!(of("none", &lower), BTreeSet::new(), "{start}, {before:?}");
    }
}

/// A supervisor that was killed cannot take anything away: the next command does.
pub(super) fn are_swept(dir: &Path) {
    machine::need_root();
    let alive = Mount::new(dir, "alive", "nullfs", "");
    for (name, sweeper) in [("status", None), ("mount", Some("other"))] {
        let kill = |mount: &mut Mount| {
            let worker = pid(mount, "worker_pid");
            send(pid(mount, "supervisor_pid"), Signal::KILL);
            send(worker, Signal::KILL);
            Run::new("umount").arg("-l").arg(mount.dir()).ok();
        };
        let left = end(dir, name, kill);
        println!("left: {left:?}");
        std::thread::sleep(Duration::from_millis(2100));
        match sweeper {
            None => drop(Run::new(machine::hsci()).arg("status").ok()),
            Some(other) => Mount::new(dir, other, "nullfs", "").unmount(),
        }
        assert_eq!(names().intersection(&left).count(), 0, "{name}");
    }
    mount::hsci(["status"], alive.dir()).ok();
}
