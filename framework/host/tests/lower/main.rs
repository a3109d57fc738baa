//! The lower directory as a file system, on the file system that holds the temporary directory.
//!
//! Most tests run twice: with all capabilities of root, and without those that let a process open
//! inodes by handle and ignore modes, as a host of an ordinary user runs.

mod content;
mod creation;
mod names;
mod privileges;
mod store;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use hsci_extension::{Call, Entry, Errno, Error, FileSystem, Ino};
use hsci_host::lower::LowerTree;
use rustix::thread::CapabilitySet;

const ROOT: Ino = Ino::ROOT;
const REGULAR: u32 = 0o100_000;

/// A tree over a new directory.
struct Rig {
    tree: Arc<LowerTree>,
    directory: tempfile::TempDir,
    privileged: bool,
}

impl Rig {
    fn new(privileged: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = std::fs::File::open(directory.path()).expect("open it");
        let tree = LowerTree::open(root.into()).expect("serve it");
        Self { tree, directory, privileged }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self, parent: Ino, name: &str, content: &[u8]) -> Entry {
        let mode = REGULAR | 0o644;
        let entry = self.tree.mknod(&me(), parent, OsStr::new(name), mode, 0).expect("make a file");
        self.tree.write(&me(), entry.ino, 0, content).expect("write it");
        entry
    }

    fn dir(&self, parent: Ino, name: &str) -> Ino {
        self.tree.mkdir(&me(), parent, OsStr::new(name), 0o755).expect("make a directory").ino
    }

    fn lookup(&self, parent: Ino, name: &str) -> Result<Entry, Error> {
        self.tree.lookup(&me(), parent, OsStr::new(name))
    }

    fn content(&self, ino: Ino) -> Vec<u8> {
        let mut buffer = vec![0; 64 << 10];
        let read = self.tree.read(&me(), ino, 0, &mut buffer).expect("read");
        buffer.truncate(read);
        buffer
    }
}

fn me() -> Call {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Call::new(uid.as_raw(), gid.as_raw(), std::process::id())
}

/// Runs a test with and without root's ways past permissions, each time in a thread of its own,
/// whose credentials end with it.
fn both(test: fn(&Rig)) {
    for privileged in [true, false] {
        let run = move || {
            if !privileged {
                drop_capabilities();
            }
            test(&Rig::new(privileged));
        };
        std::thread::spawn(run).join().expect("the test passes");
    }
}

fn drop_capabilities() {
    let mut sets = rustix::thread::capabilities(None).expect("capabilities");
    let ways_past = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
    sets.effective.remove(ways_past);
    sets.permitted.remove(ways_past);
    rustix::thread::set_capabilities(None, sets).expect("fewer capabilities");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn errno<T>(result: Result<T, Error>) -> Option<Errno> {
    result.err().map(|error| error.errno())
}
