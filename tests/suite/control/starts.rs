//! Starts that do not come about.

use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::command::Done;
use hsci_tests::{Mount, Run, machine, mount};
use rustix::process::{Pid, Signal};

use super::{pid, send, within};

/// `hsci mount` of an extension whose start fails in a certain way.
fn faulty(dir: &Path, options: &str) -> Run {
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    for place in [&lower, &point] {
        std::fs::create_dir_all(place).expect("directory");
    }
    let run = Run::new(machine::hsci()).args(["mount", "-x", "faulty", "-o", options]);
    run.arg(lower).arg(point)
}

/// The last line says why; before it stands what the extension uses beside the store.
fn fails(done: &Done, words: &[&str]) {
    assert_eq!(done.code, 7, "{}", done.err);
    let line = done.err.lines().last().unwrap_or_default();
    assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
}

fn children(process: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    listed.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// True if a process is a worker.
fn serves(process: u32) -> bool {
    let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"serve")
}

fn nothing_is_left(dir: &Path) {
    assert!(machine::workers(&dir.join("lower")).is_empty(), "a worker is left");
    let entries = std::fs::read_dir(dir.join("lower")).expect("the lower directory");
    assert_eq!(entries.count(), 0, "something is left in the lower directory");
    // Nobody holds the lower directory either.
    Mount::at(&dir.join("lower"), &dir.join("mount"), "nullfs", "").unmount();
}

pub(super) fn hangs(dir: &Path) {
    let begun = Instant::now();
    let done = faulty(dir, "start=hang,start-deadline=2").done();
    fails(&done, &["faulty", "not started within 2s", ".log"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    nothing_is_left(dir);
}

pub(super) fn panics(dir: &Path) {
    let done = faulty(dir, "start=panic").done();
    fails(&done, &["faulty", "no start on purpose", ".log has more"]);
    nothing_is_left(dir);
}

pub(super) fn is_interrupted(dir: &Path) {
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = faulty(dir, "start=hang,start-deadline=0").silent().start();
        let supervisors = |command: u32| children(command).into_iter();
        let has_begun = || supervisors(command.id()).flat_map(children).any(serves);
        assert!(within(Duration::from_secs(60), has_begun), "no worker starts");
        send(Pid::from_child(&command), signal);
        let has_ended = || command.try_wait().expect("a look").is_some();
        assert!(within(Duration::from_secs(60), has_ended), "{signal:?} does not end it");
        assert_eq!(command.wait().expect("its end").code(), Some(3), "{signal:?}");
        nothing_is_left(dir);
    }
}

/// In the foreground, where the signal goes to the supervisor itself: also between the mount's appearing and its use.
pub(super) fn is_interrupted_at_any_moment(dir: &Path) {
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    for place in [&lower, &point] {
        std::fs::create_dir(place).expect("directory");
    }
    let is_mounted = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        table.contains(&*point.to_string_lossy())
    };
    let mut begun = 0;
    for moment in 0..60 {
        let run = Run::new(machine::hsci()).args(["mount", "--foreground"]);
        let mut command = run.arg(&lower).arg(&point).silent().start();
        if moment % 2 == 0 {
            std::thread::sleep(Duration::from_millis(moment));
        } else {
            let end = Instant::now() + Duration::from_secs(30);
            while !is_mounted() && Instant::now() < end {}
            begun += u32::from(is_mounted());
        }
        send(Pid::from_child(&command), Signal::TERM);
        let has_ended = || command.try_wait().expect("a look").is_some();
        assert!(
            within(Duration::from_secs(10), has_ended),
            "SIGTERM number {moment} is not obeyed"
        );
        assert!(!is_mounted(), "SIGTERM number {moment} left the mount behind");
    }
    assert_eq!(begun, 30, "mounts that were seen to begin");
    Mount::at(&lower, &point, "compressfs", "").unmount();
}

pub(super) fn leaves_nothing(dir: &Path) {
    for place in ["lower", "mount"] {
        std::fs::create_dir(dir.join(place)).expect("directory");
    }
    let run = Run::new(machine::hsci()).args(["mount", "-o", "algorithm=brotli"]);
    run.arg(dir.join("lower")).arg(dir.join("mount")).done().fails(2, &["brotli"]);
    nothing_is_left(dir);
}

pub(super) fn names_server(dir: &Path) {
    let first = Mount::new(dir, "first", "nullfs", "");
    let other = dir.join("other");
    std::fs::create_dir(&other).expect("directory");
    let supervisor = pid(&first, "supervisor_pid").as_raw_nonzero().to_string();
    let run = Run::new(machine::hsci()).args(["mount", "-x", "nullfs"]).arg(first.lower());
    run.arg(other).done().fails(5, &["served already", &supervisor, "which began", "s ago"]);
    mount::hsci(["status"], first.dir()).ok();
}
