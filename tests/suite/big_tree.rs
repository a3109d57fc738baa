//! A large tree under a small limit of descriptors.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "big_tree::nullfs_walks_200_000_files", seconds: 240, body: nullfs },
    Test { name: "big_tree::compressfs_walks_200_000_files", seconds: 240, body: compressfs },
];

const DIRECTORIES: usize = 400;
const FILES_EACH: usize = 500;
/// Limit of open descriptors of the worker.
const LIMIT: usize = 1024;

fn nullfs(dir: &Path) {
    walk(dir, "nullfs", "");
}

fn compressfs(dir: &Path) {
    walk(dir, "compressfs", "settle=10m");
}

fn walk(dir: &Path, extension: &str, options: &str) {
    let limit = format!("--nofile={LIMIT}:{LIMIT}");
    Run::new("prlimit").args(["--pid", &std::process::id().to_string(), &limit]).ok();
    let mount = Mount::new(dir, "mount", extension, options);
    for number in 0..DIRECTORIES {
        let parent = mount.lower().join(format!("d{:02}/d{number:03}", number % 20));
        fs::create_dir_all(&parent).expect("directory");
        for file in 0..FILES_EACH {
            let path = parent.join(format!("file-{file:03}"));
            fs::write(path, format!("{number}/{file}")).expect("file");
        }
    }
    let workers = machine::workers(mount.lower());
    assert!(!workers.is_empty(), "no worker was found");
    // Lists with attributes, so that the kernel knows each inode; then reads some.
    let count = Run::shell(format!("find '{}' -type f -size -2 | wc -l", mount.dir().display()));
    assert_eq!(count.ok().trim(), (DIRECTORIES * FILES_EACH).to_string());
    let open = most_descriptors(&workers);
    println!("{open} descriptors are open in the worker after the walk");
    assert!(open < LIMIT * 3 / 4, "{open} descriptors of {LIMIT}");
    for number in (0..DIRECTORIES).step_by(7) {
        let parent = mount.path(&format!("d{:02}/d{number:03}", number % 20));
        for file in (0..FILES_EACH).step_by(50) {
            let found = fs::read_to_string(parent.join(format!("file-{file:03}"))).expect("read");
            assert_eq!(found, format!("{number}/{file}"));
        }
    }
    // Unlinked files that stay open keep what the worker holds for them, and are bounded as well.
    let parent = mount.path("d00/d000");
    let held: Vec<fs::File> = (0..100)
        .map(|file| {
            let path = parent.join(format!("file-{file:03}"));
            let open = fs::File::open(&path).expect("open");
            fs::remove_file(path).expect("remove");
            open
        })
        .collect();
    for (number, file) in held.iter().enumerate() {
        let text = std::io::read_to_string(file).expect("an unlinked file stays readable");
        assert_eq!(text, format!("0/{number}"));
    }
    assert!(most_descriptors(&workers) < LIMIT, "within the limit");
}

fn most_descriptors(workers: &BTreeSet<u32>) -> usize {
    let count = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).expect("a live worker").count();
    workers.iter().map(count).max().unwrap_or(0)
}
