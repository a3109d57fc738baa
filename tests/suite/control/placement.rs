//! A loop that stays with a busy caller, and the threads that leave it its core: what they give up comes back, also where
//! the supervisor is stopped or the worker killed meanwhile.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use hsci_tests::{Mount, skip};
use rustix::process::Signal;

use super::{MINUTE, pid, send, state, within};

/// What the kernel says of each thread of the worker in one of its files.
fn threads(mount: &Mount, file: &str) -> Vec<String> {
    let tasks = format!("/proc/{}/task", pid(mount, "worker_pid").as_raw_nonzero());
    let entries = fs::read_dir(tasks).into_iter().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join(file)).ok()).collect()
}

/// Policies of the worker's threads, by the number that the kernel gives them; 5 is `SCHED_IDLE`.
fn policies(mount: &Mount) -> Vec<u32> {
    // The 41st field; the name before the third may have any bytes.
    let policy = |stat: String| stat.rsplit_once(") ")?.1.split(' ').nth(41 - 3)?.parse().ok();
    threads(mount, "stat").into_iter().filter_map(policy).collect()
}

/// Numbers of cores on which threads of such a name may run.
fn cores(mount: &Mount, name: &str) -> Vec<u32> {
    let name = format!("Name:\t{name}\n");
    let count = |status: String| {
        let mask = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed:"))?;
        Some(mask.chars().filter_map(|digit| digit.to_digit(16)).map(u32::count_ones).sum())
    };
    let named = |status: &String| status.starts_with(&name);
    threads(mount, "status").into_iter().filter(named).filter_map(count).collect()
}

/// How often threads of such a name have gone to sleep.
fn sleeps(mount: &Mount, name: &str) -> u64 {
    let name = format!("Name:\t{name}\n");
    let count = |status: String| {
        let counted = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        counted?.trim().parse::<u64>().ok()
    };
    let named = |status: &String| status.starts_with(&name);
    threads(mount, "status").into_iter().filter(named).filter_map(count).sum()
}

fn is_near(mount: &Mount) -> bool {
    policies(mount).contains(&5)
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

/// Makes directories, goes through them, one after the other, and removes them.
fn list_new(mount: &Mount, round: u64) {
    let top = mount.path(&format!("top-{round}"));
    let list = |dir: &Path| fs::read_dir(dir).expect("a directory").count();
    let below: Vec<_> = (0..8).map(|number| top.join(number.to_string())).collect();
    below.iter().for_each(|dir| fs::create_dir_all(dir.join("end")).expect("a directory"));
    assert_eq!(list(&top), 8);
    assert!(below.iter().all(|dir| list(dir) == 1));
    fs::remove_dir_all(&top).expect("remove it");
}

fn walk(mount: &Mount, ended: &AtomicBool) {
    let rounds = (0..u64::MAX).take_while(|_| !ended.load(Ordering::Relaxed));
    rounds.for_each(|round| list_new(mount, round));
}

const SECOND: Duration = Duration::from_secs(1);

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
    assert!(calm(), "a thread stays at low priority: {:?}", policies(mount));
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

/// A look every 10 ms would be 100 in a second.
const FEW_LOOKS: u64 = 40;

pub(super) fn is_left_alone(dir: &Path) {
    check_machine();
    let mount = Mount::new(dir, "mount", "nullfs", "");
    let stays = || {
        (0..20).all(|_| {
            sleep(SECOND / 20);
            is_near(&mount)
        })
    };
    let is_alone = || {
        let before = sleeps(&mount, "placement");
        stays() && sleeps(&mount, "placement") - before < FEW_LOOKS
    };
    beside(
        |ended| ask(&mount, "busy", ended),
        || assert!(within(2 * MINUTE, is_alone), "looks go on while all is well"),
    );
    check_calm(&mount);
}

/// Threads of such a name leave a core while a caller is busy, and are back on all some time after it, when `again` has
/// given them something to do.
fn leaves(
    mount: &Mount,
    name: &str,
    busy: impl FnOnce(&AtomicBool) + Send,
    mut again: impl FnMut(),
) {
    let all = *cores(mount, name).iter().max().expect("threads of that name");
    let some = || cores(mount, name).iter().any(|count| *count < all);
    beside(busy, || assert!(within(2 * MINUTE, some), "no thread leaves a core"));
    check_calm(mount);
    let none = || {
        again();
        !some()
    };
    assert!(within(MINUTE, none), "threads stay on few cores: {:?}", cores(mount, name));
}

pub(super) fn looks_ahead_elsewhere(dir: &Path) {
    check_machine();
    let mount = Mount::new(dir, "mount", "nullfs", "");
    let mut round = u64::MAX;
    let again = || {
        list_new(&mount, round);
        round -= 1;
    };
    leaves(&mount, "ahead", |ended| walk(&mount, ended), again);
}

pub(super) fn settles_elsewhere(dir: &Path) {
    check_machine();
    let mount = Mount::new(dir, "mount", "compressfs", "settle=100ms");
    let write = |number: u64| {
        let path = mount.path(&format!("file-{}", number % 1000));
        fs::write(path, number.to_string().repeat(1000)).expect("write");
    };
    let busy = |ended: &AtomicBool| {
        (0..u64::MAX).take_while(|_| !ended.load(Ordering::Relaxed)).for_each(write);
    };
    leaves(&mount, "settle", busy, || write(0));
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
