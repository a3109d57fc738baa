//! Calls that hang whoever serves them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Run, machine};
use rustix::process::test_kill_process;

use super::pid;

/// So long for what takes moments where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount where every write of a file `bad` hangs, and how often one has.
fn hanging(dir: &Path, deadline: &str) -> (Mount, impl Fn() -> u64) {
    let count = dir.join("count");
    fs::write(&count, "").expect("count");
    let options = format!("fault=loop,every=1,deadline={deadline},count={}", count.display());
    let met = move || fs::metadata(&count).expect("count").len();
    (Mount::new(dir, "mount", "faulty", &options), met)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Its caller has an error after the second time, and nobody waits for it again until another program may do better.
pub(super) fn end_at_the_second(dir: &Path) {
    let (mount, met) = hanging(dir, "1");
    fs::write(mount.path("good"), "kept").expect("another file");
    let begun = Instant::now();
    let error = fs::write(mount.path("bad"), "content").expect_err("it cannot be written");
    println!(
        "a call that always hangs ended after {:.1?}, with a deadline of 1 s",
        begun.elapsed()
    );
    assert_eq!((error.raw_os_error(), met()), (Some(5), 2));
    let refused = mount.hsci(["status"]).ok();
    assert!(refused.contains("write of /bad: several workers died of it"), "{refused}");
    assert!(fs::write(mount.path("bad"), "again").is_err() && met() == 2, "it is not tried again");
    assert_eq!(fs::read_to_string(mount.path("good")).expect("read"), "kept");
    mount.hsci(["upgrade"]).ok();
    assert_eq!(mount.status()["quarantined"], serde_json::json!([]));
    assert!(fs::write(mount.path("bad"), "again").is_err() && met() == 4, "{} tries", met());
}

/// Where there is no deadline, an end by force frees the caller and leaves no process.
pub(super) fn end_by_force(dir: &Path) {
    machine::need_root();
    let (mount, met) = hanging(dir, "0");
    let processes = [pid(&mount, "supervisor_pid"), pid(&mount, "worker_pid")];
    let line = format!("echo content > '{}'", mount.path("bad").display());
    let mut caller = Run::new("bash").args(["-c", &line]).silent().start();
    wait_until("the call hangs", || met() == 1);
    let _ = caller.kill();
    assert!(caller.try_wait().expect("wait").is_none(), "the kernel waits for its answer");
    let begun = Instant::now();
    mount.hsci(["unmount", "--force"]).ok();
    caller.wait().expect("it has ended");
    wait_until("all processes have ended", || {
        processes.iter().all(|process| test_kill_process(*process).is_err())
    });
    println!("ended by force within {:.1?}", begun.elapsed());
}
