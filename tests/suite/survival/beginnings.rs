//! Workers that are killed while they begin.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Random, machine};
use rustix::process::{Pid, Signal, kill_process};

use super::{pid, worker};

/// With requests that filled their buffers for the first time, one kill in 25 failed a write.
const KILLS: usize = 150;
/// With calls that wait, a kill failed two writes. With more kills they would wait for each other in the end.
const FEW_KILLS: usize = 9;
const WAITING: usize = 60;
const LONGEST: usize = 1 << 20;

/// The longest requests are handed to workers that are killed within milliseconds of their start.
pub(super) fn fail_no_write(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "nullfs", "");
    let mut random = Random::new(Random::seed("beginnings"));
    let supervisor = pid(&mount, "supervisor_pid");
    write_while(&mount, 3, || kill_beginners(supervisor, KILLS, 12_000, &mut random));
    mount.unmount();
    mount.check();
}

/// Kills the workers of so many calls that wait that loops are added for them, while those begin; other calls bring
/// the longest requests.
pub(super) fn fail_no_write_of_added_loops(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "slow", "");
    let mut random = Random::new(Random::seed("added loops"));
    let supervisor = pid(&mount, "supervisor_pid");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&ended);
        wait_in_reads(scope, &mount, &ended);
        write_while(&mount, 4, || kill_beginners(supervisor, FEW_KILLS, 60_000, &mut random));
    });
    mount.unmount();
}

/// A limit of threads keeps loops from being started. When it is gone, they are: those that there are not had not
/// been counted.
pub(super) fn begin_when_they_can(dir: &Path) {
    let group = machine::ControlGroup::of_threads();
    let mut mount = Mount::new(dir, "mount", "slow", "");
    group.take(pid(&mount, "worker_pid"));
    let few = group.threads() + 40;
    group.limit(&few.to_string());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&ended);
        wait_in_reads(scope, &mount, &ended);
        let until = |done: &dyn Fn() -> bool| {
            let begun = Instant::now();
            while !done() {
                assert!(begun.elapsed() < Duration::from_secs(60), "{} threads", group.threads());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until(&|| group.refusals() > 0);
        group.limit("max");
        until(&|| group.threads() > few + WAITING);
    });
    mount.unmount();
}

/// Also when a test has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads, from so many threads, files that take their time.
fn wait_in_reads<'a>(scope: &'a std::thread::Scope<'a, '_>, mount: &Mount, ended: &'a AtomicBool) {
    let paths: Vec<_> = (0..WAITING).map(|number| mount.path(&format!("slow-{number}"))).collect();
    for path in &paths {
        std::fs::write(path, "text").expect("written");
    }
    for path in paths {
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                assert!(std::fs::read(&path).expect("read") == b"text");
            }
        });
    }
}

/// Writes the longest requests from so many threads while something happens; none of them fails.
fn write_while(mount: &Mount, writers: usize, happens: impl FnOnce()) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&ended);
        let write = |number| {
            let (path, ended) = (mount.path(&format!("file-{number}")), &ended);
            scope.spawn(move || write_until(ended, &path).map_err(|error| error.to_string()))
        };
        let writers: Vec<_> = (0..writers).map(write).collect();
        happens();
        ended.store(true, Ordering::Relaxed);
        let written: Vec<_> =
            writers.into_iter().map(|writer| writer.join().expect("it ends")).collect();
        println!("writes of {LONGEST} bytes: {written:?}");
        assert!(written.iter().all(|done| matches!(done, Ok(1..))), "{written:?}");
    });
}

/// Kills one worker after the other, within so many microseconds of its start, or of the first 110 ms.
fn kill_beginners(supervisor: Pid, kills: usize, within: u64, random: &mut Random) {
    let mut last = None;
    for number in 0..kills {
        let begun = next(supervisor, last);
        // Workers that last less than 100 ms one after another are replaced after pauses.
        let lasts = if number % 2 == 0 { 0 } else { 110_000 };
        std::thread::sleep(Duration::from_micros(lasts + random.below(within)));
        kill_process(begun, Signal::KILL).expect("a worker to kill");
        last = Some(begun);
    }
}

/// How many writes there were: one at least, however busy the machine is.
fn write_until(ended: &AtomicBool, path: &Path) -> std::io::Result<u64> {
    let (file, bytes) = (File::create(path)?, vec![b'x'; LONGEST]);
    let mut count = 0;
    loop {
        file.write_all_at(&bytes, 0)?;
        count += 1;
        if ended.load(Ordering::Relaxed) {
            return Ok(count);
        }
    }
}

/// The worker that has begun after this one.
fn next(supervisor: Pid, last: Option<Pid>) -> Pid {
    let begun = Instant::now();
    loop {
        if let Some(next) = worker(supervisor).filter(|next| Some(*next) != last) {
            return next;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no other worker begins");
        std::thread::sleep(Duration::from_millis(1));
    }
}
