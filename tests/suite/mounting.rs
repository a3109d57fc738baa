//! The ways to mount: as root, as anybody, over itself, through mount(8) and fstab.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine, sys};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "mounting::unprivileged_through_fusermount3", seconds: 60, body: unprivileged },
    Test { name: "mounting::over_itself", seconds: 60, body: over_itself },
    Test { name: "mounting::through_mount_8", seconds: 60, body: mount_8 },
    Test { name: "mounting::through_an_fstab_line", seconds: 60, body: fstab },
    Test { name: "mounting::read_only", seconds: 60, body: read_only },
    Test {
        name: "mounting::plain_files_are_served_and_compressed",
        seconds: 60,
        body: plain_files,
    },
    Test { name: "mounting::sigterm_unmounts", seconds: 60, body: sigterm },
    Test { name: "mounting::debug_logs_every_request_with_its_time", seconds: 60, body: debug },
    Test { name: "mounting::a_store_in_a_mount_is_refused", seconds: 60, body: in_a_mount },
    Test { name: "mounting::exported_store_equals_the_mount", seconds: 60, body: export },
];

/// Runs programs as Alice, who may use `/dev/fuse` from now on and has the directories `lower` and `mount` in `dir`.
pub(crate) fn alice_in(dir: &Path) -> impl Fn(PathBuf) -> Run + '_ {
    machine::need_root();
    machine::need("fusermount3");
    machine::open_dev_fuse(dir);
    for name in ["lower", "mount", "run"] {
        fs::create_dir(dir.join(name)).expect("directory");
        Run::new("chown").arg(ALICE.to_string()).arg(dir.join(name)).ok();
    }
    move |program| {
        Run::as_user(ALICE, program).env("XDG_RUNTIME_DIR", dir.join("run")).env("HOME", dir)
    }
}

fn unprivileged(dir: &Path) {
    let alice = alice_in(dir);
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    let hsci = |arguments: &[&str]| alice(machine::hsci()).args(arguments);
    hsci(&["mount", "-o", "settle=10m"]).arg(&lower).arg(&point).ok();
    let write = format!("seq 100000 > '{0}/numbers'; cat '{0}/numbers' | tail -1", point.display());
    let run = |line: &str| alice("bash".into()).args(["-ec", line]);
    assert_eq!(run(&write).ok(), "100000\n");
    assert_ne!(Run::as_user(BOB, "ls").arg(&point).done().code, 0, "it is Alice's alone");
    hsci(&["algorithm", "set", "lz4"]).arg(&point).ok();
    hsci(&["settle"]).arg(&point).ok();
    assert!(hsci(&["usage"]).arg(&point).ok().contains("lz4"));
    hsci(&["unmount"]).arg(&point).ok();
    let stored = fs::metadata(lower.join("numbers")).expect("stored");
    assert!(stored.size() < 450_000 && stored.uid() == ALICE, "compressed, and hers");
    hsci(&["check"]).arg(&lower).ok();
    hsci(&["mount"]).arg(&lower).arg(&point).ok();
    let get = hsci(&["algorithm", "get"]).arg(&point).ok();
    assert!(get.contains("lz4"), "the choice survives: {get}");
    assert_eq!(run(&format!("tail -1 '{}/numbers'", point.display())).ok(), "100000\n");
    hsci(&["unmount"]).arg(&point).ok();
}

fn over_itself(dir: &Path) {
    let place = dir.join("place");
    fs::create_dir(&place).expect("directory");
    let text = "the same line\n".repeat(10_000);
    fs::write(place.join("old"), &text).expect("write");
    let mut mount = Mount::at(&place, &place, "compressfs", "");
    assert_eq!(fs::read_to_string(place.join("old")).expect("read"), text);
    fs::write(place.join("new"), &text).expect("write");
    mount.settle();
    mount.remount();
    assert_eq!(fs::read_to_string(place.join("new")).expect("read"), text);
    mount.unmount();
    for name in ["old", "new"] {
        let stored = fs::metadata(place.join(name)).expect("stored").size();
        assert!(stored < 10_000, "{name} is stored in {stored} bytes");
    }
    mount.check();
    let alone = Run::new(machine::hsci()).arg("mount").arg(&place).done();
    alone.ok();
    assert_eq!(fs::read_to_string(place.join("new")).expect("read"), text, "DIR alone");
    Run::new(machine::hsci()).arg("unmount").arg(&place).ok();
}

/// Puts the mount helper where mount(8) looks for it, for this process only.
fn install_helper(dir: &Path) {
    machine::need_root();
    sys::own_mounts();
    let link = Path::new("/sbin/mount.fuse.hsci");
    let sbin = fs::canonicalize("/sbin").expect("/sbin");
    let layers = ["upper", "work"].map(|name| dir.join(name));
    layers.iter().for_each(|layer| fs::create_dir(layer).expect("directory"));
    let overlay = format!(
        "lowerdir={},upperdir={},workdir={}",
        sbin.display(),
        layers[0].display(),
        layers[1].display()
    );
    let done = Run::new("mount").args(["-t", "overlay", "none", "-o", &overlay]).arg(&sbin).done();
    if done.code != 0 {
        hsci_tests::skip(&format!("no overlay over /sbin: {}", done.err.trim()));
    }
    let _ = fs::remove_file(link);
    std::os::unix::fs::symlink(machine::hsci(), link).expect("link");
}

fn mount_8(dir: &Path) {
    install_helper(dir);
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    fs::create_dir(&lower).expect("directory");
    fs::create_dir(&point).expect("directory");
    let mount = |options: &str| {
        let run = Run::new("mount").args(["-t", "fuse.hsci", "-o", options]);
        run.arg(&lower).arg(&point).done()
    };
    mount("algorithm=lz4,noatime,nodev").ok();
    let listed = Run::new("findmnt").args(["-n", "-o", "SOURCE,FSTYPE,OPTIONS"]).arg(&point).ok();
    for word in ["fuse.hsci", "noatime", "nodev", &lower.to_string_lossy()] {
        assert!(listed.contains(word), "`{word}` in {listed}");
    }
    fs::write(point.join("file"), "x".repeat(100_000)).expect("write");
    Run::new(machine::hsci()).arg("settle").arg(&point).ok();
    assert!(Run::new(machine::hsci()).arg("usage").arg(&point).ok().contains("lz4"));
    Run::new("umount").arg(&point).ok();
    assert!(fs::metadata(lower.join("file")).expect("stored").size() < 50_000);
    let refused = mount("algorithm=brotli");
    assert!(refused.code != 0 && refused.err.contains("brotli"), "{}", refused.err);
}

fn fstab(dir: &Path) {
    install_helper(dir);
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    fs::create_dir(&lower).expect("directory");
    fs::create_dir(&point).expect("directory");
    let table = dir.join("fstab");
    let line = format!(
        "{} {} fuse.hsci extension=nullfs,nosuid,noauto 0 0\n",
        lower.display(),
        point.display()
    );
    fs::write(&table, line).expect("fstab");
    Run::new("mount").arg("--fstab").arg(&table).arg(&point).ok();
    fs::write(point.join("file"), "content").expect("write");
    Run::new("umount").arg(&point).ok();
    assert_eq!(fs::read(lower.join("file")).expect("read"), b"content");
}

fn read_only(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "");
    fs::write(mount.path("file"), "x".repeat(100_000)).expect("write");
    mount.unmount();
    let mount = Mount::at(mount.lower(), mount.dir(), "compressfs", "ro");
    assert_eq!(fs::read(mount.path("file")).expect("read").len(), 100_000);
    let refused = fs::write(mount.path("file"), "").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

fn plain_files(dir: &Path) {
    let lower = dir.join("mount.lower");
    fs::create_dir(&lower).expect("directory");
    let text = "found in the lower directory\n".repeat(20_000);
    fs::write(lower.join("plain"), &text).expect("write");
    Run::new("touch").args(["-d", "2001-02-03 04:05:06.789"]).arg(lower.join("plain")).ok();
    let before = fs::metadata(lower.join("plain")).expect("stat");
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=100ms");
    assert_eq!(fs::read_to_string(mount.path("plain")).expect("read"), text);
    mount.settle();
    let after = fs::metadata(lower.join("plain")).expect("stat");
    assert!(after.blocks() * 4 < before.blocks(), "compressed");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    let logical = fs::metadata(mount.path("plain")).expect("stat");
    assert_eq!((logical.size(), logical.blocks()), (text.len() as u64, after.blocks()));
    mount.remount();
    assert_eq!(fs::read_to_string(mount.path("plain")).expect("read"), text);
    let zstd = machine::find("zstdcat").map(|program| Run::new(program).arg(lower.join("plain")));
    assert!(zstd.is_none_or(|run| run.ok() == text), "zstdcat prints it");
}

fn sigterm(dir: &Path) {
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    fs::create_dir(&lower).expect("directory");
    fs::create_dir(&point).expect("directory");
    let run = Run::new(machine::hsci()).args(["mount", "--foreground"]);
    let mut child = run.arg(&lower).arg(&point).start();
    let mounted = || {
        fs::read_to_string("/proc/self/mountinfo")
            .is_ok_and(|table| table.contains(&*point.to_string_lossy()))
    };
    let wait_for = |wanted: bool| {
        for _ in 0..200 {
            if mounted() == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("mounted: {}", mounted());
    };
    wait_for(true);
    fs::write(point.join("file"), "content").expect("write");
    Run::new("kill").args(["-TERM", &child.id().to_string()]).ok();
    wait_for(false);
    assert!(child.wait().expect("wait").success(), "SIGTERM is an orderly end");
    assert_eq!(fs::read(lower.join("file")).expect("read"), b"content");
}

fn export(dir: &Path) {
    use hsci_tests::tree;
    let mut mount = Mount::new(dir, "mount", "compressfs", "");
    let sources = machine::project().join("framework");
    Run::new("cp").arg("-r").arg(&sources).arg(mount.path("sources")).ok();
    fs::write(mount.path("big"), "0123456789".repeat(100_000)).expect("write");
    mount.settle();
    fs::write(mount.path("big"), "changed").expect("write");
    let kept = dir.join("kept");
    Run::new("cp").arg("-a").arg(mount.dir()).arg(&kept).ok();
    mount.unmount();
    let (all, one) = (dir.join("all"), dir.join("one"));
    let run = || Run::new(machine::hsci()).arg("export").arg(mount.lower());
    run().arg(&all).ok();
    tree::assert_equal(&kept, &all, tree::Leave::default());
    run().arg("sources/extension/src/lib.rs").arg(&one).ok();
    let source = fs::read(sources.join("extension/src/lib.rs")).expect("read");
    assert_eq!(fs::read(one).expect("read"), source);
    run().arg(&all).done().fails(4, &["all"]);
}

fn debug(dir: &Path) {
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    fs::create_dir(&lower).expect("directory");
    fs::create_dir(&point).expect("directory");
    let line = "\"$HSCI\" mount lower mount -x nullfs --debug 2> log &
        until mountpoint -q mount; do sleep 0.05; done
        mkdir mount/dir
        echo hello > mount/dir/greeting
        ! cat mount/missing
        rm mount/dir/greeting
        \"$HSCI\" unmount mount
        wait";
    Run::shell(line).env("HSCI", machine::hsci()).dir(dir).ok();
    let log = fs::read_to_string(dir.join("log")).expect("a log");
    for (request, answer) in [
        ("mkdir /dir by user 0, process ", ": done, "),
        ("mknod /dir/greeting by user 0, process ", ": done, "),
        ("write /dir/greeting by user 0, process ", ": done, "),
        ("lookup /missing by user 0, process ", ": No such file or directory"),
        ("unlink /dir/greeting by user 0, process ", ": done, "),
    ] {
        let is_it = |line: &&str| line.contains(request) && line.contains(answer);
        let line = log.lines().find(is_it).unwrap_or_else(|| panic!("{request}{answer}: {log}"));
        let micros = line.strip_suffix(" us").and_then(|line| line.rsplit(' ').next());
        assert!(micros.is_some_and(|number| number.parse::<u64>().is_ok()), "{line}");
    }
}

fn in_a_mount(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "");
    let other = dir.join("other");
    fs::create_dir(&other).expect("directory");
    let done = Run::new(machine::hsci()).arg("mount").arg(mount.dir()).arg(&other).done();
    done.fails(3, &["lies in the mount of", "--extension", &mount.lower().to_string_lossy()]);
}
