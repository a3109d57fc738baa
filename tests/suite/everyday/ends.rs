//! Every way in which a mount ends, against every form of a file: what was acknowledged is in a book, and is there
//! afterwards.
//!
//! One mount has a file of each form, so a row of the table is one life of a mount: it is filled, a writer goes on in
//! a file that grows, the end comes, and everything is read. `HSCI_ENDS` says how many times more the table is gone
//! through, with both kinds of mounts, and the end at some time of the writer's work.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Random, Run, Test, machine};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "everyday::ends::no_end_loses_a_line_of_any_form", seconds: 1500, body: table },
    Test {
        name: "everyday::ends::sync_saves_every_form_from_a_cut_of_the_power",
        seconds: 300,
        body: cuts,
    },
];

/// How the files are mounted; `commit=0` where nothing but the end brings anything into the store.
const OPTIONS: [&str; 2] =
    ["settle=1h,scan=no,commit=0,chunk=32K,segment=64K", "settle=1h,scan=no,commit=0,profile=data"];

/// What is in the book: files, with what was acknowledged.
type Book = BTreeMap<&'static str, Vec<u8>>;

fn lines(from: usize, count: usize) -> Vec<u8> {
    let line = |number| format!("line {number} of the book, long enough to be worth compressing\n");
    (from..from + count).flat_map(|number| line(number).into_bytes()).collect()
}

/// Writes a file of each form.
fn fill(mount: &Mount) -> Book {
    let mut book = Book::new();
    let append = |book: &mut Book, name: &'static str, data: &[u8]| -> File {
        let path = mount.path(name);
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
        file.write_all(data).expect("written");
        book.entry(name).or_default().extend(data);
        file
    };
    let stored = ["sealed", "changed", "committed", "truncated", "segments", "segments-changed"];
    for name in stored {
        append(&mut book, name, &lines(0, 4000));
    }
    mount.settle();
    // More segments, one after the other.
    for round in 1..3 {
        for name in ["segments", "segments-changed"] {
            append(&mut book, name, &lines(round * 10_000, 3000));
        }
        mount.settle();
    }
    append(&mut book, "raw", &lines(0, 300));
    append(&mut book, "committed", &lines(50_000, 20)).sync_all().expect("fsync");
    for name in ["changed", "segments-changed", "committed"] {
        let file = append(&mut book, name, &lines(60_000, 20));
        drop(file);
        let file = OpenOptions::new().write(true).open(mount.path(name)).expect("a file");
        file.write_all_at(b"in the middle", 100_000).expect("written");
        book.get_mut(name).expect("it is in the book")[100_000..100_013]
            .copy_from_slice(b"in the middle");
    }
    let file = OpenOptions::new().write(true).open(mount.path("truncated")).expect("a file");
    file.set_len(77_777).expect("truncated");
    book.get_mut("truncated").expect("it is in the book").truncate(77_777);
    book
}

/// Appends lines, a short while apart, until it is told to stop or a write fails.
struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(mount: &Mount) -> Self {
        let path = mount.path("growing");
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("a file");
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (ends, book) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let write = move || {
            for number in 0.. {
                let line = lines(number, 1);
                if ends.load(Ordering::Acquire) || file.write_all(&line).is_err() {
                    return;
                }
                book.lock().expect("the book").extend(line);
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        Self { stop, acknowledged, thread: Some(std::thread::spawn(write)) }
    }

    fn wait_for_lines(&self) {
        wait(|| self.acknowledged.lock().expect("the book").len() > 1000, "no line is written");
    }

    /// Ends, if it has not yet; returns what was acknowledged.
    fn stop(&mut self) -> Vec<u8> {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer");
        }
        self.acknowledged.lock().expect("the book").clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn wait(mut until: impl FnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A life of a mount under an end.
struct Life {
    mount: Mount,
    /// The file system below.
    disk: PathBuf,
    writer: Writer,
}

/// An end, and whether the mount serves afterwards.
type End = (&'static str, fn(&mut Life) -> bool);

const ENDS: &[End] = &[
    ("KILL of the worker", |life| life.signal(&[("worker_pid", Signal::KILL)], true)),
    ("TERM of the worker", |life| life.signal(&[("worker_pid", Signal::TERM)], true)),
    ("KILL of the supervisor", |life| life.signal(&[("supervisor_pid", Signal::KILL)], false)),
    ("TERM of the supervisor", |life| life.signal(&[("supervisor_pid", Signal::TERM)], false)),
    ("KILL of worker, supervisor", |life| life.both(true, [Signal::KILL; 2])),
    ("KILL of supervisor, worker", |life| life.both(false, [Signal::KILL; 2])),
    ("TERM of worker, supervisor", |life| life.both(true, [Signal::TERM; 2])),
    ("TERM of supervisor, worker", |life| life.both(false, [Signal::TERM; 2])),
    ("TERM of the supervisor, KILL of the worker", |life| {
        life.both(false, [Signal::TERM, Signal::KILL])
    }),
    ("KILL of the supervisor, TERM of the worker", |life| {
        life.both(false, [Signal::KILL, Signal::TERM])
    }),
    ("the control group, killed", Life::kill_group),
    ("logout", Life::log_out),
    ("unmount on a full disk", Life::unmount_full),
    ("unmount", Life::unmount),
    ("remount", Life::remount),
    ("upgrade", Life::upgrade),
    ("freeze and thaw", Life::freeze),
];

impl Life {
    fn pid(&self, whose: &str) -> Pid {
        let number = self.mount.status()[whose].as_i64().expect("a process");
        Pid::from_raw(number as i32).expect("a process")
    }

    /// Sends the signals; the processes end, and others serve in their place, or none.
    fn signal(&mut self, blows: &[(&str, Signal)], is_served: bool) -> bool {
        // As an order to unmount, TERM is refused while somebody has a file open.
        if blows.contains(&("supervisor_pid", Signal::TERM)) {
            self.writer.stop();
        }
        let pids: Vec<Pid> = blows.iter().map(|(whose, _)| self.pid(whose)).collect();
        for (pid, (_, signal)) in pids.iter().zip(blows) {
            // One may have ended with the other.
            let _ = kill_process(*pid, *signal);
        }
        // A worker leaves TERM to its supervisor, and goes on.
        if !(is_served && blows.iter().all(|(_, signal)| *signal == Signal::TERM)) {
            wait_for_end(&pids);
        }
        is_served
    }

    fn both(&mut self, worker_first: bool, signals: [Signal; 2]) -> bool {
        let mut whose = ["worker_pid", "supervisor_pid"];
        if !worker_first {
            whose.reverse();
        }
        self.signal(&[(whose[0], signals[0]), (whose[1], signals[1])], false)
    }

    /// At once, as `cgroup.kill` and the stop of a service that does not end.
    fn kill_group(&mut self) -> bool {
        let pids = ["worker_pid", "supervisor_pid"].map(|whose| self.pid(whose));
        let group = Path::new("/sys/fs/cgroup").join(format!("hsci-ends-{}", std::process::id()));
        let is_grouped = std::fs::create_dir(&group).is_ok()
            && group.join("cgroup.kill").exists()
            && pids.iter().all(|pid| {
                std::fs::write(group.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).is_ok()
            });
        if is_grouped {
            std::fs::write(group.join("cgroup.kill"), "1").expect("killed");
        } else {
            for pid in pids {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        wait_for_end(&pids);
        let _ = std::fs::remove_dir(&group);
        false
    }

    /// What a session's processes get when it ends: HUP from the terminal, TERM from the manager, and KILL when it
    /// has waited.
    fn log_out(&mut self) -> bool {
        let pids = ["supervisor_pid", "worker_pid"].map(|whose| self.pid(whose));
        for signal in [Signal::HUP, Signal::TERM] {
            for pid in pids {
                let _ = kill_process(pid, signal);
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20)
            && pids.iter().any(|pid| test_kill_process(*pid).is_ok())
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
        }
        wait_for_end(&pids);
        false
    }

    fn unmount(&mut self) -> bool {
        self.writer.stop();
        self.mount.remount();
        true
    }

    /// It ends in order, or is refused and stays.
    fn unmount_full(&mut self) -> bool {
        self.writer.stop();
        let ballast = self.disk.join("ballast");
        let mut file = File::create(&ballast).expect("a file");
        for len in [1 << 20, 4096, 512] {
            while file.write_all(&vec![1; len]).is_ok() {}
            let _ = file.sync_all();
        }
        drop(file);
        let done = self.mount.hsci(["unmount"]);
        assert!(matches!(done.code, 0 | 7), "{}: {}", done.code, done.err);
        std::fs::remove_file(&ballast).expect("removed");
        if done.code == 0 {
            self.mount.mount();
        }
        true
    }

    fn remount(&mut self) -> bool {
        self.writer.stop();
        for mode in ["ro", "rw"] {
            // As mount(8) calls its helper.
            let run = Run::new(machine::hsci()).arg(self.mount.lower()).arg(self.mount.dir());
            run.args(["-o", &format!("remount,{mode}")]).ok();
        }
        true
    }

    fn upgrade(&mut self) -> bool {
        self.mount.hsci(["upgrade"]).ok();
        true
    }

    fn freeze(&mut self) -> bool {
        let run = |flag| Run::new("fsfreeze").arg(flag).arg(&self.disk).done();
        let frozen = run("-f");
        std::thread::sleep(Duration::from_millis(100));
        let thawed = run("-u");
        assert_eq!((frozen.code, thawed.code), (0, 0), "{} {}", frozen.err, thawed.err);
        true
    }
}

/// Another worker may have followed the one that was killed first, and ends with the mount.
fn wait_for_end(pids: &[Pid]) {
    wait(|| pids.iter().all(|pid| test_kill_process(*pid).is_err()), "the processes do not end");
}

/// Everything that is in the book is in the files, and nothing after it but a line that was being written.
fn verify(dir: &Path, book: &Book, context: &str) {
    for (name, expected) in book {
        let found = std::fs::read(dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let more = found.len().saturating_sub(expected.len());
        let allowed = if *name == "growing" { 200 } else { 0 };
        assert!(
            found.starts_with(expected) && more <= allowed,
            "{context}: {name}: {} of {} bytes",
            found.len(),
            expected.len()
        );
    }
}

/// With `bound`, the next mount reaches the store through another mount of the file system below.
fn live(dir: &Path, disk: &Path, options: &str, (name, end): End, pause: Duration, bound: bool) {
    let context = format!("{name}, {options}");
    let place = format!("{}-{}", name.replace([' ', ','], "-"), options.len());
    let (store, shown) = (disk.join(&place), dir.join(&place));
    for made in [&store, &shown] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    let mount = Mount::at(&store, &shown, "compressfs", options);
    let mut book = fill(&mount);
    let writer = Writer::start(&mount);
    writer.wait_for_lines();
    std::thread::sleep(pause);
    let mut life = Life { mount, disk: disk.to_owned(), writer };
    let is_served = end(&mut life);
    book.insert("growing", life.writer.stop());
    let mut mount = life.mount;
    if is_served {
        verify(mount.dir(), &book, &context);
        mount.unmount();
    } else {
        while Run::new("umount").arg("-l").arg(mount.dir()).done().code == 0 {}
    }
    if bound {
        Run::new("mount").arg("--bind").arg(disk).arg(disk).ok();
    } else if !is_served {
        let copies = dir.join(format!("{place}-copies"));
        Run::new(machine::hsci()).arg("export").arg(&store).arg(&copies).ok();
        verify(&copies, &book, &format!("{context}, exported"));
        std::fs::remove_dir_all(&copies).expect("removed");
    }
    mount.mount();
    verify(mount.dir(), &book, &format!("{context}, mounted again, bound: {bound}"));
    mount.unmount();
    mount.check();
    if bound {
        Run::new("umount").arg(disk).ok();
    }
    std::fs::remove_dir_all(&store).expect("removed");
}

fn table(dir: &Path) {
    machine::need_root();
    machine::need("fsfreeze");
    let (image, disk) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &disk);
    let mut random = Random::new(Random::seed("ends"));
    let rounds = machine::amount("HSCI_ENDS", 0);
    let mut lives = 0;
    for round in 0..=rounds {
        for (number, end) in ENDS.iter().enumerate() {
            for options in OPTIONS {
                // In short, most ends meet the files that the kernel does not serve.
                if rounds == 0 && options == OPTIONS[1] && number % 5 != 0 {
                    continue;
                }
                let pause = if round == 0 { 0 } else { random.below(1500) };
                let bound = number % 2 == 1;
                live(dir, &disk, options, *end, Duration::from_millis(pause), bound);
                lives += 1;
            }
        }
    }
    println!("{lives} lives of a mount, each with a file of 8 forms");
}

/// What makes acknowledged data durable without the file being synced by its writer.
const SYNCS: [(&str, &str); 2] = [
    ("sync", "sync"),
    // The kernel tells FUSE file systems nothing of a syncfs of their own.
    ("syncfs of the file system below", "sync -f \"$2\""),
];

/// Past the window, `sync` by anyone saves every form.
fn cuts(dir: &Path) {
    machine::need_root();
    let (image, disk) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &disk);
    for (number, (name, script)) in SYNCS.iter().enumerate() {
        let options = OPTIONS[usize::from(number == 1)].replace("commit=0", "commit=1");
        let (store, shown) = (disk.join(number.to_string()), dir.join(format!("shown{number}")));
        for made in [&store, &shown] {
            std::fs::create_dir_all(made).expect("a directory");
        }
        let mount = Mount::at(&store, &shown, "compressfs", &options);
        let mut book = fill(&mount);
        let mut writer = Writer::start(&mount);
        writer.wait_for_lines();
        // The window, and as long again for a busy machine.
        let before = writer.acknowledged.lock().expect("the book").clone();
        std::thread::sleep(Duration::from_millis(3000));
        book.insert("growing", before);
        let run = Run::new("bash").args(["-ec", script, "bash"]);
        run.arg(mount.dir()).arg(&disk).ok();
        let copy = dir.join(format!("copy{number}"));
        Run::new("cp").arg("--sparse=always").arg(&image).arg(&copy).ok();
        writer.stop();
        drop(mount);
        let (at, again) = (dir.join(format!("cut{number}")), dir.join(format!("again{number}")));
        let _copied = machine::loop_mount(&copy, &at);
        std::fs::create_dir_all(&again).expect("a directory");
        let mount = Mount::at(&at.join(number.to_string()), &again, "compressfs", &options);
        for (file, expected) in &book {
            let found = std::fs::read(mount.path(file)).expect("the file");
            assert!(
                found.starts_with(expected),
                "{name}: {file}: {} of {} bytes",
                found.len(),
                expected.len()
            );
        }
        drop(mount);
        std::fs::remove_dir_all(&store).expect("removed");
    }
}
