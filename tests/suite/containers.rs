//! What the page about containers says, in the kernel's own parts of a container: namespaces, capabilities, mounts
//! that follow.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, Test, machine, sys};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "containers::a_mount_of_the_machine_serves_one_through_restarts",
        seconds: 120,
        body: given,
    },
    Test {
        name: "containers::root_without_the_capability_is_told_what_is_missing",
        seconds: 60,
        body: no_capability,
    },
    Test {
        name: "containers::an_unmount_names_who_has_a_mount_for_itself",
        seconds: 90,
        body: other_namespaces,
    },
    Test { name: "containers::root_of_a_user_namespace_mounts", seconds: 60, body: user_namespace },
    Test {
        name: "containers::what_one_serves_is_locked_for_the_machine",
        seconds: 60,
        body: locked,
    },
];

/// A mount that a namespace has for itself, and one that goes where the machine's goes.
fn other_namespaces(dir: &Path) {
    machine::need_root();
    sys::own_mounts();
    Run::shell("mount --bind . . && mount --make-rshared .").dir(dir).ok();
    let mut mount = Mount::new(dir, "shown", "nullfs", "");
    let lives_apart = |propagation: &str| {
        let run = Run::new("unshare").args(["-m", "--propagation", propagation, "sleep", "600"]);
        let child = run.start();
        let place = format!("/proc/{}", child.id());
        let is_asleep =
            || fs::read_to_string(format!("{place}/comm")).is_ok_and(|name| name == "sleep\n");
        while !is_asleep() {
            thread::sleep(Duration::from_millis(10));
        }
        (child, fs::read_to_string(format!("{place}/mountinfo")).expect("its mounts"))
    };
    let place = mount.dir().display().to_string();
    let (mut follower, mounts) = lives_apart("slave");
    assert!(mounts.contains(&place));
    mount.unmount();
    follower.kill().and_then(|()| follower.wait()).expect("killed");
    mount.mount();
    let (mut other, _) = lives_apart("private");
    let done = Run::new(machine::hsci()).arg("unmount").arg(mount.dir()).done();
    done.fails(5, &["unmounted here", "mount namespace of sleep", &place]);
    // It goes on for the other, and ends with it.
    let lower = mount.lower().to_owned();
    assert_eq!(machine::workers(&lower).len(), 1);
    let again = || {
        Run::new(machine::hsci())
            .args(["mount", "--extension", "nullfs"])
            .arg(&lower)
            .arg(&place)
            .done()
    };
    again().fails(5, &["served already", "end the process"]);
    other.kill().and_then(|()| other.wait()).expect("killed");
    let began = Instant::now();
    while again().code != 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the mount has not ended");
        thread::sleep(Duration::from_millis(50));
    }
    mount.is_mounted();
    mount.unmount();
}

/// Gives a shell in the directory of the test a root, a `/run` and mounts of its own, `data` and `later` among them. It
/// goes on when told, by a file in `steps`.
const CONTAINER: &str = r#"
    mount --make-rslave /
    mkdir root
    mount -t tmpfs none root
    mkdir root/{usr,proc,data,later,steps,old}
    for name in bin lib lib64 sbin; do ln -s usr/$name root/$name; done
    mount --rbind -o ro /usr root/usr
    mount --rbind steps root/steps
    for name in data later; do mount --rbind $name root/$name; mount --make-rslave root/$name; done
    cd root
    pivot_root . old
    mount -t proc none /proc
    umount -l /old
    cd /
    next() { touch /steps/$1.done; while ! test -e /steps/$2; do sleep 0.05; done; }
    test "$(cat /data/file)" = before
    exec 3< /data/file
    next began killed
    test "$(cat <&3)" = before
    echo inside > /data/inside
    next served upgraded
    echo again >> /data/inside
    next served-again later
    test "$(cat /later/file)" = later
    touch /steps/ended.done
"#;

fn given(dir: &Path) {
    machine::need_root();
    sys::own_mounts();
    // As on a machine that systemd has started.
    Run::shell("mount --bind . . && mount --make-rshared .").dir(dir).ok();
    let steps = dir.join("steps");
    fs::create_dir(&steps).expect("a directory");
    fs::create_dir(dir.join("later")).expect("a directory");
    let mount = Mount::new(dir, "data", "compressfs", "");
    fs::write(mount.path("file"), "before\n").expect("written");
    let unshare = ["-m", "-p", "-i", "-u", "--fork", "--propagation", "unchanged"];
    let container = Run::new("unshare").args(unshare).args(["bash", "-eu", "-c", CONTAINER]);
    let mut container = container.dir(dir).start();
    let mut wait = |step: &str| {
        let (done, began) = (steps.join(format!("{step}.done")), Instant::now());
        while !done.exists() {
            let ended = container.try_wait().expect("a child");
            assert!(ended.is_none(), "the container ended before {step}: {ended:?}");
            assert!(began.elapsed() < Duration::from_secs(60), "{step}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let go = |step: &str| fs::write(steps.join(step), "").expect("written");
    wait("began");
    let worker = mount.status()["worker_pid"].as_u64().expect("a worker");
    Run::shell(format!("kill -9 {worker}")).ok();
    go("killed");
    wait("served");
    mount.hsci(["upgrade"]).ok();
    go("upgraded");
    wait("served-again");
    let later = Mount::new(dir, "later", "compressfs", "");
    fs::write(later.path("file"), "later\n").expect("written");
    go("later");
    assert!(container.wait().expect("a child").success());
    let inside = fs::read_to_string(mount.path("inside")).expect("what the container wrote");
    assert_eq!(inside, "inside\nagain\n");
}

fn no_capability(dir: &Path) {
    machine::need_root();
    machine::need("setpriv");
    let run = |line: &str| {
        let run = Run::new("setpriv").args(["--bounding-set", "-sys_admin", "--inh-caps"]);
        run.args(["-sys_admin", machine::hsci().to_str().expect("UTF-8")]).args(line.split(' '))
    };
    fs::create_dir(dir.join("lower")).expect("a directory");
    fs::create_dir(dir.join("mount")).expect("a directory");
    run("mount lower mount").dir(dir).done().fails(3, &["not permitted", "hsci doctor"]);
    run("doctor").dir(dir).done().fails(3, &["root without CAP_SYS_ADMIN", "mount outside"]);
}

fn user_namespace(dir: &Path) {
    machine::need_root();
    machine::open_dev_fuse(dir);
    Run::shell(format!("install -d -o {ALICE} -g {ALICE} lower mount")).dir(dir).ok();
    let inside = |line: &str| {
        let run = Run::as_user(ALICE, "unshare").args(["-Urm", "bash", "-eu", "-c", line]);
        run.dir(dir).env("HSCI", machine::hsci())
    };
    if inside("true").done().code != 0 {
        hsci_tests::runner::skip("users may make no namespaces here");
    }
    let line = "mount -t tmpfs none /run; $HSCI mount lower mount; seq 1000 > mount/file
        $HSCI settle mount; stat -c %u mount/file; tail -n 1 mount/file; $HSCI unmount mount";
    assert_eq!(inside(line).ok(), "0\n1000\n");
    let stored = Run::shell("stat -c %u lower/file").dir(dir).ok();
    assert_eq!(stored, format!("{ALICE}\n"));
}

fn locked(dir: &Path) {
    machine::need_root();
    Run::shell("mkdir lower mount other").dir(dir).ok();
    let line =
        "mount -t proc none /proc; mount -t tmpfs none /run; $HSCI mount lower mount; touch served
        while ! test -e end; do sleep 0.05; done; $HSCI unmount mount";
    let run = Run::new("unshare").args(["-m", "-p", "--fork", "bash", "-eu", "-c", line]);
    let mut container = run.dir(dir).env("HSCI", machine::hsci()).start();
    while !dir.join("served").exists() {
        assert!(container.try_wait().expect("a child").is_none(), "it is mounted");
        thread::sleep(Duration::from_millis(20));
    }
    let mount = || Run::new(machine::hsci()).args(["mount", "lower", "other"]).dir(dir).done();
    // Its number is another process's here.
    mount().fails(5, &["served already", "of a container"]);
    fs::write(dir.join("end"), "").expect("written");
    assert!(container.wait().expect("a child").success());
    mount().ok();
    Run::new(machine::hsci()).args(["unmount", "other"]).dir(dir).ok();
}
