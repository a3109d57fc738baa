//! How often the event loops ask for memory for what programs do: at most what the book says.

use std::fs;
use std::io::ErrorKind::{NotFound, PermissionDenied, Unsupported};
use std::path::Path;

use hsci_tests::sys::calls::Allocations;
use hsci_tests::{Mount, machine, skip};

use super::system_calls::{PAGE, limits, list_with_attributes, loops, remove_dir};
use super::{TABLE, TIMES, create, hold, path, prepare, read};

const HEADING: &str = "## Allocations for an operation";

pub(super) fn nullfs(dir: &Path) {
    compare(dir, "nullfs", "", 1);
}

pub(super) fn compressfs(dir: &Path) {
    compare(dir, "compressfs", "settle=10m,commit=0", 2);
}

/// Files that are known already: tables grow seldom from there on, and no file is taken out of use yet.
const MANY: u64 = 700;

/// Compares with a column of the table.
fn compare(base: &Path, extension: &str, options: &str, column: usize) {
    machine::need_root();
    let mut mount = Mount::new(base, "mount", extension, options);
    let mut table = Table { limits: limits(HEADING, column), complaints: Vec::new() };
    let dir = prepare(&mount);
    let many = mount.path("many");
    fs::create_dir(&many).expect("directory");
    (0..MANY).for_each(|number| create(&many, number));
    let allocations = start(&mount);
    let mut held = vec![path(&dir)];
    for (what, _, work) in TABLE {
        if what.contains("warm") {
            (0..TIMES).for_each(|number| work(&dir, number));
        }
        if *what == "unlink" {
            held.clear();
        }
        table.expect(what, &allocations, || (0..TIMES).for_each(|number| work(&dir, number)));
        if held.len() == 1 {
            held.extend(hold(&dir));
        }
    }
    table.expect("rmdir", &allocations, || (0..TIMES).for_each(|number| remove_dir(&dir, number)));
    (0..TIMES).for_each(|number| create(&dir, number));
    if extension == "compressfs" {
        mount.settle();
    }
    mount.remount();
    (0..MANY).for_each(|number| read(&many, number));
    let allocations = start(&mount);
    table.expect("list and stat, cold", &allocations, || list_with_attributes(&dir));
    let held = hold(&dir);
    let read = || (0..TIMES).for_each(|number| read(&dir, number));
    table.expect("first read, cold", &allocations, read);
    drop(held);
    let options = [options, "profile=data"].join(",");
    opened(&Mount::new(base, "data", extension, options.trim_matches(',')), &mut table);
    let complaints = table.complaints;
    assert!(complaints.is_empty(), "more allocations than said:\n{}", complaints.join("\n"));
}

/// Opens that the kernel serves by itself.
fn opened(mount: &Mount, table: &mut Table) {
    let dir = mount.path("dir");
    fs::create_dir(&dir).expect("directory");
    (0..TIMES).for_each(|number| create(&dir, number));
    let _held = hold(&dir);
    let read = || (0..TIMES).for_each(|number| read(&dir, number));
    read();
    table.expect("open, read, close, profile=data", &start(mount), read);
}

fn start(mount: &Mount) -> Allocations {
    let worker = machine::workers(mount.lower()).pop_first().expect("a worker");
    match Allocations::of(&loops(worker)) {
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied | Unsupported) => {
            skip(&format!("the kernel counts no calls in programs: {error}"))
        }
        allocations => allocations.expect("counters"),
    }
}

struct Table {
    limits: Vec<(String, f64)>,
    complaints: Vec<String>,
}

impl Table {
    fn expect(&mut self, what: &str, allocations: &Allocations, work: impl FnOnce()) {
        let count = || allocations.count().expect("a count");
        let before = count();
        work();
        let each = (count() - before) as f64 / TIMES as f64;
        let limit = self.limits.iter().find(|(name, _)| name == what);
        let limit = limit.unwrap_or_else(|| panic!("{PAGE} says nothing of: {what}")).1;
        println!("{what}: {each:.2} of {limit}");
        // A few for what happens once, whatever the repetitions.
        if each > limit + 0.4 {
            self.complaints.push(format!("{what}: {each:.2}, not {limit}"));
        }
    }
}
