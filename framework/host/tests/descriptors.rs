//! Many inodes under a limit of few descriptors. Alone in its process, for the limit is the
//! process's.

use std::ffi::OsStr;

use hsci_extension::{Call, FileSystem, Ino};
use hsci_host::lower::LowerTree;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::CapabilitySet;

const LIMIT: u64 = 256;

fn name(number: usize) -> String {
    format!("{number:05}")
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("own descriptors").count()
}

#[test]
fn a_large_tree_works_under_a_small_limit() {
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) })
        .expect("a lower limit");
    walk(20_000);
    // Without the capabilities for opening by handle, every inode is found by its name again.
    let mut sets = rustix::thread::capabilities(None).expect("capabilities");
    let ways_past = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
    sets.effective.remove(ways_past);
    sets.permitted.remove(ways_past);
    rustix::thread::set_capabilities(None, sets).expect("fewer capabilities");
    walk(2_000);
}

fn walk(files: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = std::fs::File::open(directory.path()).expect("open it");
    let tree = LowerTree::open(root.into()).expect("serve it");
    let call = Call::new(
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
        std::process::id(),
    );
    let before = open_descriptors();
    let mut made: Vec<Ino> = Vec::with_capacity(files);
    for number in 0..files {
        let name = name(number);
        let entry = tree.mknod(&call, Ino::ROOT, OsStr::new(&name), 0o100_400, 0).expect("mknod");
        made.push(entry.ino);
    }
    // Their descriptors are closed by now, and their mode denies writing.
    for (number, ino) in made.iter().enumerate() {
        tree.write(&call, *ino, 0, name(number).as_bytes()).expect("write");
    }
    assert!(open_descriptors() - before < LIMIT as usize / 2);

    // A hard link that lost the name by which it was met, and an operation that fails on the other.
    let (first, second) = (name(0), OsStr::new("second"));
    tree.link(&call, made[0], Ino::ROOT, second).expect("link");
    tree.unlink(&call, Ino::ROOT, second).expect("unlink");
    tree.rmdir(&call, Ino::ROOT, OsStr::new(&first)).expect_err("it is a file");

    let mut buffer = [0; 8];
    // The first one last, when its descriptor has fallen out of the cache.
    for (number, ino) in made.iter().enumerate().rev() {
        let read = tree.read(&call, *ino, 0, &mut buffer).expect("read");
        assert_eq!(buffer[..read], *name(number).as_bytes());
    }
    assert_eq!(tree.counts().0, files + 1);
    for ino in made {
        tree.forget(ino, 2);
    }
    assert_eq!(tree.counts().0, 1);
    assert!(tree.counts().1 <= 1, "of the root alone");
}
