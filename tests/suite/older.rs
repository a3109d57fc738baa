//! Stores of earlier formats, as their programs have left them (`tests/data`), and of a later one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "older::a_store_of_an_earlier_format_is_read_and_brought_forward_by_writing",
        seconds: 120,
        body: earlier,
    },
    Test {
        name: "older::a_store_of_an_earlier_format_is_brought_forward_by_a_mark",
        seconds: 60,
        body: marked,
    },
    Test {
        name: "older::a_store_of_an_earlier_format_is_brought_forward_by_a_repair",
        seconds: 60,
        body: repaired,
    },
    Test {
        name: "older::a_store_of_a_later_format_is_refused_untouched",
        seconds: 60,
        body: later,
    },
];

const CODECS: [&str; 3] = ["zstd", "lz4", "deflate"];

/// What the files hold.
fn contents() -> BTreeMap<PathBuf, Vec<u8>> {
    let lines = b"the same line, again\n".repeat(4000)[..70_000].to_vec();
    let mut changed = lines.clone();
    changed[40_000..40_008].copy_from_slice(b"changed\n");
    changed.extend(b"1\n2\n3\n");
    let mut holes = vec![0; 100_000];
    holes[50_000..50_007].copy_from_slice(b"middle\n");
    let mut files = BTreeMap::from([("raw".into(), b"short\n".to_vec()), ("holes".into(), holes)]);
    for codec in CODECS {
        files.insert(format!("{codec}/sealed").into(), lines.clone());
        files.insert(format!("{codec}/log").into(), changed.clone());
    }
    files
}

fn unpacked(dir: &Path, version: u32) -> PathBuf {
    let store = dir.join(format!("store-v{version}"));
    fs::create_dir(&store).expect("a directory");
    let archive = machine::project().join(format!("tests/data/store-v{version}.tar.gz"));
    let tar = Run::new("tar").args(["--xattrs", "--xattrs-include=user.*", "-xzf"]);
    tar.arg(archive).arg("-C").arg(&store).ok();
    store
}

fn format_of(store: &Path) -> String {
    fs::read_to_string(store.join(".hsci/store")).expect("the store says what it is")
}

/// Bytes and times of all files; who has the store is written into its lock.
fn seen(store: &Path, with_lock: bool) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let files = walkdir::WalkDir::new(store).into_iter().map(|entry| entry.expect("an entry"));
    let files = files.filter(|entry| with_lock || entry.file_name() != "lock");
    let look = |entry: walkdir::DirEntry| {
        let meta = entry.metadata().expect("stat");
        let bytes = if meta.is_file() { fs::read(entry.path()).expect("read") } else { Vec::new() };
        let times = if meta.is_file() { (meta.mtime(), meta.mtime_nsec()) } else { (0, 0) };
        (entry.into_path(), (bytes, times.0, times.1))
    };
    files.map(look).collect()
}

fn reads(dir: &Path, contents: &BTreeMap<PathBuf, Vec<u8>>, context: &str) {
    for (name, bytes) in contents {
        let found = fs::read(dir.join(name)).expect("read");
        assert!(found == *bytes, "{context}: {} has changed", name.display());
    }
}

fn earlier(dir: &Path) {
    machine::need_root();
    for version in [1, 2] {
        let context = format!("format {version}");
        let (store, mut contents) = (unpacked(dir, version), contents());
        let made = format!("\"format\":{version}");
        assert!(format_of(&store).contains(&made));
        let before = seen(&store, false);
        // Looked at in every way, it is what it was.
        Run::new(machine::hsci()).arg("check").arg(&store).ok();
        let exported = dir.join(format!("exported{version}"));
        Run::new(machine::hsci()).arg("export").arg(&store).arg(&exported).ok();
        reads(&exported, &contents, &context);
        let shown = dir.join(format!("shown{version}"));
        fs::create_dir(&shown).expect("a directory");
        let mut mount = Mount::at(&store, &shown, "compressfs", "ro");
        reads(&shown, &contents, &context);
        mount.unmount();
        assert!(seen(&store, false) == before, "{context}: something has changed it");
        // Mounted to be written, files that nobody writes stay as they are.
        let mut mount = Mount::at(&store, &shown, "compressfs", "settle=1h,scan=no,chunk=32K");
        reads(&shown, &contents, &context);
        let user = mount.hsci(["algorithm", "get"]).ok();
        assert!(user.contains("lz4"), "{context}: {user}");
        mount.remount();
        let now = seen(&store, false);
        let stored = |name: &Path| store.join(name);
        for name in contents.keys() {
            assert!(now[&stored(name)] == before[&stored(name)], "{context}: {}", name.display());
        }
        let of_store = |seen: &BTreeMap<PathBuf, _>| {
            let names = seen.keys().filter(|name| {
                name.strip_prefix(&store).is_ok_and(|name| name.starts_with(".hsci"))
            });
            names.cloned().collect::<Vec<_>>()
        };
        assert_eq!(of_store(&now), of_store(&before), "{context}");
        assert!(format_of(&store).contains(&made), "{context}: nothing was written");
        // Written, settled, and mounted again.
        for (name, bytes) in &mut contents {
            let mut file = fs::File::options().append(true).open(shown.join(name)).expect("open");
            file.write_all(b"one more\n").expect("written");
            file.sync_all().expect("fsync");
            bytes.extend(b"one more\n");
        }
        mount.remount();
        reads(&shown, &contents, &context);
        assert!(format_of(&store).contains(&made), "{context}: its logs go on as they are");
        mount.settle();
        mount.remount();
        reads(&shown, &contents, &context);
        for codec in CODECS {
            let name = format!("{codec}/log");
            let meta = fs::metadata(mount.path(&name)).expect("stat");
            assert!(meta.blocks() * 512 < meta.len(), "{context}: {name} is compressed");
        }
        mount.unmount();
        mount.check();
        assert!(!format_of(&store).contains(&made), "{context}: older programs leave it alone now");
    }
}

/// Older programs would take a file that the kernel writes by itself for an image, if it begins like one; and a repair
/// makes images, too.
fn marked(dir: &Path) {
    machine::need_root();
    let store = unpacked(dir, 2);
    let shown = dir.join("shown");
    fs::create_dir(&shown).expect("a directory");
    let mut mount = Mount::at(&store, &shown, "compressfs", "profile=data,settle=1h,scan=no");
    assert!(format_of(&store).contains("\"format\":2"));
    fs::write(mount.path("new"), b"left to the kernel\n").expect("written");
    assert!(!format_of(&store).contains("\"format\":2"), "a file has got a mark");
    mount.unmount();
}

fn repaired(dir: &Path) {
    machine::need_root();
    let store = unpacked(dir, 2);
    let sealed = fs::File::options().write(true).open(store.join("zstd/sealed")).expect("open");
    sealed.write_all_at(&[0xff; 16], 400).expect("damaged");
    drop(sealed);
    let repair = || Run::new(machine::hsci()).args(["check", "--repair"]).arg(&store).done();
    let done = repair();
    assert!(
        done.out.contains("zstd/sealed: the seek table for other programs: made anew"),
        "{} {}",
        done.out,
        done.err
    );
    assert!(!format_of(&store).contains("\"format\":2"), "it has an image of this format");
}

fn later(dir: &Path) {
    machine::need_root();
    let store = unpacked(dir, 2);
    let text = format_of(&store).replace("\"format\":2", "\"format\":99");
    fs::write(store.join(".hsci/store"), text).expect("written");
    let before = seen(&store, true);
    let shown = dir.join("shown");
    fs::create_dir(&shown).expect("a directory");
    let hsci = |arguments: &[&str]| {
        let run = Run::new(machine::hsci()).args(arguments.iter().copied());
        let run = run.arg(&store);
        match arguments[0] {
            "check" => run.done(),
            "export" => run.arg(dir.join("exported")).done(),
            _ => run.arg(&shown).done(),
        }
    };
    for arguments in
        [&["mount"][..], &["mount", "-o", "ro"], &["check"], &["check", "--repair"], &["export"]]
    {
        let done = hsci(arguments);
        assert_eq!(done.code, 6, "{arguments:?}: {}", done.err);
        assert!(done.err.contains("newer"), "{arguments:?}: {}", done.err);
        assert!(seen(&store, true) == before, "{arguments:?} changes something");
    }
}
