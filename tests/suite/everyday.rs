//! What a program was told is written stays written, whatever ends a mount.

pub(crate) mod grows;
pub(crate) mod stays;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Run, Test, machine};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "everyday::no_end_of_the_processes_loses_a_line", seconds: 300, body: ends },
    Test {
        name: "everyday::sync_saves_what_was_written_before_the_window",
        seconds: 120,
        body: power_cut_after_sync,
    },
    Test {
        name: "everyday::a_full_disk_fails_no_fsync_and_no_overwrite",
        seconds: 120,
        body: full,
    },
];

/// How a file is stored when the lines come that are in the book only.
const FORMS: [&str; 3] = ["raw", "sealed", "log"];
const LINES: usize = 20;

/// A signal to one of the two processes that serve a mount.
type Blow = (&'static str, Signal);

const ENDS: [[Blow; 2]; 6] = [
    [("worker_pid", Signal::KILL), ("supervisor_pid", Signal::KILL)],
    [("supervisor_pid", Signal::KILL), ("worker_pid", Signal::KILL)],
    [("worker_pid", Signal::TERM), ("supervisor_pid", Signal::TERM)],
    [("supervisor_pid", Signal::TERM), ("worker_pid", Signal::TERM)],
    [("supervisor_pid", Signal::TERM), ("worker_pid", Signal::KILL)],
    [("supervisor_pid", Signal::KILL), ("worker_pid", Signal::TERM)],
];

/// A file whose lines are known, in the given form, with lines that nobody has synced.
fn written(mount: &Mount, form: &str) -> String {
    let mut book = String::new();
    let path = mount.path("log");
    let mut file = OpenOptions::new().append(true).create(true).open(&path).expect("a file");
    let mut add = |file: &mut File, from: usize, to: usize| {
        for number in from..to {
            let line = format!("line {number} of the book, long enough to be worth compressing\n");
            file.write_all(line.as_bytes()).expect("a line");
            book.push_str(&line);
        }
    };
    add(&mut file, 0, 6000);
    if form != "raw" {
        mount.settle();
    }
    if form == "log" {
        add(&mut file, 6000, 6000 + LINES);
        file.sync_all().expect("fsync");
    }
    add(&mut file, 7000, 7000 + LINES);
    book
}

fn ends(dir: &Path) {
    for (number, blows) in ENDS.into_iter().enumerate() {
        for form in FORMS {
            // Nothing but the end brings anything into the store.
            let mut mount =
                Mount::new(dir, &format!("{form}{number}"), "compressfs", "settle=1h,commit=0");
            let book = written(&mount, form);
            let status = mount.status();
            let pids = blows.map(|(whose, _)| {
                Pid::from_raw(status[whose].as_i64().expect("a process") as i32).expect("a process")
            });
            for (pid, (_, signal)) in pids.iter().zip(blows) {
                // One may have ended with the other.
                let _ = kill_process(*pid, signal);
            }
            wait_for_end(&pids);
            while Run::new("umount").arg("-l").arg(mount.dir()).done().code == 0 {}
            mount.mount();
            let found = std::fs::read_to_string(mount.path("log")).expect("the file");
            assert!(
                found == book,
                "{form}, {blows:?}: {} of {} lines",
                found.lines().count(),
                book.lines().count()
            );
            mount.unmount();
            mount.check();
        }
    }
}

/// Another worker may have followed the one that was killed first, and ends with the mount.
fn wait_for_end(pids: &[Pid]) {
    let begun = Instant::now();
    while pids.iter().any(|pid| test_kill_process(*pid).is_ok()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{pids:?} do not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A log that never rests, `sync`, and a cut: of what was written before the window, nothing is lost.
fn power_cut_after_sync(dir: &Path) {
    machine::need_root();
    let (image, lower) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 128 << 20, &image, &lower);
    for form in FORMS {
        let store = lower.join(form);
        let shown = dir.join(form);
        for made in [&store, &shown] {
            std::fs::create_dir_all(made).expect("a directory");
        }
        let mount = Mount::at(&store, &shown, "compressfs", "settle=1h,commit=1");
        let before = written(&mount, form);
        let mut file = OpenOptions::new().append(true).open(mount.path("log")).expect("a file");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2500) {
            file.write_all(b"a line every tenth of a second\n").expect("a line");
            std::thread::sleep(Duration::from_millis(100));
        }
        Run::new("sync").ok();
        let copy = dir.join(format!("{form}.copy"));
        Run::new("cp").arg("--sparse=always").arg(&image).arg(&copy).ok();
        let (at, again) = (dir.join(format!("{form}.disk")), dir.join(format!("{form}.again")));
        let _copied = machine::loop_mount(&copy, &at);
        std::fs::create_dir_all(&again).expect("a directory");
        let found = Mount::at(&at.join(form), &again, "compressfs", "settle=1h");
        let found = std::fs::read_to_string(found.path("log")).expect("the file");
        assert!(
            found.starts_with(&before),
            "{form}: {} of {} lines",
            found.lines().count(),
            before.lines().count()
        );
    }
}

/// On a full disk a write fails, and neither the fsync of what was acknowledged nor an overwrite of what
/// has its place.
fn full(dir: &Path) {
    machine::need_root();
    let (image, lower) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &lower);
    let (store, shown) = (lower.join("store"), dir.join("shown"));
    for made in [&store, &shown] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    let mut mount = Mount::at(&store, &shown, "compressfs", "settle=1h,commit=0");
    let mut book = written(&mount, "sealed").into_bytes();
    let path = mount.path("log");
    fill(&lower.join("ballast"));
    let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
    file.sync_all().expect("fsync of acknowledged lines on a full disk");
    let at = book.len() as u64 - 30;
    for round in 0..5_u8 {
        let over = [b'0' + round; 20];
        let writer = OpenOptions::new().write(true).open(&path).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&writer, &over, at).expect("an overwrite");
        writer.sync_all().expect("fsync of an overwrite");
        book[at as usize..][..20].copy_from_slice(&over);
    }
    // New lines may fail; those that do not are kept.
    for number in 0..2000 {
        let line = format!("line {number} on a full disk\n");
        if file.write_all(line.as_bytes()).is_err() {
            break;
        }
        book.extend(line.as_bytes());
        file.sync_all().expect("fsync of what was acknowledged");
    }
    drop(file);
    mount.unmount();
    std::fs::remove_file(lower.join("ballast")).expect("removed");
    mount.mount();
    let found = std::fs::read(&path).expect("the file");
    assert!(found.starts_with(&book), "{} of {} bytes", found.len(), book.len());
}

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("a file");
    for len in [1 << 20, 4096, 512] {
        while ballast.write_all(&vec![1; len]).is_ok() {}
        let _ = ballast.sync_all();
    }
}
