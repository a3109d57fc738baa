//! What a worker may do, and what becomes of one that tries more.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use hsci_tests::command::ALICE;
use hsci_tests::sys::hostile;
use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "sandbox::a_worker_under_load_has_what_it_needs", seconds: 60, body: load },
    Test { name: "sandbox::a_worker_that_was_taken_over_stays_inside", seconds: 120, body: inside },
    Test { name: "sandbox::attributes_of_the_kernel_work_for_root", seconds: 60, body: attributes },
    Test { name: "sandbox::what_is_mounted_below_is_not_served", seconds: 60, body: nested },
    Test { name: "sandbox::the_lower_file_system_stays_mounted", seconds: 60, body: pinned },
    Test { name: "sandbox::a_mount_in_a_chroot_ends_after_a_restart", seconds: 180, body: chroot },
    Test { name: "sandbox::who_reads_a_store_can_only_read", seconds: 60, body: reading },
    Test { name: "sandbox::who_reads_a_journal_has_no_rights", seconds: 60, body: recovering },
    Test { name: "sandbox::a_users_worker_reaches_the_store_alone", seconds: 60, body: users },
    Test { name: "sandbox::needs_are_shown", seconds: 60, body: needs },
];

/// chown, dac_override, dac_read_search, fowner, fsetid, setgid, setuid, mknod, setfcap.
const CAPABILITIES: u64 = 0xdf | 1 << 27 | 1 << 31;

/// A root directory that is no mount: a worker that kept a table with its own mount in it would keep that alive.
fn chroot(dir: &Path) {
    machine::need_root();
    let hsci = machine::hsci();
    let programs = hsci.parent().expect("a directory");
    let script = r#"
        root=$1 programs=$2
        mkdir -p "$root/store" "$root/files"
        for dir in /usr /lib /lib64 /bin /etc /proc /dev /run "$programs"; do
            [ -e "$dir" ] || continue
            mkdir -p "$root${dir%/*}"
            if [ -L "$dir" ]; then cp -P "$dir" "$root$dir"; continue; fi
            mkdir -p "$root$dir" && mount --rbind "$dir" "$root$dir"
        done
        inside() { chroot "$root" "$@"; }
        inside "$programs/hsci" mount /store /files
        echo kept > "$root/files/file"
        inside "$programs/hsci" upgrade /files >&2
        inside "$programs/hsci" status --json /files
        timeout 60 chroot "$root" "$programs/hsci" unmount /files >&2
        ! grep -q "$root/files" /proc/self/mounts
    "#;
    let isolated = ["--mount", "--propagation", "private", "bash", "-eu", "-c", script, "chroot"];
    let run = Run::new("unshare").args(isolated).arg(dir.join("root")).arg(programs);
    let status: serde_json::Value = serde_json::from_str(&run.ok()).expect("a status");
    assert_eq!(status["sandbox"]["kept"], serde_json::json!([]), "{status}");
    assert_eq!(status["workers"], 2);
}

fn worker(mount: &Mount) -> u64 {
    mount.status()["worker_pid"].as_u64().expect("a process")
}

/// The process that brings a store into order, before it is given anything to read.
fn recovering(dir: &Path) {
    machine::need_root();
    if !cfg!(debug_assertions) {
        hsci_tests::skip("optimised builds have no points to stop at");
    }
    let (lower, shown, mark) = (dir.join("lower"), dir.join("shown"), dir.join("mark"));
    fs::create_dir_all(&lower).expect("a directory");
    fs::create_dir_all(&shown).expect("a directory");
    let run = Run::new(machine::hsci()).arg("mount").arg(&lower).arg(&shown);
    let mut mounting = run.env("HSCI_PAUSE", format!("recovery:{}", mark.display())).start();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !done() {
            assert!(begun.elapsed().as_secs() < 30, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    };
    until("nobody has started a process to recover", &|| mark.exists());
    let workers = machine::workers(&lower);
    let worker = *workers.first().expect("a worker");
    let children = format!("/proc/{worker}/task/{worker}/children");
    let child = fs::read_to_string(children).expect("its children").trim().to_owned();
    let status = || fs::read_to_string(format!("/proc/{child}/status")).expect("its state");
    let field = |name: &str| {
        let status = status();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.expect("a field").trim().to_owned()
    };
    until("it does not confine itself", &|| field("Seccomp") == "2");
    let users = field("Uid");
    assert!(users.split_whitespace().all(|user| user != "0"), "{users}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), format!("{:016x}", 0), "{set}");
    }
    assert_eq!((field("NoNewPrivs"), field("Groups")), ("1".to_owned(), String::new()));
    let open = fs::read_dir(format!("/proc/{child}/fd")).expect("its descriptors").flatten();
    let open = open.map(|entry| entry.file_name().to_string_lossy().parse().expect("a number"));
    let others: Vec<u32> = open.filter(|number| *number > 2).collect();
    assert_eq!(others.len(), 1, "it has a way to its keeper and nothing else: {others:?}");
    let root = format!("/proc/{child}/root");
    assert_eq!(fs::read_dir(root).expect("its files").count(), 1, "the list of its descriptors");
    fs::remove_file(&mark).expect("the mark");
    assert!(mounting.wait().expect("it ends").success());
    until("it outlives the start", &|| !Path::new(&format!("/proc/{child}")).exists());
    Run::new(machine::hsci()).arg("unmount").arg(&shown).ok();
}

fn load(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "mount", "compressfs", "settle=200ms");
    let worker = worker(&mount);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                let path = mount.path(&(number % 50).to_string());
                fs::write(&path, vec![b'a'; 100_000]).expect("write");
                fs::read(&path).expect("read");
                fs::remove_file(&path).expect("unlink");
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let check = || {
            for _ in 0..20 {
                threads(worker);
                descriptors(worker, &mount);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            surroundings(worker);
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let kept = mount.status()["sandbox"]["kept"].clone();
    assert_eq!(kept, serde_json::json!([]), "nothing is kept that could be given up");
}

/// Every thread has the few capabilities, and system calls limited.
fn threads(worker: u64) {
    for thread in fs::read_dir(format!("/proc/{worker}/task")).expect("threads").flatten() {
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(':')).expect(name).trim().to_owned()
        };
        for (name, expected) in [
            ("CapInh", 0),
            ("CapPrm", CAPABILITIES),
            ("CapEff", CAPABILITIES),
            ("CapBnd", CAPABILITIES),
            ("CapAmb", 0),
        ] {
            assert_eq!(field(name), format!("{expected:016x}"), "{name}");
        }
        assert_eq!((&*field("NoNewPrivs"), &*field("Seccomp")), ("1", "2"));
    }
}

/// Everything that is open is the store, the mount, its lock, the log, or a way to the supervisor.
fn descriptors(worker: u64, mount: &Mount) {
    let device = fs::metadata(mount.lower()).expect("the store").dev();
    let log = mount.status()["log"].as_str().unwrap_or("/dev/null").to_owned();
    let known = ["socket:", "/memfd:", "anon_inode:", "/dev/fuse", "/dev/null"];
    for entry in fs::read_dir(format!("/proc/{worker}/fd")).expect("descriptors").flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let text = target.to_string_lossy().into_owned();
        // On files of the host's own, which others cannot open.
        let is_lock = text.starts_with("/run/hsci/") && text.ends_with(".lock");
        if is_lock || text == log || known.iter().any(|known| text.starts_with(known)) {
            continue;
        }
        let Ok(there) = fs::metadata(entry.path()) else { continue };
        assert_eq!(there.dev(), device, "{text}");
        // On its own mount the store begins with `/`: a path of the machine would say where it is.
        assert!(!target.starts_with(mount.lower()), "{text}");
    }
}

/// Nothing can be named but its own descriptors, and no core is left.
fn surroundings(worker: u64) {
    let mounts = fs::read_to_string(format!("/proc/{worker}/mountinfo")).expect("mounts");
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    assert_eq!(places.collect::<Vec<_>>(), ["/", "/proc/self/fd"], "{mounts}");
    let space = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).expect("a space");
    assert_ne!(space(&worker.to_string()), space("self"));
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("cores");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

/// What is refused with an error.
const REFUSED: &[&str] = &[
    "read-secret",
    "climb",
    "other-file-system",
    "init-memory",
    "parent-memory",
    "parent-environment",
    "parent-root",
    "victims-root",
    "victims-memory",
    "kernel-parameters",
    "device",
    "write-root",
    "is-dumpable",
];

/// What ends the worker.
pub(crate) const DEADLY: &[&str] = &[
    "execve",
    "fork",
    "socket",
    "ptrace",
    "mount",
    "unshare",
    "setns",
    "bpf",
    "io-uring",
    "kill",
    "tgkill",
    "process-memory",
    "setuid",
    "dumpable",
    "parents-limit",
    "keep-signal",
    "chroot",
    "keyring",
    "terminal",
];

fn inside(dir: &Path) {
    machine::need_root();
    let secret = dir.join("secret");
    fs::write(&secret, "secret").expect("write");
    for path in [dir, &secret] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let mut victim = Run::as_user(ALICE, "sleep").arg("1000").start();
    let options = format!(
        "secret={},victim={},handle={}",
        secret.display(),
        victim.id(),
        hostile::handle_of(Path::new("/dev/null"))
    );
    let mount = Mount::new(dir, "mount", "hostile", &options);
    for attempt in REFUSED {
        let outcome = try_to(&mount, attempt);
        println!("{attempt}: {outcome}");
        assert!(outcome.starts_with("refused"), "{attempt}: {outcome}");
    }
    let supervisor = mount.status()["supervisor_pid"].clone();
    for (number, attempt) in DEADLY.iter().enumerate() {
        assert_eq!(try_to(&mount, attempt), "ended", "{attempt}");
        let status = mount.status();
        assert_eq!(status["workers"], number + 2, "{attempt}");
        assert_eq!(status["supervisor_pid"], supervisor);
    }
    let log = mount.status()["log"].as_str().expect("a log").to_owned();
    let log = fs::read_to_string(log).expect("the log");
    for name in ["execve", "socket", "process_vm_writev", "prctl"] {
        assert!(log.contains(&format!("may not make: {name} (")), "{name} is not named: {log}");
    }
    let _ = victim.kill();
    let _ = victim.wait();
}

fn try_to(mount: &Mount, attempt: &str) -> String {
    let mut value = Vec::with_capacity(1000);
    let name = format!("user.try-{attempt}");
    let space = rustix::buffer::spare_capacity(&mut value);
    rustix::fs::getxattr(mount.dir(), name, space)
        .unwrap_or_else(|error| panic!("{attempt}: {error}"));
    String::from_utf8(value).expect("text")
}

/// `check`, `export` and questions about an extension: the same extension has nothing to gain there.
fn reading(dir: &Path) {
    machine::need_root();
    machine::need("getfattr");
    let (store, copy) = (dir.join("store"), dir.join("copy"));
    fs::create_dir(&store).expect("directory");
    fs::write(store.join("tell"), "").expect("write");
    let hsci = |words: &[&str]| Run::new(machine::hsci()).args(words).arg(&store);
    let checked = hsci(&["check", "--extension", "hostile"]).ok();
    stays_inside(&checked);
    assert!(!store.join("made").exists());

    hsci(&["export", "--extension", "hostile"]).arg(&copy).ok();
    let told =
        Run::new("getfattr").args(["--only-values", "-n", "user.told"]).arg(copy.join("tell")).ok();
    stays_inside(&told);

    let program = machine::programs().join("hsci-extension-hostile");
    let described = Run::new(&program).arg("describe").ok();
    assert!(described.contains("by user 65534"), "{described}");
}

/// Every attempt was refused, and nothing can be done but reading.
fn stays_inside(told: &str) {
    println!("{told}");
    let line = |name: &str| {
        let line = told.lines().find_map(|line| line.split_once(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}: {told}")).1.to_owned()
    };
    for name in
        ["change-store", "read-secret", "climb", "write-root", "kernel-parameters", "is-dumpable"]
    {
        assert!(line(name).starts_with("refused"), "{name}: {told}");
    }
    assert_eq!(line("rights"), "CapabilitySet(DAC_READ_SEARCH)");
}

/// The worker of a user's own mount has the user's rights, and uses them in the lower directory only.
fn users(dir: &Path) {
    machine::need_root();
    machine::need("fusermount3");
    machine::need("getfattr");
    machine::open_dev_fuse(dir);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    // What it would make is there: getfattr asks twice, and is to get the same answer.
    for name in ["lower", "lower/made", "lower/below", "lower/beside", "mount", "run"] {
        fs::create_dir(dir.join(name)).expect("directory");
        std::os::unix::fs::chown(dir.join(name), Some(ALICE), Some(ALICE)).expect("chown");
    }
    let secret = dir.join("secret");
    fs::write(&secret, "secret").expect("write");
    let alice = |program: &Path| {
        Run::as_user(ALICE, program).env("XDG_RUNTIME_DIR", dir.join("run")).env("HOME", dir)
    };
    assert_eq!(alice("cat".as_ref()).arg(&secret).ok(), "secret", "she may read it herself");
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    let options = format!("secret={}", secret.display());
    let mount = alice(&machine::hsci()).args(["mount", "-x", "hostile", "-o", &options]);
    mount.arg(&lower).arg(&point).ok();
    let told = alice("getfattr".as_ref()).args(["--only-values", "-n", "user.told"]);
    let told = told.arg(&point).done();
    let line = format!(
        "cd '{}'; echo text > below/file; mv below/file beside; cat beside/file",
        point.display()
    );
    let moved = alice("bash".as_ref()).args(["-ec", &line]).done();
    let status = alice(&machine::hsci()).args(["status", "--json"]).arg(&point).done();
    let told_of: serde_json::Value = serde_json::from_str(&status.out).expect("a status");
    // What a debugger may read as well.
    let memory = format!("/proc/{}/environ", told_of["worker_pid"]);
    let memory = alice("cat".as_ref()).arg(memory).done();
    alice(&machine::hsci()).arg("unmount").arg(&point).ok();
    assert!(memory.code != 0 && memory.err.contains("Permission denied"), "{memory:?}");
    if status.out.contains("no Landlock") {
        hsci_tests::skip("this kernel has no Landlock");
    }
    let told = told.ok();
    println!("{told}");
    for attempt in ["read-secret", "climb"] {
        let refused = format!("{attempt}: refused");
        assert!(told.contains(&refused), "{attempt}: {told}");
    }
    assert_eq!(moved.ok(), "text\n");
}

fn attributes(dir: &Path) {
    machine::need_root();
    machine::need("setfattr");
    let mount = Mount::new(dir, "mount", "compressfs", "");
    let file = mount.path("file");
    fs::write(&file, "content").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("mode");
    let long = "v".repeat(400);
    for name in ["trusted.hsci", "security.NTACL", "user.plain"] {
        Run::new("setfattr").args(["-n", name, "-v", &long]).arg(&file).ok();
        let get = Run::new("getfattr").args(["--only-values", "-n", name]).arg(&file).ok();
        assert_eq!(get, long, "{name}");
    }
    let list = |user: u32| Run::as_user(user, "getfattr").args(["-m", "-"]).arg(&file).ok();
    for name in ["trusted.hsci", "security.NTACL", "user.plain"] {
        assert!(list(0).contains(name), "{name}");
    }
    assert!(!list(ALICE).contains("trusted"), "{}", list(ALICE));
    for name in ["trusted.hsci", "security.NTACL"] {
        let set = ["-n", name, "-v", "x"];
        assert_ne!(Run::as_user(ALICE, "setfattr").args(set).arg(&file).done().code, 0, "{name}");
        Run::new("setfattr").args(["-x", name]).arg(&file).ok();
        assert!(!list(0).contains(name), "{name}");
    }
    Run::new("setcap").args(["cap_net_raw+ep"]).arg(&file).ok();
    assert!(Run::new("getcap").arg(&file).ok().contains("cap_net_raw"));
}

fn nested(dir: &Path) {
    machine::need_root();
    hsci_tests::sys::own_mounts();
    let (lower, mounted) = (dir.join("lower"), dir.join("mount"));
    for path in [&lower.join("below"), &mounted] {
        fs::create_dir_all(path).expect("directories");
    }
    fs::write(lower.join("below/hidden"), "of the store").expect("write");
    Run::new("mount").args(["-t", "tmpfs", "none"]).arg(lower.join("below")).ok();
    fs::write(lower.join("below/other"), "of another file system").expect("write");
    let mut mount = Mount::at(&lower, &mounted, "compressfs", "");
    assert!(fs::read(mount.path("below/other")).is_err(), "another file system is served");
    let content = fs::read_to_string(mount.path("below/hidden")).expect("read");
    assert_eq!(content, "of the store");
    fs::write(mount.path("below/new"), "x").expect("write");
    assert!(!lower.join("below/new").exists(), "written to another file system");
    mount.unmount();
    Run::new("umount").arg(lower.join("below")).ok();
    assert!(lower.join("below/new").exists());
}

fn pinned(dir: &Path) {
    let lower = dir.join("lower");
    let _lower = machine::loop_file_system("ext4", 16 << 20, &dir.join("image"), &lower);
    let store = lower.join("store");
    let mounted = dir.join("mount");
    for path in [&store, &mounted] {
        fs::create_dir_all(path).expect("directories");
    }
    let mut mount = Mount::at(&store, &mounted, "compressfs", "");
    let done = Run::new("umount").arg(&lower).done();
    assert!(done.code != 0 && done.err.contains("busy"), "{done:?}");
    mount.unmount();
}

fn needs(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "faulty", "");
    assert_eq!(mount.status()["sandbox"]["needs"], serde_json::json!(["files"]));
    let text = mount.hsci(["status"]).ok();
    assert!(text.contains("as the extension asks: files"), "{text}");
    mount.unmount();
    let run = Run::new(machine::hsci()).args(["mount", "--extension", "faulty"]);
    let done = run.arg(mount.lower()).arg(mount.dir()).done();
    assert!(done.code == 0 && done.err.contains("files"), "{done:?}");
    Run::new(machine::hsci()).arg("unmount").arg(mount.dir()).ok();
    let program = machine::programs().join("hsci-extension-faulty");
    let described = Run::new(program).arg("describe").ok();
    assert!(described.contains("\"needs\":[\"files\"]"), "{described}");
}
