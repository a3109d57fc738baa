//! How many system calls the host takes for what programs do: at most what the book says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hsci_tests::{Mount, machine};
use syscalls::Sysno;

use super::kernel_trace::KernelTrace;
use super::{Counts, TABLE, TIMES, create, hold, path, prepare, read};

/// Where the book says it, and under which heading.
pub(super) const PAGE: &str = "docs/src/explanation/figures.md";
const HEADING: &str = "## System calls for an operation";
/// The kernel goes on after it has answered, and the supervisor after the worker has: this long without a call is the end
/// of it.
pub(super) const QUIET: Duration = Duration::from_millis(250);
/// Quiet is waited for so many times.
const TURNS: u32 = 40;

pub(super) fn nullfs(dir: &Path) {
    compare(dir, "nullfs", "", 1);
}

pub(super) fn compressfs(dir: &Path) {
    compare(dir, "compressfs", "settle=10m,commit=0", 2);
}

/// Compares with a column of the table.
fn compare(dir: &Path, extension: &str, options: &str, column: usize) {
    let trace = KernelTrace::new(dir, "raw_syscalls/sys_enter");
    let mut mount = Mount::new(dir, "mount", extension, options);
    let mut table = Table { limits: limits(HEADING, column), complaints: Vec::new() };
    let dir = prepare(&mount);
    trace.watch(&threads(mount.lower()));
    let mut held = vec![path(&dir)];
    for (what, requests, work) in TABLE {
        if what.contains("warm") {
            (0..TIMES).for_each(|number| work(&dir, number));
        }
        if *what == "unlink" {
            held.clear();
        }
        let counts = count(&trace, || (0..TIMES).for_each(|number| work(&dir, number)));
        assert!(*requests < 4 || counts.values().sum::<u64>() >= TIMES, "{what}: not counted");
        table.expect(what, &counts);
        if held.len() == 1 {
            held.extend(hold(&dir));
        }
    }
    table
        .expect("rmdir", &count(&trace, || (0..TIMES).for_each(|number| remove_dir(&dir, number))));
    (0..TIMES).for_each(|number| create(&dir, number));
    if extension == "compressfs" {
        mount.settle();
    }
    mount.remount();
    trace.watch(&threads(mount.lower()));
    table.expect("list and stat, cold", &count(&trace, || list_with_attributes(&dir)));
    let _held = hold(&dir);
    table.expect(
        "first read, cold",
        &count(&trace, || (0..TIMES).for_each(|number| read(&dir, number))),
    );
    let complaints = table.complaints;
    assert!(complaints.is_empty(), "more system calls than said:\n{}", complaints.join("\n"));
}

/// Taken where threads meet, which is a matter of chance on a busy machine: at most three for an operation.
const MEETING: [&str; 2] = ["futex", "sched_yield"];
/// Taken when memory is first wanted, not by each operation: at most one for two.
const MEMORY: [&str; 5] = ["mmap", "munmap", "mprotect", "madvise", "brk"];
/// The supervisor's, between bursts of descriptors: as many as the machine is slow, at most one for an operation. After
/// each it finds out that there is no more.
const BETWEEN: [&str; 1] = ["clock_nanosleep"];

struct Table {
    limits: Vec<(String, f64)>,
    complaints: Vec<String>,
}

impl Table {
    fn expect(&mut self, what: &str, counts: &Counts) {
        let of = |names: &[&str]| {
            let chosen = counts.iter().filter(|(name, _)| names.contains(&name.as_str()));
            chosen.map(|(_, count)| count).sum::<u64>() as f64 / TIMES as f64
        };
        let all = counts.values().sum::<u64>() as f64 / TIMES as f64;
        let (meeting, memory, between) = (of(&MEETING), of(&MEMORY), of(&BETWEEN));
        let each = all - meeting - memory - 2.0 * between;
        let limit = self.limits.iter().find(|(name, _)| name == what);
        let limit = limit.unwrap_or_else(|| panic!("{PAGE} says nothing of: {what}")).1;
        println!("{what}: {each:.2} of {limit}: {counts:?}");
        // A few for what happens once, whatever the repetitions.
        if each > limit + 0.4 || meeting > 3.0 || memory > 0.5 || between > 1.0 {
            self.complaints.push(format!("{what}: {each:.2}, not {limit}: {counts:?}"));
        }
    }
}

pub(super) fn remove_dir(dir: &Path, number: u64) {
    fs::remove_dir(dir.join(format!("dir-{number}"))).expect("rmdir");
}

pub(super) fn list_with_attributes(dir: &Path) {
    let entries = fs::read_dir(dir).expect("list");
    assert!(
        entries.filter(|entry| entry.as_ref().is_ok_and(|it| it.metadata().is_ok())).count() > 50
    );
}

fn count(trace: &KernelTrace, work: impl FnOnce()) -> Counts {
    trace.clear();
    work();
    let mut counts = calls(trace);
    for _ in 0..TURNS {
        std::thread::sleep(QUIET);
        let before = std::mem::replace(&mut counts, calls(trace));
        if counts == before {
            return counts;
        }
    }
    panic!("no end to the calls: {counts:?}");
}

fn calls(trace: &KernelTrace) -> Counts {
    trace.counts(|line| {
        let number = line.split_once("sys_enter: NR ")?.1.split(' ').next()?.parse().ok()?;
        // In a build with assertions, closing a descriptor asks first whether it is open.
        let is_asserted = cfg!(debug_assertions) && number == Sysno::fcntl.id() as usize;
        (!is_asserted)
            .then(|| Sysno::new(number).map_or_else(|| number.to_string(), |call| call.to_string()))
    })
}

/// A filter for the threads of a mount that work on requests: event loops of the worker, and the supervisor's for its
/// descriptors.
fn threads(lower: &Path) -> String {
    let worker = machine::workers(lower).pop_first().expect("a worker");
    let status = fs::read_to_string(format!("/proc/{worker}/status")).expect("a process");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
    let parent = parent.trim().parse().expect("a number");
    let threads = loops(worker).into_iter().chain(named(parent, "descriptors"));
    let conditions: Vec<String> = threads.map(|id| format!("common_pid == {id}")).collect();
    conditions.join(" || ")
}

/// The event loops of a worker.
pub(super) fn loops(worker: u32) -> Vec<u32> {
    // A loop has its name when it runs.
    std::thread::sleep(QUIET);
    let loops = named(worker, "fuser-");
    assert!(loops.len() > 1, "event loops: {loops:?}");
    loops
}

/// Threads of a process whose names begin so.
fn named(process: u32, start: &str) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("threads");
    let number = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a thread");
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let number = || entry.file_name().to_string_lossy().parse().expect("a number");
        name.starts_with(start).then(number)
    };
    threads.filter_map(number).collect()
}

/// What the book says under a heading: operations, and what one takes.
pub(super) fn limits(heading: &str, column: usize) -> Vec<(String, f64)> {
    let page = fs::read_to_string(machine::project().join(PAGE)).expect("the page");
    let section = page.split_once(heading).expect("the heading").1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        Some((cells[0].to_owned(), cells.get(column)?.parse().ok()?))
    };
    section.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}
