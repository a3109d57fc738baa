//! The conformance suite of the contract on real mounts, and what it does not ask because it needs
//! several processes: locks, and files that are unlinked while open.

use std::fs::File;
use std::path::Path;

use hsci_extension::testkit::conformance::{self, Failure};
use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "conformance::plain_directory", seconds: 120, body: plain },
    Test { name: "conformance::nullfs", seconds: 120, body: nullfs },
    Test { name: "conformance::xor", seconds: 120, body: xor },
    Test { name: "conformance::compressfs", seconds: 120, body: compressfs },
    Test { name: "conformance::compressfs_while_settling", seconds: 300, body: settling },
    Test { name: "conformance::locks_exclude_other_processes", seconds: 60, body: locks },
];

fn keeps(failures: &[Failure]) {
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The cases themselves: a lower file system keeps them all.
fn plain(dir: &Path) {
    keeps(&conformance::on_directory(dir));
}

fn nullfs(dir: &Path) {
    let mount = Mount::new(dir, "mount", "nullfs", "");
    keeps(&conformance::on_directory(mount.dir()));
}

fn xor(dir: &Path) {
    let mount = Mount::new(dir, "mount", "xor", "");
    keeps(&conformance::on_directory(mount.dir()));
}

fn compressfs(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "settle=50ms");
    keeps(&conformance::on_directory(mount.dir()));
}

fn settling(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "settle=50ms,chunk=32K");
    keeps(&conformance::on_directory_disturbed(mount.dir(), &|| mount.settle()));
}

fn locks(dir: &Path) {
    machine::need("flock");
    let mount = Mount::new(dir, "mount", "compressfs", "");
    let path = mount.path("file");
    let file = File::create(&path).expect("create");
    let other = || Run::new("flock").arg("--nonblock").arg(&path).arg("true").done().code;
    assert_eq!(other(), 0, "nobody holds it");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("flock");
    assert_eq!(other(), 1, "held by this process");
    mount.settle();
    assert_eq!(other(), 1, "held all the same after settling");
    drop(file);
    assert_eq!(other(), 0, "released with the descriptor");
}
