//! Workers that are killed while they begin.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Random};
use rustix::process::{Pid, Signal, kill_process};

use super::{pid, worker};

/// With requests that filled their buffers for the first time, one kill in 25 failed a write.
const KILLS: usize = 150;
const LONGEST: usize = 1 << 20;

/// The longest requests are handed to workers that are killed within milliseconds of their start.
pub(super) fn fail_no_write(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "nullfs", "");
    let mut random = Random::new(Random::seed("beginnings"));
    let supervisor = pid(&mount, "supervisor_pid");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let write = |number| {
            let (path, ended) = (mount.path(&format!("file-{number}")), &ended);
            scope.spawn(move || write_until(ended, &path).map_err(|error| error.to_string()))
        };
        let writers: Vec<_> = (0..3).map(write).collect();
        let mut last = None;
        for number in 0..KILLS {
            let begun = next(supervisor, last);
            // Workers that last less than 100 ms one after another are replaced after pauses.
            let lasts = if number % 2 == 0 { 0 } else { 110_000 };
            std::thread::sleep(Duration::from_micros(lasts + random.below(12_000)));
            kill_process(begun, Signal::KILL).expect("a worker to kill");
            last = Some(begun);
        }
        ended.store(true, Ordering::Relaxed);
        let written: Vec<_> =
            writers.into_iter().map(|writer| writer.join().expect("it ends")).collect();
        println!("{KILLS} kills, writes of {LONGEST} bytes: {written:?}");
        assert!(written.iter().all(|done| matches!(done, Ok(1..))), "{written:?}");
    });
    mount.unmount();
    mount.check();
}

/// How many writes there were.
fn write_until(ended: &AtomicBool, path: &Path) -> std::io::Result<u64> {
    let (file, bytes) = (File::create(path)?, vec![b'x'; LONGEST]);
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        file.write_all_at(&bytes, 0)?;
        count += 1;
    }
    Ok(count)
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
