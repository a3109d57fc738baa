//! Times of access, as the options of the mount below say.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hsci_tests::{Mount, Run, machine};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{is_smaller, text};

pub(super) fn times(dir: &Path) {
    machine::need_root();
    const DAY: u64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let ago = |days: u64| Timespec { tv_sec: (now.as_secs() - days * DAY) as i64, tv_nsec: 0 };
    let set = |path: &Path, last_access, last_modification| {
        let times = Timestamps { last_access, last_modification };
        utimensat(CWD, path, &times, AtFlags::empty()).expect("times");
    };
    for (options, counts) in [("settle=1h", true), ("settle=1h,noatime", false)] {
        let mut mount = Mount::new(dir, &format!("at{counts}"), "compressfs", options);
        std::fs::create_dir(mount.path("sub")).expect("a directory");
        let path = mount.path("sub/file");
        std::fs::write(&path, text(5000)).expect("written");
        set(&path, ago(5), ago(10));
        set(&mount.path("sub"), ago(5), ago(10));
        mount.settle();
        mount.remount();
        mount.settle();
        for name in ["sub/file", "sub"] {
            let meta = std::fs::metadata(mount.lower().join(name)).expect("stat");
            assert_eq!(meta.atime(), ago(5).tv_sec, "{options}: {name}: nobody has read it");
            assert_eq!(meta.mtime(), ago(10).tv_sec, "{options}: {name}: nobody has written it");
        }
        assert!(is_smaller(&mount, "sub/file"), "compressed");
        assert_eq!(std::fs::read(&path).expect("read"), text(5000));
        let begun = std::time::Instant::now();
        let renewed = loop {
            let meta = std::fs::metadata(mount.lower().join("sub/file")).expect("stat");
            if meta.atime() > ago(1).tv_sec || begun.elapsed() > Duration::from_secs(2) {
                break meta.atime() > ago(1).tv_sec;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(renewed, counts, "{options}: a caller has read it");
        // A quarter of a second before 1970.
        let early = Timespec { tv_sec: -1, tv_nsec: 750_000_000 };
        set(&path, early, early);
        let meta = std::fs::metadata(mount.lower().join("sub/file")).expect("stat");
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (-1, 750_000_000), "below");
        let meta = std::fs::metadata(&path).expect("stat");
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (-1, 750_000_000), "above");
    }
}

/// Reads that are not answered from the cache, by the option of the lower mount, and of the mount itself.
pub(super) fn access_options(dir: &Path) {
    machine::need_root();
    let (image, disk) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &disk);
    let old = SystemTime::now() - Duration::from_secs(3600);
    let stamp = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Timespec { tv_sec: since.as_secs() as i64, tv_nsec: 0 }
    };
    // With a time of access after that of change and an hour old, a read counts under `strictatime` only.
    let cases = [
        ("strictatime", "settle=1h", true),
        ("relatime", "settle=1h", false),
        ("noatime", "settle=1h", false),
        ("strictatime", "settle=1h,noatime", false),
    ];
    for (number, (below, options, counts)) in cases.into_iter().enumerate() {
        Run::new("mount").args(["-o", &format!("remount,{below}")]).arg(&disk).ok();
        let (store, shown) = (disk.join(number.to_string()), dir.join(format!("shown{number}")));
        for made in [&store, &shown] {
            std::fs::create_dir(made).expect("a directory");
        }
        let mut mount = Mount::at(&store, &shown, "compressfs", options);
        let path = mount.path("file");
        std::fs::write(&path, text(5000)).expect("written");
        mount.settle();
        let times = Timestamps {
            last_access: stamp(old),
            last_modification: stamp(old - Duration::from_secs(3600)),
        };
        utimensat(CWD, &path, &times, AtFlags::empty()).expect("times");
        mount.remount();
        // `relatime` goes by the time of the change of attributes, too, which is now: what is read next counts, once.
        let read_at = |wanted: Option<i64>| {
            utimensat(CWD, &path, &times_of(wanted, &times), AtFlags::empty()).expect("times");
            let mut content = Vec::new();
            let mut file = File::open(&path).expect("opened");
            std::io::Read::read_to_end(&mut file, &mut content).expect("read");
            assert!(content == text(5000));
        };
        // A day ahead: later than any change, as after a read under `relatime`.
        let ahead = stamp(SystemTime::now() + Duration::from_secs(24 * 3600)).tv_sec;
        read_at(Some(ahead));
        let found = || std::fs::metadata(store.join("file")).expect("stat").atime();
        let begun = std::time::Instant::now();
        while counts && found() == ahead && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !counts {
            std::thread::sleep(Duration::from_millis(300));
        }
        assert_eq!(found() != ahead, counts, "{below} below, {options}");
        mount.unmount();
    }
}

fn times_of(access: Option<i64>, times: &Timestamps) -> Timestamps {
    let last_access = access.map_or(times.last_access, |tv_sec| Timespec { tv_sec, tv_nsec: 0 });
    Timestamps { last_access, last_modification: times.last_modification }
}
