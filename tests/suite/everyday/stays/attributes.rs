//! What a file has beside its bytes stays, whatever it may be.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, machine};
use rustix::fs::XattrFlags;

use super::{LINE, is_smaller, text};

const CAPABILITY: &str = "security.capability";

fn value(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let len = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

pub(super) fn attributes(dir: &Path) {
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

pub(super) fn mode_000(dir: &Path) {
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
pub(super) fn any_bytes(dir: &Path) {
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

pub(super) fn mapped(dir: &Path) {
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

pub(super) fn longest(dir: &Path) {
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
