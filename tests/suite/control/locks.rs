//! The lock on a lower directory: nobody but hosts can have it, and only one of them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, machine, mount};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;

use super::{MINUTE, has_ended, pid, send, within};

fn lock(path: &Path) -> File {
    let file = File::open(path).expect("open");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("a lock");
    file
}

/// Everybody who can read a directory can lock it: that keeps nobody off.
pub(super) fn others(dir: &Path) {
    machine::need_root();
    for extension in ["nullfs", "compressfs"] {
        let mut mount = Mount::new(dir, extension, extension, "");
        mount.unmount();
        let held = lock(mount.lower());
        mount.mount();
        mount.unmount();
        mount.check();
        drop(held);
    }
    Run::new("chmod").arg("755").arg(dir).ok();
    let mount = Mount::new(dir, "open", "compressfs", "");
    fs::set_permissions(mount.lower(), fs::Permissions::from_mode(0o777)).expect("chmod");
    let others = Run::as_user(ALICE, "bash").args(["-c"]).arg(format!(
        "for name in /run/hsci/*.lock '{0}/.hsci/lock'; do [ -r \"$name\" ] && echo \"$name\"; done; true",
        mount.lower().display()
    ));
    assert_eq!(others.ok(), "", "another user can open a lock");
}

/// By another path, in another mount namespace with a /run of its own, after the death of the supervisor, and with the private
/// directory out of the way.
pub(super) fn one_host(dir: &Path) {
    machine::need_root();
    let first = Mount::new(dir, "first", "compressfs", "settle=1h");
    let other = dir.join("other");
    fs::create_dir(&other).expect("directory");
    let supervisor = pid(&first, "supervisor_pid");
    let number = supervisor.as_raw_nonzero().to_string();
    let again = || Run::new(machine::hsci()).arg("mount").arg(first.lower()).arg(&other).done();
    again().fails(5, &["served already", &number, "s ago"]);
    mount::hsci(["check"], first.lower()).fails(5, &["served already", &number]);
    let link = dir.join("link");
    std::os::unix::fs::symlink(first.lower(), &link).expect("a link");
    Run::new(machine::hsci()).arg("mount").arg(&link).arg(&other).done().fails(5, &[&number]);

    let container = format!(
        "mount -t tmpfs none /run; exec '{}' mount '{}' '{}'",
        machine::hsci().display(),
        first.lower().display(),
        other.display()
    );
    let apart = Run::new("unshare").args(["--mount", "bash", "-c"]).arg(container).done();
    apart.fails(5, &["served already", &number]);

    fs::rename(first.lower().join(".hsci"), dir.join("away")).expect("rename");
    again().fails(5, &["served already", &number]);
    fs::rename(dir.join("away"), first.lower().join(".hsci")).expect("rename");

    let worker = pid(&first, "worker_pid");
    send(supervisor, Signal::KILL);
    assert!(within(MINUTE, || has_ended(supervisor)), "it goes on");
    again().fails(5, &["served already"]);
    Run::new("umount").arg(first.dir()).ok();
    assert!(within(MINUTE, || has_ended(worker)), "the worker goes on");
    let mount = Mount::at(first.lower(), first.dir(), "compressfs", "");
    drop(mount);
}
