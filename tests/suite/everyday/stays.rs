//! Everything of a file stays while it is stored another way, and what cannot be changed is left alone.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, Test, machine};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "everyday::stays::capabilities_and_all_attributes_stay_until_somebody_writes",
        seconds: 120,
        body: attributes,
    },
    Test {
        name: "everyday::stays::only_reads_of_callers_are_times_of_access",
        seconds: 120,
        body: times,
    },
    Test {
        name: "everyday::stays::what_may_only_be_appended_to_is_appended_to_and_left_as_it_is",
        seconds: 120,
        body: fixed,
    },
    Test {
        name: "everyday::stays::containers_and_memory_compress_like_any_other_directory",
        seconds: 120,
        body: without_handles,
    },
    Test {
        name: "everyday::stays::what_others_have_open_is_named_and_left_alone",
        seconds: 120,
        body: open_elsewhere,
    },
    Test {
        name: "everyday::stays::a_mount_that_cannot_store_everything_stays",
        seconds: 120,
        body: unmount_refused,
    },
    Test {
        name: "everyday::stays::what_is_written_to_a_mapping_is_no_hole",
        seconds: 120,
        body: mapped,
    },
    Test {
        name: "everyday::stays::files_that_even_their_owner_may_not_read_are_compressed_by_users_mounts",
        seconds: 120,
        body: mode_000,
    },
    Test {
        name: "everyday::stays::paths_of_any_bytes_are_mounted_and_asked",
        seconds: 120,
        body: any_bytes,
    },
    Test {
        name: "everyday::stays::several_file_systems_stacked_below_are_compressed",
        seconds: 120,
        body: stacked_below,
    },
    Test {
        name: "everyday::stays::times_of_access_follow_the_options_below",
        seconds: 180,
        body: access_options,
    },
    Test {
        name: "everyday::stays::a_full_store_can_be_made_smaller",
        seconds: 120,
        body: full_store,
    },
    Test {
        name: "everyday::stays::files_grow_as_far_as_below_and_no_further",
        seconds: 60,
        body: longest,
    },
    Test {
        name: "everyday::stays::a_mount_is_made_read_only_and_back_under_those_who_use_it",
        seconds: 60,
        body: remount,
    },
];

const CAPABILITY: &str = "security.capability";
const LINE: &[u8] = b"a line that is long enough to be worth compressing, again and again\n";

fn text(lines: usize) -> Vec<u8> {
    LINE.repeat(lines)
}

fn is_smaller(mount: &Mount, name: &str) -> bool {
    let meta = std::fs::metadata(mount.path(name)).expect("stat");
    meta.blocks() * 512 < meta.len()
}

fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let len = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

fn attributes(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "m", "compressfs", "settle=1h,commit=1");
    let path = mount.path("ping");
    std::fs::write(&path, text(5000)).expect("written");
    // `cap_net_raw+ep`, as the kernel stores it.
    let mut capability = vec![0; 20];
    capability[..5].copy_from_slice(&[1, 0, 0, 2, 0]);
    capability[5] = 0x20;
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty())
            .unwrap_or_else(|errno| panic!("{name}: {errno}"));
    };
    set(CAPABILITY, &capability);
    set("trusted.mine", b"1");
    set("user.mine", b"2");
    let all = |mount: &Mount, when: &str| {
        for below in [mount.path("ping"), mount.lower().join("ping")] {
            assert_eq!(value(&below, "trusted.mine").as_deref(), Some(&b"1"[..]), "{when}");
            assert_eq!(value(&below, "user.mine").as_deref(), Some(&b"2"[..]), "{when}");
            let found = value(&below, CAPABILITY);
            assert_eq!(found.as_ref(), Some(&capability), "{when}: {}", below.display());
            assert_eq!(value(&below, "security.hsci.capability"), None, "{when}: no copy is left");
        }
    };
    mount.settle();
    assert!(is_smaller(&mount, "ping"), "compressed");
    all(&mount, "sealed");
    mount.remount();
    all(&mount, "mounted again");
    // A write takes them, as on any file system; set again, they outlive the commit of that write.
    let mut file = OpenOptions::new().append(true).open(&path).expect("opened");
    file.write_all(LINE).expect("appended");
    drop(file);
    assert_eq!(value(&path, CAPABILITY), None, "a write takes capabilities");
    set(CAPABILITY, &capability);
    std::thread::sleep(Duration::from_millis(2500));
    all(&mount, "committed");
    mount.settle();
    all(&mount, "sealed once more");
    mount.unmount();
    mount.check();
}

fn times(dir: &Path) {
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

fn fixed(dir: &Path) {
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

fn mode_000(dir: &Path) {
    machine::need_root();
    machine::open_dev_fuse(dir);
    let base = dir.join("alice");
    std::fs::create_dir(&base).expect("a directory");
    std::os::unix::fs::chown(&base, Some(ALICE), Some(ALICE)).expect("chown");
    let script = r#"cd "$1"
mkdir lower shown
for name in old open; do seq 30000 > lower/$name; done
chmod 000 lower/old
"$2" mount -o settle=1h lower shown
seq 30000 > shown/new
chmod 000 shown/new
"$2" settle shown
stat -c '%A %s %n' shown/old shown/new
for name in old new; do test "$(stat -c %b shown/$name)" -lt 200 || echo "$name: not compressed"; done
cat shown/old 2>/dev/null && echo "no mode holds"
chmod 600 shown/old shown/new
cmp shown/old shown/open
cmp shown/new shown/open
chmod 000 shown/old
"$2" unmount shown
"$2" check lower
stat -c '%A %n' lower/old"#;
    let run = Run::as_user(ALICE, "bash").args(["-ec", script, "bash"]);
    let done = run.arg(&base).arg(machine::hsci()).done();
    let seen = &done.out;
    assert_eq!(done.code, 0, "{seen} {}", done.err);
    assert!(!seen.contains("not compressed") && !seen.contains("no mode holds"), "{seen}");
    for line in
        ["---------- 168894 shown/old", "---------- 168894 shown/new", "---------- lower/old"]
    {
        assert!(seen.contains(line), "{line} is missing: {seen}");
    }
}

/// Names of directories and files that are not UTF-8.
fn any_bytes(dir: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let name = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let (lower, shown) = (dir.join(name(b"low\xff\n er")), dir.join(name(b"sho\xfe\x80wn")));
    for made in [&lower, &shown] {
        std::fs::create_dir(made).expect("a directory");
    }
    let mut mount = Mount::at(&lower, &shown, "compressfs", "settle=1h");
    let file = shown.join(name(b"fi\xc3le"));
    std::fs::write(&file, text(5000)).expect("written");
    mount.settle();
    let run = |arguments: &[&str], path: &Path| {
        let done = Run::new(machine::hsci()).args(arguments.iter().copied()).arg(path).done();
        assert_eq!(done.code, 0, "{arguments:?}: {}", done.err);
        done.out
    };
    for arguments in [&["status"][..], &["status", "--json"], &["usage"], &["usage", "--json"]] {
        run(arguments, &shown);
    }
    run(&["usage"], &file);
    run(&["algorithm", "set", "lz4", "--for"], &file);
    mount.remount();
    assert!(std::fs::read(&file).expect("read") == text(5000));
    mount.unmount();
    mount.check();
    let restored = dir.join(name(b"\xffout"));
    Run::new(machine::hsci()).arg("export").arg(&lower).arg(&restored).ok();
    assert!(std::fs::read(restored.join(name(b"fi\xc3le"))).expect("read") == text(5000));
}

/// An overlay over an overlay, with layers on ext4 and tmpfs.
fn stacked_below(dir: &Path) {
    machine::need_root();
    let (image, disk, memory) = (dir.join("image"), dir.join("disk"), dir.join("memory"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &disk);
    std::fs::create_dir(&memory).expect("a directory");
    if Run::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&memory).done().code != 0 {
        hsci_tests::skip("no tmpfs can be mounted");
    }
    let _memory = Unmounted(memory.clone());
    for name in ["one", "two", "up", "work"] {
        std::fs::create_dir_all(disk.join(name)).expect("a directory");
        std::fs::create_dir_all(memory.join(name)).expect("a directory");
    }
    let over = |lower: String, above: &Path, at: &Path| {
        std::fs::create_dir_all(at).expect("a directory");
        let above = above.display();
        let options = format!("lowerdir={lower},upperdir={above}/up,workdir={above}/work");
        let done =
            Run::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at).done();
        if done.code != 0 {
            hsci_tests::skip(&format!("no overlay on that: {}", done.err.trim()));
        }
        Unmounted(at.to_owned())
    };
    std::fs::write(disk.join("one/from-disk"), text(5000)).expect("written");
    std::fs::write(memory.join("two/from-memory"), text(5000)).expect("written");
    let (first, second) = (dir.join("first"), dir.join("second"));
    let lowers = format!("{}/one:{}/two", disk.display(), memory.display());
    let _first = over(lowers, &disk, &first);
    let _second = over(first.display().to_string(), &memory, &second);
    for (number, store) in [&first, &second].into_iter().enumerate() {
        let shown = dir.join(format!("shown{number}"));
        std::fs::create_dir(&shown).expect("a directory");
        let mut mount = Mount::at(store, &shown, "compressfs", "settle=1h");
        std::fs::write(mount.path("new"), text(5000)).expect("written");
        mount.settle();
        for name in ["from-disk", "from-memory", "new"] {
            assert!(is_smaller(&mount, name), "{}: {name}", store.display());
        }
        let mut file =
            OpenOptions::new().append(true).open(mount.path("from-disk")).expect("opened");
        file.write_all(LINE).expect("appended");
        drop(file);
        mount.remount();
        assert!(std::fs::read(mount.path("from-disk")).expect("read") == text(5001), "{store:?}");
        assert!(std::fs::read(mount.path("from-memory")).expect("read") == text(5000), "{store:?}");
        mount.settle();
        mount.unmount();
        mount.check();
        // The next one lies over this one, and is to find plain files.
        for name in ["from-disk", "from-memory", "new"] {
            std::fs::write(store.join(name), text(5000)).expect("written");
        }
        std::fs::remove_dir_all(store.join(".hsci")).expect("removed");
    }
}

/// Reads that are not answered from the cache, by the option of the lower mount, and of the mount itself.
fn access_options(dir: &Path) {
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

fn without_handles(dir: &Path) {
    machine::need_root();
    let base = dir.join("disk");
    std::fs::create_dir(&base).expect("a directory");
    let memory = Run::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&base).done();
    if memory.code != 0 {
        hsci_tests::skip("no tmpfs can be mounted");
    }
    let _memory = Unmounted(base.clone());
    for name in ["image", "upper", "work", "container", "ram", "store"] {
        std::fs::create_dir(base.join(name)).expect("a directory");
    }
    std::fs::create_dir(base.join("image/store")).expect("a directory");
    std::fs::write(base.join("image/store/old"), text(5000)).expect("written");
    let options = format!("lowerdir={0}/image,upperdir={0}/upper,workdir={0}/work", base.display());
    let container = base.join("container");
    Run::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&container).ok();
    let _container = Unmounted(container.clone());
    let ram = base.join("ram");
    Run::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&ram).ok();
    let _ram = Unmounted(ram.clone());
    for (number, store) in [container.join("store"), ram, base.join("store")].iter().enumerate() {
        let shown = dir.join(format!("shown{number}"));
        std::fs::create_dir(&shown).expect("a directory");
        let mut mount = Mount::at(store, &shown, "compressfs", "settle=1h");
        std::fs::write(mount.path("new"), text(5000)).expect("written");
        mount.settle();
        let counts_space = !store.ends_with("ram");
        for name in ["old", "new"].iter().filter(|name| mount.path(name).exists() && counts_space) {
            assert!(is_smaller(&mount, name), "{}: {name}", store.display());
        }
        let mut file = OpenOptions::new().append(true).open(mount.path("new")).expect("opened");
        file.write_all(LINE).expect("appended");
        drop(file);
        mount.remount();
        assert!(std::fs::read(mount.path("new")).expect("read") == text(5001), "{store:?}");
        mount.settle();
        mount.unmount();
        mount.check();
    }
}

/// Something mounted, until it is dropped.
pub(super) struct Unmounted(pub(super) std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Run::new("umount").arg("-l").arg(&self.0).done();
    }
}

fn open_elsewhere(dir: &Path) {
    machine::need_root();
    let store = dir.join("logs");
    std::fs::create_dir(&store).expect("a directory");
    let mut logger = File::create(store.join("app.log")).expect("a file");
    logger.write_all(&text(5000)).expect("written");
    let refused = Run::new(machine::hsci()).arg("mount").arg(&store).done();
    assert_eq!(refused.code, 5, "{}", refused.err);
    let me = std::process::id().to_string();
    assert!(refused.err.contains("app.log") && refused.err.contains(&me), "{}", refused.err);
    let options = ["mount", "--force", "-o", "settle=1"];
    Run::new(machine::hsci()).args(options).arg(&store).ok();
    let mut mount = Mount::adopt(&store, &store, "compressfs");
    std::fs::write(mount.path("other"), text(5000)).expect("written");
    for _ in 0..30 {
        logger.write_all(LINE).expect("written");
        std::thread::sleep(Duration::from_millis(100));
    }
    let settled = mount.hsci(["settle"]);
    assert_eq!(settled.code, 1, "it is not settled: {}", settled.err);
    let why = "hsci: app.log: in use: a program has had it open since before the mount\n";
    assert!(settled.err.contains(why), "{}", settled.err);
    assert!(is_smaller(&mount, "other"), "the others are");
    logger.write_all(LINE).expect("written");
    drop(logger);
    mount.remount();
    assert!(std::fs::read(mount.path("app.log")).expect("read") == text(5031), "no line is lost");
    mount.settle();
    assert!(is_smaller(&mount, "app.log"), "it is settled when nobody has it open");
    assert!(std::fs::read(mount.path("app.log")).expect("read") == text(5031));
    mount.unmount();
}

fn unmount_refused(dir: &Path) {
    machine::need_root();
    machine::need("chattr");
    let mut mount = Mount::new(dir, "m", "compressfs", "settle=1h,commit=0");
    for name in ["kept", "given-up"] {
        std::fs::write(mount.path(name), text(5000)).expect("written");
    }
    mount.settle();
    let append = |name: &str| {
        let file = OpenOptions::new().append(true).open(mount.path(name));
        file.and_then(|mut file| file.write_all(LINE)).expect("appended");
    };
    let chattr =
        |flag: &str, name: &str| Run::new("chattr").arg(flag).arg(mount.lower().join(name)).done();
    append("kept");
    if chattr("+i", "kept").code != 0 {
        hsci_tests::skip("chattr is refused here");
    }
    let refused = mount.hsci(["unmount"]);
    let served = std::fs::read(mount.path("kept"));
    chattr("-i", "kept").ok();
    assert_eq!(refused.code, 7, "{}", refused.err);
    assert!(refused.err.contains("kept") && refused.err.contains("--force"), "{}", refused.err);
    assert!(served.expect("it is still served") == text(5001));
    append("given-up");
    chattr("+i", "given-up").ok();
    let forced = mount.hsci(["unmount", "--force"]);
    chattr("-i", "given-up").ok();
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert!(forced.err.contains("given-up") && !forced.err.contains("kept"), "{}", forced.err);
    mount.mount();
    assert!(std::fs::read(mount.path("kept")).expect("read") == text(5001), "nothing is lost");
    mount.unmount();
    mount.check();
}

/// Writes to a hole of a file through a mapping, and copies the file while nobody has written that back.
const MAP_AND_COPY: &str = r#"
import mmap, os, subprocess, sys
path = sys.argv[1]
file = os.open(path, os.O_RDWR)
size = os.fstat(file).st_size
mapping = mmap.mmap(file, size)
at = size // 2
mapping[at:at + 5] = b"dirty"
assert os.lseek(file, size // 4, os.SEEK_DATA) <= at, "the data are found"
assert os.lseek(file, at, os.SEEK_HOLE) > at, "no hole where they are"
subprocess.check_call(["cp", "--sparse=auto", path, path + ".copy"])
with open(path + ".copy", "rb") as copy:
    copy.seek(at)
    assert copy.read(5) == b"dirty", "the copy has them"
"#;

fn mapped(dir: &Path) {
    machine::need_root();
    machine::need("python3");
    for extension in ["nullfs", "compressfs"] {
        let options = if extension == "compressfs" { "settle=1h" } else { "" };
        let mount = Mount::new(dir, extension, extension, options);
        for name in ["raw", "sealed"] {
            let path = mount.path(name);
            std::fs::write(&path, text(5000)).expect("written");
            File::options()
                .write(true)
                .open(&path)
                .expect("opened")
                .set_len(8 << 20)
                .expect("a hole");
            if (extension, name) == ("compressfs", "sealed") {
                mount.settle();
            }
            Run::new("python3").args(["-c", MAP_AND_COPY]).arg(&path).ok();
        }
    }
}

/// Bytes that no algorithm makes fewer.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn full_store(dir: &Path) {
    let (image, lower) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 96 << 20, &image, &lower);
    let (store, shown) = (lower.join("store"), dir.join("shown"));
    for made in [&store, &shown] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    let mut mount = Mount::at(&store, &shown, "compressfs", "settle=1h,scan=no");
    for number in 0..8 {
        std::fs::write(mount.path(&format!("text{number}")), text(50_000)).expect("written");
    }
    let mut filler = File::create(mount.path("filler")).expect("a file");
    let noise = noise(64 << 10);
    while filler.write_all(&noise).is_ok() {}
    while filler.write_all(&noise[..4096]).is_ok() {}
    drop(filler);
    let free = || {
        let stat = rustix::fs::statvfs(&lower).expect("statvfs");
        stat.f_bavail * stat.f_frsize
    };
    assert!(free() < 1 << 20, "{} bytes are free", free());
    let _ = mount.hsci(["settle"]);
    assert!(free() > 16 << 20, "{} bytes are free", free());
    for number in 0..8 {
        let name = format!("text{number}");
        assert!(is_smaller(&mount, &name), "{name}");
        assert!(std::fs::read(mount.path(&name)).expect("read") == text(50_000), "{name}");
    }
    mount.unmount();
    mount.check();
}

fn longest(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "m", "compressfs", "settle=1h");
    std::fs::write(mount.path("file"), text(5000)).expect("written");
    mount.settle();
    assert!(is_smaller(&mount, "file"), "compressed");
    let grow = |path: &Path, len: u64| {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        file.and_then(|file| file.set_len(len)).map_err(|error| error.raw_os_error())
    };
    for power in [35, 43, 44, 45, 52, 60, 62] {
        let len = (1_u64 << power) + 1;
        let below = grow(&mount.lower().join(".plain"), len);
        assert_eq!(grow(&mount.path("file"), len), below, "{len}");
    }
}

fn remount(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "m", "nullfs", "nosuid");
    std::fs::write(mount.path("file"), b"before").expect("written");
    // As mount(8) calls its helper.
    let helper = |options: &str| {
        Run::new(machine::hsci()).arg(mount.lower()).arg(mount.dir()).args(["-o", options]).done()
    };
    helper("remount,ro").ok();
    let refused = std::fs::write(mount.path("file"), b"refused").map_err(|error| error.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ReadOnlyFilesystem));
    assert_eq!(std::fs::read(mount.path("file")).expect("read"), b"before");
    helper("remount,rw").ok();
    std::fs::write(mount.path("file"), b"after").expect("written");
    let flags = rustix::fs::statvfs(mount.dir()).expect("statvfs").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::NOSUID), "all else stays");
    let read_only = Mount::new(dir, "r", "nullfs", "ro");
    let done = Run::new(machine::hsci())
        .arg(read_only.lower())
        .arg(read_only.dir())
        .args(["-o", "remount,rw"])
        .done();
    assert_eq!(done.code, 32, "{}", done.err);
    assert!(done.err.contains("read-only"), "{}", done.err);
}
