//! What may only be appended to, or not be changed at all.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use hsci_tests::{Mount, Run, machine};

use super::{LINE, is_smaller, text};

pub(super) fn fixed(dir: &Path) {
    machine::need_root();
    machine::need("chattr");
    fixed_with(dir, "m", "settle=1h,scan=no");
    fixed_with(dir, "data", "settle=1h,scan=no,profile=data");
}

fn fixed_with(dir: &Path, name: &str, options: &str) {
    let mut mount = Mount::new(dir, name, "compressfs", options);
    for name in ["appended", "immutable"] {
        std::fs::write(mount.path(name), text(5000)).expect("written");
    }
    mount.remount();
    let chattr = |flag: &str, name: &str| {
        let done = Run::new("chattr").arg(flag).arg(mount.lower().join(name)).done();
        if done.code != 0 {
            hsci_tests::skip("chattr is refused here");
        }
    };
    chattr("+a", "appended");
    chattr("+i", "immutable");
    let mut file = OpenOptions::new().append(true).open(mount.path("appended")).expect("opened");
    let written = file.write_all(LINE).and_then(|()| file.write_all(LINE));
    mount.settle();
    let overwritten = {
        use std::os::unix::fs::FileExt;
        let file = OpenOptions::new().write(true).open(mount.path("appended"));
        file.and_then(|file| file.write_at(b"x", 0)).map_err(|error| error.raw_os_error())
    };
    drop(file);
    let content = std::fs::read(mount.path("appended")).expect("read");
    append_only_when_compressed(&mount, &chattr);
    chattr("-a", "appended");
    chattr("-i", "immutable");
    written.expect("appended");
    assert_eq!(overwritten, Err(Some(rustix::io::Errno::PERM.raw_os_error())));
    assert!(content == text(5002), "{} bytes", content.len());
    assert!(!is_smaller(&mount, "immutable") && !is_smaller(&mount, "appended"), "left alone");
    mount.settle();
    assert!(is_smaller(&mount, "immutable") && is_smaller(&mount, "appended"), "free again");
    mount.unmount();
    mount.check();
}

/// What is compressed already cannot be appended to while it is append-only: the write fails, and nothing else does.
fn append_only_when_compressed(mount: &Mount, chattr: &dyn Fn(&str, &str)) {
    std::fs::write(mount.path("sealed"), text(5000)).expect("written");
    mount.settle();
    assert!(is_smaller(mount, "sealed"), "compressed");
    chattr("+a", "sealed");
    let append = || {
        let file = OpenOptions::new().append(true).open(mount.path("sealed"));
        file.and_then(|mut file| file.write_all(LINE)).map_err(|error| error.raw_os_error())
    };
    let refused = append();
    let content = std::fs::read(mount.path("sealed"));
    chattr("-a", "sealed");
    // A host that has had it open since before goes on, as any program does.
    let lines = match refused {
        Ok(()) => 5001,
        Err(errno) => {
            assert_eq!(errno, Some(rustix::io::Errno::PERM.raw_os_error()));
            5000
        }
    };
    assert!(content.expect("read") == text(lines), "what failed has changed something");
    append().expect("it can be appended to again");
    assert!(std::fs::read(mount.path("sealed")).expect("read") == text(lines + 1));
}
