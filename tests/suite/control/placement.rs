//! A loop that stays with a busy caller, and the threads that look ahead for it: what they give up comes back, also where
//! the supervisor is stopped or the worker killed meanwhile.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hsci_tests::{Mount, skip};
use rustix::process::{Pid, Signal};

use super::{MINUTE, pid, send, state, within};

/// Policies of a process's threads, by the number that the kernel gives them; 5 is `SCHED_IDLE`.
fn policies(process: Pid) -> Vec<u32> {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let policy = |entry: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // The 41st field; the name before the third may have any bytes.
        stat.rsplit_once(") ")?.1.split(' ').nth(41 - 3)?.parse().ok()
    };
    fs::read_dir(tasks).into_iter().flatten().filter_map(policy).collect()
}

/// How many threads of the worker are of low priority.
fn behind(mount: &Mount) -> usize {
    policies(pid(mount, "worker_pid")).into_iter().filter(|policy| *policy == 5).count()
}

fn is_near(mount: &Mount) -> bool {
    behind(mount) > 0
}

/// Asks for names that are not there, one after the other, until it is told to end.
fn ask(mount: &Mount, name: &str, ended: &AtomicBool) {
    let asked = (0..u64::MAX).take_while(|_| !ended.load(Ordering::Relaxed));
    for number in asked {
        let missing = fs::symlink_metadata(mount.path(&format!("{name}-{number}")));
        let error = missing.expect_err("a name that is not there");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
}

/// Makes directories and goes through them, one after the other, until `ended`.
fn walk(mount: &Mount, ended: &AtomicBool) {
    for round in (0..u64::MAX).take_while(|_| !ended.load(Ordering::Relaxed)) {
        let top = mount.path(&format!("top-{round}"));
        let list = |dir: &Path| fs::read_dir(dir).expect("a directory").count();
        let below: Vec<_> = (0..8).map(|number| top.join(number.to_string())).collect();
        below.iter().for_each(|dir| fs::create_dir_all(dir.join("end")).expect("a directory"));
        assert_eq!(list(&top), 8);
        assert!(below.iter().all(|dir| list(dir) == 1));
        fs::remove_dir_all(&top).expect("remove it");
    }
}

/// `CAP_SYS_NICE`, without which the supervisor gives no thread its priority back.
const MAY_SCHEDULE: u64 = 1 << 23;

fn may_schedule() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("a process");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    u64::from_str_radix(set.trim(), 16).expect("a number") & MAY_SCHEDULE != 0
}

fn check_machine() {
    if !may_schedule() {
        skip("CAP_SYS_NICE is missing");
    }
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
        skip("one core has no place but one");
    }
}

/// Does something while a caller is busy, which ends with it.
fn beside(busy: impl FnOnce(&AtomicBool) + Send, act: impl FnOnce()) {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&ended);
        scope.spawn(|| busy(&ended));
        act();
    });
}

fn check_calm(mount: &Mount) {
    let calm = || within(MINUTE, || !is_near(mount));
    assert!(calm(), "a thread stays at low priority: {:?}", policies(pid(mount, "worker_pid")));
}

pub(super) fn returns(dir: &Path) {
    check_machine();
    let mount = Mount::new(dir, "mount", "nullfs", "");
    beside(
        |ended| ask(&mount, "busy", ended),
        || {
            let comes = || within(2 * MINUTE, || is_near(&mount));
            assert!(comes(), "no loop stays with its caller");
            stopped_supervisor(&mount);
            assert!(comes(), "no loop stays with its caller once the supervisor goes on");
            let worker = pid(&mount, "worker_pid");
            send(worker, Signal::KILL);
            assert!(within(MINUTE, || pid(&mount, "worker_pid") != worker), "no other worker");
            assert!(comes(), "no loop of the next worker stays with its caller");
        },
    );
    check_calm(&mount);
}

pub(super) fn steps_back(dir: &Path) {
    check_machine();
    let mount = Mount::new(dir, "mount", "nullfs", "");
    beside(
        |ended| walk(&mount, ended),
        || assert!(within(2 * MINUTE, || behind(&mount) > 1), "who looks ahead comes first"),
    );
    check_calm(&mount);
}

/// Others are served although nobody looks after the loop that serves one.
fn stopped_supervisor(mount: &Mount) {
    let supervisor = pid(mount, "supervisor_pid");
    send(supervisor, Signal::STOP);
    let stopped = within(MINUTE, || state(supervisor) == Some('T'));
    let served = AtomicBool::new(false);
    let in_time = std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..1000).for_each(|number| {
                let _ = fs::symlink_metadata(mount.path(&format!("other-{number}")));
            });
            served.store(true, Ordering::Relaxed);
        });
        let in_time = within(MINUTE, || served.load(Ordering::Relaxed));
        send(supervisor, Signal::CONT);
        in_time
    });
    assert!(stopped, "it does not stop");
    assert!(in_time, "a stopped supervisor keeps others waiting");
    assert!(within(MINUTE, || state(supervisor) != Some('T')), "it does not go on");
}
