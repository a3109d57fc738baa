//! Compressing a file changes nothing that its users see, its `ctime` neither; whatever they change moves that, at once.

use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_tests::{Mount, machine};
use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};

use super::{is_smaller, text};

/// Time stamps are those of the kernel's last tick.
const TICK: Duration = Duration::from_millis(20);

/// Nanoseconds since 1970.
fn ctime(path: &Path) -> i128 {
    let attributes = std::fs::symlink_metadata(path).expect("attributes");
    i128::from(attributes.ctime()) * 1_000_000_000 + i128::from(attributes.ctime_nsec())
}

fn now() -> i128 {
    let now = SystemTime::now() - TICK;
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i128
}

pub(super) fn stays(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "m", "compressfs", "settle=1h,commit=1");
    let contents: [(&str, Vec<u8>); 5] = [
        ("sealed", text(5000)),
        ("raw", noise()),
        ("small", text(20)),
        ("tiny", b"tiny".to_vec()),
        ("grown", text(9000)),
    ];
    for (name, content) in &contents {
        std::fs::write(mount.path(name), content).expect("written");
    }
    std::fs::hard_link(mount.path("sealed"), mount.path("link")).expect("a link");
    let names = ["sealed", "raw", "small", "tiny", "grown", "link"];
    let all = |mount: &Mount| names.map(|name| ctime(&mount.path(name)));
    let before = all(&mount);
    std::thread::sleep(3 * TICK);
    mount.settle();
    assert!(is_smaller(&mount, "sealed"), "compressed");
    assert_eq!(all(&mount), before, "compressed");
    let sealed = mount.lower().join("sealed");
    assert!(ctime(&sealed) > before[0], "the lower one tells of it");
    mount.remount();
    assert_eq!(all(&mount), before, "mounted again");
    // In use, and beside what is not.
    let mut file = OpenOptions::new().append(true).open(mount.path("grown")).expect("opened");
    std::fs::read(mount.path("sealed")).expect("read");
    assert_eq!(all(&mount), before, "in use");
    for number in 0..40_000 {
        writeln!(file, "{number} lines of another kind").expect("appended");
    }
    drop(file);
    let grown = ctime(&mount.path("grown"));
    assert!(grown > before[4], "written to");
    mount.settle();
    mount.hsci(["recompress", "--algorithm", "lz4"]).ok();
    mount.settle();
    let after = [before[0], before[1], before[2], before[3], grown, before[0]];
    assert_eq!(all(&mount), after, "compressed once more");
    mount.unmount();
    mount.check();
}

type Change = fn(&Path);

/// What changes attributes of a file.
const CHANGES: [(&str, Change); 9] = [
    ("chmod", |path| {
        std::fs::set_permissions(path, Permissions::from_mode(0o640)).expect("chmod");
    }),
    ("chown", |path| chown(path, Some(7), None).expect("chown")),
    ("times", |path| {
        let was = std::fs::metadata(path).expect("attributes").modified().expect("a time");
        let same = FileTimes::new().set_modified(was);
        File::open(path).expect("opened").set_times(same).expect("times");
    }),
    ("setxattr", |path| {
        rustix::fs::setxattr(path, "user.mine", b"1", XattrFlags::empty()).expect("set");
    }),
    ("removexattr", |path| {
        rustix::fs::removexattr(path, "user.first").expect("removed");
    }),
    ("link", |path| std::fs::hard_link(path, other(path)).expect("a link")),
    ("unlink", |path| std::fs::remove_file(first_link(path)).expect("removed")),
    ("rename over a link", |path| {
        let empty = other(path);
        std::fs::write(&empty, "").expect("written");
        std::fs::rename(empty, first_link(path)).expect("renamed");
    }),
    ("exchange", |path| {
        let empty = other(path);
        std::fs::write(&empty, "").expect("written");
        renameat_with(CWD, path, CWD, &empty, RenameFlags::EXCHANGE).expect("exchanged");
        renameat_with(CWD, path, CWD, &empty, RenameFlags::EXCHANGE).expect("and back");
    }),
];

fn other(path: &Path) -> PathBuf {
    path.with_extension("other")
}

fn first_link(path: &Path) -> PathBuf {
    path.with_extension("link")
}

/// The files that are changed: one for each change, to be compressed and not.
fn make(mount: &Mount, round: &str) -> Vec<(PathBuf, &'static str, Change)> {
    let make = |&(what, change): &(&'static str, Change), content: &[u8]| {
        let path = mount.path(&format!("{what}-{round}-{}", content.len()));
        std::fs::write(&path, content).expect("written");
        rustix::fs::setxattr(&path, "user.first", b"1", XattrFlags::empty()).expect("set");
        std::fs::hard_link(&path, first_link(&path)).expect("a link");
        (path, what, change)
    };
    let (long, short) = (text(3000), text(10));
    let contents = [long.as_ref(), short.as_ref()];
    contents.iter().flat_map(|content| CHANGES.iter().map(|change| make(change, content))).collect()
}

/// Also in the second after a file was compressed, in which the lower `ctime` tells nothing.
pub(super) fn moves(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "m", "compressfs", "settle=1h,commit=1");
    for is_in_use in [true, false] {
        let files = make(&mount, if is_in_use { "used" } else { "unused" });
        if is_in_use {
            mount.settle();
        } else {
            // A file that the kernel has forgotten is not in use when its name is looked up again.
            mount.remount();
            mount.settle();
            std::fs::write("/proc/sys/vm/drop_caches", "2").expect("caches dropped");
        }
        let mut after = Vec::new();
        for (path, what, change) in &files {
            let before = now();
            change(path);
            let then = ctime(path);
            assert!(then >= before, "{what} moves ctime: {then}, {before}");
            after.push(then);
        }
        let all = |when: &str| {
            for ((path, what, _), then) in files.iter().zip(&after) {
                assert_eq!(ctime(path), *then, "{what}: {}, {when}", path.display());
            }
        };
        mount.settle();
        all("compressed");
        mount.remount();
        all("mounted again");
    }
    mount.unmount();
    mount.check();
}

/// While files are being compressed.
pub(super) fn moves_meanwhile(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "m", "compressfs", "settle=1h,commit=1");
    let content = text(200);
    let files: Vec<PathBuf> = (0..600).map(|number| mount.path(&number.to_string())).collect();
    let ended = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        let write =
            || files.iter().for_each(|path| std::fs::write(path, &content).expect("written"));
        write();
        let changer = scope.spawn(|| {
            let mut changes = 0;
            while !ended.load(Ordering::Relaxed) {
                for path in &files {
                    let before = now();
                    let mode = 0o600 | (changes & 7);
                    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
                    let then = ctime(path);
                    assert!(then >= before, "{}: {then}, {before}", path.display());
                    changes += 1;
                }
            }
            changes
        });
        for _ in 0..6 {
            mount.settle();
            write();
        }
        mount.settle();
        ended.store(true, Ordering::Relaxed);
        changer.join().expect("no change was lost")
    });
    assert!(changes > 1000, "{changes} changes");
    let before: Vec<i128> = files.iter().map(|path| ctime(path)).collect();
    mount.remount();
    let after: Vec<i128> = files.iter().map(|path| ctime(path)).collect();
    assert_eq!(before, after);
    mount.unmount();
    mount.check();
}

/// What no algorithm makes smaller.
fn noise() -> Vec<u8> {
    let mut bytes = vec![0; 200_000];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("noise");
    bytes
}
