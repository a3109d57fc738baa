//! Runs tests, each in a process, a process group and a directory of its own, under a time limit.
//!
//! Whatever a test does, the machine is as before when the run ends: its processes are killed, its
//! mounts are aborted and detached, its directory is removed. A mount left behind fails the test.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::command::{ALICE, BOB};
use crate::{Run, machine};

/// Exit code of a test that cannot run here.
const SKIPPED: i32 = 77;

/// Lines of output shown of a test that did not fail.
const NOTES: usize = 8;

/// One test: a name that says what holds, how long it may take, and what it does with an empty
/// directory. It fails by panicking.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// `area::what_holds`.
    pub name: &'static str,
    /// Limit in seconds.
    pub seconds: u64,
    /// The test.
    pub body: fn(&Path),
}

/// Ends this test's process: it cannot run here, for the given reason.
pub fn skip(reason: &str) -> ! {
    println!("skipped: {reason}");
    std::process::exit(SKIPPED);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// The main function of a suite. Arguments: `--list`, `--jobs N`, or parts of names; a test runs if
/// any part is found in its name.
#[must_use]
pub fn main(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, dir] = arguments.as_slice()
        && flag == "--one"
    {
        let test = tests.iter().find(|test| test.name == name).expect("a known test");
        (test.body)(Path::new(dir));
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    let (jobs, parts) = jobs_and_parts(&arguments);
    let wanted =
        |test: &&Test| parts.is_empty() || parts.iter().any(|part| test.name.contains(part));
    let mut chosen: Vec<&Test> = tests.iter().filter(wanted).collect();
    chosen.sort_by_key(|test| std::cmp::Reverse(test.seconds));
    run_all(&chosen, jobs)
}

fn jobs_and_parts(arguments: &[String]) -> (usize, Vec<&str>) {
    let mut jobs = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let mut parts = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--jobs" => {
                let count = rest.next().and_then(|count| count.parse().ok());
                jobs = count.expect("--jobs takes a number");
            }
            part if !part.starts_with('-') => parts.push(part),
            _ => {}
        }
    }
    (jobs, parts)
}

fn run_all(tests: &[&Test], jobs: usize) -> ExitCode {
    let copies = machine::let_all_reach_programs(&base());
    let verdicts = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = run(test);
                    verdicts.lock().expect("no test panics here").push((test.name, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().expect("no test panics here");
    let left = left_in_run();
    if let Some(copies) = copies {
        let _ = std::fs::remove_dir_all(copies);
    }
    if !left.is_empty() {
        println!("left behind for all time: {}", left.join(", "));
        verdicts.push(("nothing is left behind", Verdict::Failed));
    }
    let of = |wanted| verdicts.iter().filter(move |(_, verdict)| *verdict == wanted);
    let count = |wanted| of(wanted).count();
    let failed = count(Verdict::Failed);
    let (passed, skipped) = (count(Verdict::Passed), count(Verdict::Skipped));
    let word = if failed == 0 { "ok" } else { "FAILED" };
    if failed > 0 {
        println!("\nfailures:");
        of(Verdict::Failed).for_each(|(name, _)| println!("    {name}"));
    }
    // The closing lines of `cargo test`, which scripts know how to read.
    println!("\ntest result: {word}. {passed} passed; {failed} failed; {skipped} ignored");
    if failed == 0 && !verdicts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What dead supervisors have left where sockets lie, and a command does not take away.
fn left_in_run() -> Vec<String> {
    let root = rustix::process::geteuid().is_root();
    let mut left = Vec::new();
    for user in if root { &[None, Some(ALICE), Some(BOB)][..] } else { &[None] } {
        let dead = machine::dead_sockets(*user);
        if dead.is_empty() {
            continue;
        }
        // Younger ones stay.
        std::thread::sleep(Duration::from_millis(2100));
        let status = match user {
            Some(user) => Run::as_user(*user, machine::hsci()),
            None => Run::new(machine::hsci()),
        };
        let _ = status.arg("status").done();
        left.extend(dead.into_iter().filter(|path| path.exists()));
    }
    left.iter().map(|path| path.display().to_string()).collect()
}

/// Where the directories of tests lie.
fn base() -> PathBuf {
    std::env::var_os("HSCI_TEST_DIR").map_or("/var/tmp".into(), PathBuf::from)
}

fn run(test: &Test) -> Verdict {
    let base = base();
    // Short, for the address of a socket has room for 107 bytes of path.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("hsci-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = base.join(&name);
    std::fs::create_dir_all(&dir).expect("a directory for the test");
    let log = base.join(format!("{name}.log"));
    let started = Instant::now();
    let mut child = start(test, &dir, &log);
    let ended = wait(&mut child, Duration::from_secs(test.seconds));
    kill_group(&child);
    let _ = child.wait();
    let left = detach_mounts(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let _ = std::fs::remove_file(&log);
    let verdict = match ended {
        Some(SKIPPED) if left.is_empty() => Verdict::Skipped,
        Some(0) if left.is_empty() => Verdict::Passed,
        _ => Verdict::Failed,
    };
    let trouble = match ended {
        None => format!("no end within {} s", test.seconds),
        Some(_) if !left.is_empty() => format!("left behind: {}", left.join(", ")),
        Some(_) => String::new(),
    };
    report(test, verdict, &trouble, started.elapsed(), &text.unwrap_or_default());
    verdict
}

fn start(test: &Test, dir: &Path, log: &Path) -> Child {
    let log = std::fs::File::create(log).expect("a log for the test");
    Command::new(std::env::current_exe().expect("own path"))
        .arg("--one")
        .arg(test.name)
        .arg(dir)
        .env(machine::PROGRAMS, machine::programs())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("second descriptor"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("a process for the test")
}

fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("wait for the test") {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

fn kill_group(child: &Child) {
    let group = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

/// Detaches every mount below `dir`, and names them.
fn detach_mounts(dir: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut left = Vec::new();
    for line in table.lines().rev() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (device, point) = (fields[2], fields[4]);
        if !Path::new(point).starts_with(dir) {
            continue;
        }
        left.push(point.to_owned());
        let minor = device.split(':').nth(1).unwrap_or("none");
        let connection = Path::new("/sys/fs/fuse/connections").join(minor).join("abort");
        if line.contains(" - fuse") {
            let _ = std::fs::write(connection, "1");
        }
        let _ = Command::new("umount").arg("-l").arg(point).status();
    }
    left
}

fn report(test: &Test, verdict: Verdict, trouble: &str, time: Duration, text: &str) {
    let word = match verdict {
        Verdict::Passed => "ok",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
    };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "test {} ... {word} ({:.1} s)", test.name, time.as_secs_f64());
    let shown = if verdict == Verdict::Failed { usize::MAX } else { NOTES };
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(shown) {
        let _ = writeln!(out, "    {line}");
    }
    if !trouble.is_empty() {
        let _ = writeln!(out, "    {trouble}");
    }
}
