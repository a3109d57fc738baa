//! Policies in force, on real mounts. The guard is not here: it has a machine of its own.

mod files;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use hsci_tests::command::{ALICE, BOB, Done};
use hsci_tests::{Mount, Run, Test, machine, sys};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "policies::algorithms_by_user_and_by_program", seconds: 300, body: algorithms },
    Test { name: "policies::calls_are_denied_and_reported", seconds: 300, body: judged },
    Test {
        name: "policies::opens_are_dispatched_where_rules_need_them",
        seconds: 300,
        body: opens,
    },
    Test { name: "policies::a_swap_under_load_judges_by_one_policy", seconds: 300, body: swap },
    Test { name: "policies::a_replaced_worker_goes_on_judging", seconds: 300, body: replaced },
    Test { name: "policies::up_and_down", seconds: 300, body: files::up_and_down },
    Test { name: "policies::no_way_leads_around_rules", seconds: 300, body: attempts },
    Test { name: "policies::what_cannot_be_enforced_is_said", seconds: 300, body: partial },
];

/// The policy of the machine: one test at a time has it.
pub(crate) struct InForce {
    file: PathBuf,
    _turn: File,
}

impl InForce {
    pub(crate) fn take(dir: &Path) -> Self {
        machine::need_root();
        let turn = File::create("/var/tmp/hsci-policies.lock").expect("a lock");
        flock(&turn, FlockOperation::LockExclusive).expect("my turn");
        // The mounts of other tests are not to be asked, nor told.
        sys::own_mounts();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        for line in mounts.lines().filter(|line| line.contains(" fuse.hsci ")) {
            let dir = line.split(' ').nth(1).expect("a directory");
            unmount(dir, UnmountFlags::DETACH).expect("detached here");
        }
        Self { file: dir.join("test.policy"), _turn: turn }
    }

    fn try_load(&self, text: &str, arguments: &[&str]) -> Done {
        fs::write(&self.file, text).expect("written");
        let run = Run::new(machine::hsci()).args(["policy", "load"]).args(arguments);
        run.arg(&self.file).done()
    }

    pub(crate) fn load(&self, text: &str) {
        self.try_load(text, &[]).ok();
    }
}

impl Drop for InForce {
    fn drop(&mut self) {
        // There may be none any more.
        let _ = Run::new(machine::hsci()).args(["policy", "unload"]).silent().done();
    }
}

pub(crate) fn open_mount(dir: &Path, extension: &str) -> Mount {
    let mount = Mount::new(
        dir,
        "mount",
        extension,
        if extension == "nullfs" { "" } else { "settle=200ms" },
    );
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    mount
}

pub(crate) fn target(dir: &Path, extension: &str) -> String {
    format!("target t = \"{}/mount\" via {extension}\n", dir.display())
}

/// All that is stored below a path has this algorithm.
pub(crate) fn is_all(path: &Path, algorithm: &str) {
    let text = Run::new(machine::hsci()).args(["usage", "--json"]).arg(path).ok();
    let usage: Value = serde_json::from_str(&text).expect("JSON");
    let rows = usage["algorithms"].as_array().unwrap_or_else(|| panic!("no rows: {text}"));
    let used = rows.iter().filter(|row| row["logical"] != 0).map(|row| &row["algorithm"]);
    assert_eq!(used.collect::<Vec<_>>(), [algorithm], "{}", path.display());
}

fn write_as(user: u32, program: &Path, source: &Path, path: &Path) {
    Run::as_user(user, program).arg(source).arg(path).ok();
}

fn algorithms(dir: &Path) {
    let in_force = InForce::take(dir);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let (cp, other) = (machine::find("cp").expect("cp"), dir.join("other cp"));
    fs::copy(&cp, &other).expect("a copy of the program");
    let source = dir.join("source");
    fs::write(&source, "some line that repeats itself\n".repeat(4000)).expect("written");
    in_force.load(&format!(
        "{}in t: set algorithm = zstd:9 when user {ALICE}\n\
         in t: set algorithm = lz4 when exe \"{}\"\n\
         in t: set algorithm = none on \"**/*.raw\"\n",
        target(dir, "compressfs"),
        other.display()
    ));
    let mount = open_mount(dir, "compressfs");
    let choose = Run::as_user(ALICE, machine::hsci()).args(["algorithm", "set", "deflate:1"]);
    choose.arg(mount.dir()).ok();
    let place = mount.path("chosen");
    fs::create_dir(&place).expect("a directory");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("chmod");
    let mark = Run::new("setfattr").args(["-n", "user.hsci.algorithm", "-v", "zstd:5"]);
    mark.arg(&place).ok();
    write_as(ALICE, &cp, &source, &mount.path("by user"));
    write_as(ALICE, &other, &source, &mount.path("by program"));
    write_as(BOB, &other, &source, &mount.path("by program of bob"));
    write_as(BOB, &cp, &source, &mount.path("by nobody"));
    write_as(ALICE, &other, &source, &mount.path("by name.raw"));
    write_as(ALICE, &cp, &source, &place.join("file"));
    mount.settle();
    is_all(&mount.path("by user"), "zstd:9");
    is_all(&mount.path("by program"), "lz4");
    is_all(&mount.path("by program of bob"), "lz4");
    is_all(&mount.path("by nobody"), "zstd:3");
    is_all(&mount.path("by name.raw"), "none");
    is_all(&place.join("file"), "zstd:5");
    let get = Run::as_user(ALICE, machine::hsci()).args(["algorithm", "get", "--json"]);
    let told = get.arg(mount.path("by user")).ok();
    assert!(told.contains("\"policy\"") && told.contains("zstd:9"), "{told}");
    // Without the policy, users have their choice again.
    Run::new(machine::hsci()).args(["policy", "unload"]).ok();
    write_as(ALICE, &other, &source, &mount.path("by choice"));
    mount.settle();
    is_all(&mount.path("by choice"), "deflate:1");
}

fn judged(dir: &Path) {
    let in_force = InForce::take(dir);
    let mount = open_mount(dir, "nullfs");
    let touch = |user: u32, name: &str| Run::as_user(user, "touch").arg(mount.path(name)).done();
    let mkdir = |user: u32, name: &str| Run::as_user(user, "mkdir").arg(mount.path(name)).done();
    touch(BOB, "before").ok();
    let requests = |name: &str| mount.status()["requests"][name].as_u64().unwrap_or_default();
    let before = (requests("mknod"), requests("mkdir"), requests("unlink"));
    in_force.load(&format!(
        "{}in t: deny(EPERM) create-file, unlink unless user {ALICE}\n\
         in t: audit mkdir\nin t: deny(EBUSY) mkdir on \"no\" as no-no because \"busy\" severity low\n",
        target(dir, "nullfs")
    ));
    touch(BOB, "new").fails(1, &["Operation not permitted"]);
    touch(ALICE, "new").ok();
    Run::as_user(BOB, "rm").arg(mount.path("before")).done().fails(1, &["not permitted"]);
    mkdir(BOB, "made").ok();
    mkdir(BOB, "no").fails(1, &["busy"]);
    // Denied calls were dispatched as others are, and reached no extension.
    let after = (requests("mknod"), requests("mkdir"), requests("unlink"));
    assert_eq!((after.0 - before.0, after.1 - before.1, after.2 - before.2), (2, 2, 1));
    assert!(mount.lower().join("new").exists());
    assert!(mount.lower().join("before").exists() && !mount.lower().join("no").exists());
    let status = mount.status();
    let told = &status["policy"];
    let counts = [&told["denied"], &told["audited"], &told["undecidable"]];
    assert_eq!(counts, [3, 2, 0], "{told}");
    assert_eq!(told["callers"], "kernel", "{told}");
    assert_eq!(told["handed_over"], told["judged"], "the kernel told of every caller: {told}");
    let trace = Run::new(machine::hsci()).args(["trace", "--json", "--count", "5"]);
    let lines = trace.arg(mount.dir()).ok();
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> =
        lines.iter().map(|line| (line["kind"].as_str(), line["error"].as_str())).collect();
    let (denied, audited) = (Some("denied"), Some("audited"));
    let (perm, busy) = (Some("EPERM"), Some("EBUSY"));
    let expected =
        [(denied, perm), (denied, perm), (audited, None), (audited, busy), (denied, busy)];
    assert_eq!(told, expected, "{lines:#?}");
    assert_eq!(lines[0]["user"], BOB);
    assert!(
        lines[4]["name"].as_str().is_some_and(|name| name.ends_with("/mount/no")),
        "{lines:#?}"
    );
    assert!(
        lines[4]["rule"].as_str().is_some_and(|rule| rule.contains("deny(EBUSY)")),
        "{lines:#?}"
    );
    let label = &lines[4]["label"];
    assert_eq!(label["name"], "no-no", "{label}");
    assert_eq!((&label["reason"], &label["severity"]), (&"busy".into(), &"low".into()), "{label}");
    // Filters show what they say, and nothing else.
    let filtered = |arguments: &[&str]| {
        let trace = Run::new(machine::hsci()).args(["trace", "--json", "--timeout", "0"]);
        trace.args(arguments).arg(mount.dir()).ok().lines().count()
    };
    assert_eq!(filtered(&["--rule", "no-no"]), 1);
    assert_eq!(filtered(&["--denied"]), 3);
    assert_eq!((filtered(&["--user", "0"]), filtered(&["--user", &BOB.to_string()])), (0, 5));
    let wrong = Run::new(machine::hsci()).args(["trace", "--rule", "nothing"]).arg(mount.dir());
    wrong.done().fails(2, &["none of that name"]);
    let list = Run::new(machine::hsci()).args(["policy", "list", "--json"]).ok();
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["rules"][2]["label"]["name"], "no-no", "{list}");
    let hits: Vec<_> =
        list["rules"].as_array().expect("rules").iter().map(|rule| &rule["hits"]).collect();
    assert_eq!(hits, [2, 2, 1], "{list}");
    let reports = Run::as_user(BOB, machine::hsci()).args(["trace", "--count", "1"]);
    reports.arg(mount.dir()).done().fails(3, &["only"]);
}

fn opens(dir: &Path) {
    let in_force = InForce::take(dir);
    let text = format!(
        "{}in t: deny open, exec on \"closed/**\" unless user {ALICE}\n\
         in t: deny(EPERM) readdir on \"unlisted\" when user {BOB}\n",
        target(dir, "nullfs")
    );
    // A mount that was made before cannot show opens any more.
    let mut mount = open_mount(dir, "nullfs");
    fs::create_dir(mount.path("closed")).expect("a directory");
    fs::copy(machine::find("true").expect("true"), mount.path("closed/true")).expect("a program");
    fs::write(mount.path("open"), "x").expect("written");
    in_force
        .try_load(&text, &[])
        .fails(3, &["mounted so that opens are not seen", "mount it anew"]);
    let loaded = in_force.try_load(&text, &["--allow-partial"]).ok();
    assert!(loaded.contains("not enforced: "), "{loaded}");
    assert_eq!(mount.status()["policy"]["opens_unseen"], true);
    assert_eq!(mount.status()["profile"], "no-open");
    mount.remount();
    let status = mount.status();
    assert_eq!(status["profile"], "dispatch-opens");
    assert!(
        status["profile_reason"].as_str().is_some_and(|why| why.contains("policy")),
        "{status}"
    );
    assert_eq!(status["policy"]["opens_unseen"], false);
    let cat = |user: u32, name: &str| Run::as_user(user, "cat").arg(mount.path(name)).done();
    cat(BOB, "open").ok();
    // The second time it is the kernel's cache that would serve it.
    for _ in 0..2 {
        cat(BOB, "closed/true").fails(1, &["Permission denied"]);
        cat(ALICE, "closed/true").ok();
    }
    fs::create_dir(mount.path("unlisted")).expect("a directory");
    let ls = |user: u32| Run::as_user(user, "ls").arg(mount.path("unlisted")).done();
    for _ in 0..2 {
        ls(ALICE).ok();
        ls(BOB).fails(2, &["Operation not permitted"]);
    }
    Run::as_user(ALICE, mount.path("closed/true")).ok();
    let run = |user: u32| {
        let line = format!("'{}'", mount.path("closed/true").display());
        Run::as_user(user, "sh").args(["-c", &line]).done()
    };
    run(ALICE).ok();
    run(BOB).fails(126, &["Permission denied"]);
    assert!(status["requests"]["open"].is_null() && mount.status()["requests"]["open"] != 0);
}

/// A rename is judged at two paths. One policy denies the first, the other the second: only a
/// mixture of both lets it pass.
fn swap(dir: &Path) {
    let in_force = InForce::take(dir);
    let mount = open_mount(dir, "nullfs");
    fs::create_dir(mount.path("a")).expect("a directory");
    fs::create_dir(mount.path("b")).expect("a directory");
    fs::write(mount.path("a/f"), "x").expect("written");
    let head = target(dir, "nullfs");
    let texts = [
        format!("{head}in t: deny(EPERM) rename on \"a/*\"\n"),
        format!("{head}in t: deny(EBUSY) rename on \"b/*\"\n"),
    ];
    in_force.load(&texts[0]);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let mover = || {
            let mut seen = [0_u64; 2];
            while !done.load(Ordering::Relaxed) {
                let moved = fs::rename(mount.path("a/f"), mount.path("b/f"));
                let error = moved.expect_err("one of the policies denies it");
                match Errno::from_io_error(&error) {
                    Some(Errno::PERM) => seen[0] += 1,
                    Some(Errno::BUSY) => seen[1] += 1,
                    other => panic!("{other:?}"),
                }
            }
            seen
        };
        let movers = [scope.spawn(mover), scope.spawn(mover)];
        for turn in 1..=40 {
            in_force.load(&texts[turn % 2]);
        }
        done.store(true, Ordering::Relaxed);
        movers.map(|mover| mover.join().expect("no mixture"))
    });
    let [first, second] = [0, 1].map(|index| seen.iter().map(|seen| seen[index]).sum::<u64>());
    println!("40 swaps; {first} calls judged by one policy, {second} by the other");
    assert!(first > 0 && second > 0);
}

fn replaced(dir: &Path) {
    let in_force = InForce::take(dir);
    in_force
        .load(&format!("{}in t: deny(EPERM) mkdir when comm \"mkdir\"\n", target(dir, "nullfs")));
    let mount = open_mount(dir, "nullfs");
    let denied = |name: &str| {
        Run::new("mkdir").arg(mount.path(name)).done().fails(1, &["not permitted"]);
    };
    denied("first");
    let worker = mount.status()["worker_pid"].as_i64().expect("a process");
    Run::new("kill").args(["-KILL", &worker.to_string()]).ok();
    denied("second");
    let status = mount.status();
    assert_eq!(status["workers"], 2);
    assert_eq!(status["policy"]["callers"], "kernel");
    in_force.load(&target(dir, "nullfs"));
    Run::new("mkdir").arg(mount.path("third")).ok();
}

fn partial(dir: &Path) {
    let in_force = InForce::take(dir);
    let head = target(dir, "compressfs");
    // An error changes nothing.
    in_force.load(&format!("{head}in t: deny(EPERM) mkdir\n"));
    let mount = open_mount(dir, "compressfs");
    for (text, words) in [
        ("in t: deny mkdri\n", "1 error"),
        ("in t: set algorithm = zstd:99\n", "1 error"),
        ("in t: set chunk = 64K\n", "1 error"),
        ("in t: deny open when user nobody-of-that-name\n", "1 error"),
    ] {
        in_force.try_load(&format!("{head}{text}"), &[]).fails(1, &[words]);
    }
    Run::new("mkdir").arg(mount.path("new")).done().fails(1, &["not permitted"]);
    for (text, words) in [
        ("deny open \"/srv/vault/**\"\n", "only calls in targets are judged"),
        ("in t: deny getattr\n", "this operation is not judged"),
        (
            "in t: unmark m exec on \"x\"\nin t: mark m unlink\nin t: deny chmod when marked m\n",
            "executing a program takes no mark",
        ),
    ] {
        in_force
            .try_load(&format!("{head}{text}"), &[])
            .fails(3, &["line 2", words, "--allow-partial"]);
        let told = in_force.try_load(&format!("{head}{text}"), &["--allow-partial"]).ok();
        assert!(told.contains("line 2") && told.contains(words), "{told}");
        // As much is said beforehand, and nothing is loaded by that.
        Run::new(machine::hsci()).args(["policy", "unload"]).ok();
        let check = |user: fn() -> Run| user().args(["policy", "check", "--here"]);
        let here = check(|| Run::new(machine::hsci())).arg(&in_force.file).done();
        here.fails(3, &["not enforced here", "--allow-partial"]);
        assert!(here.out.contains("line 2: ") && here.out.contains(words), "{}", here.out);
        Run::new(machine::hsci())
            .args(["policy", "list"])
            .done()
            .fails(4, &["no policy is loaded"]);
        let alice = check(|| Run::as_user(ALICE, machine::hsci())).arg(&in_force.file).done();
        alice.fails(3, &["only root may"]);
    }
    let load = Run::as_user(ALICE, machine::hsci()).args(["policy", "load"]).arg(&in_force.file);
    load.done().fails(3, &["only root may"]);
    Run::new(machine::hsci()).args(["policy", "unload"]).done().fails(4, &["no policy is loaded"]);
    // What is not a policy stops mounts, rather than being taken for none.
    fs::create_dir(dir.join("other")).expect("a directory");
    fs::write("/run/hsci/policy", "nonsense\n").expect("written");
    let refused = Run::new(machine::hsci()).arg("mount").arg(dir.join("other")).done();
    fs::remove_file("/run/hsci/policy").expect("removed");
    refused.fails(6, &["/run/hsci/policy", "hsci policy load"]);
}

/// What leads around rules elsewhere: a directory above those of rules gets another name, a program is
/// mounted over the one that may, a denied open leaves a file behind.
fn attempts(dir: &Path) {
    let in_force = InForce::take(dir);
    let trusted = dir.join("trusted-cat");
    let cat = fs::canonicalize("/bin/cat").expect("a program");
    fs::copy(&cat, &trusted).expect("a copy");
    let text = format!(
        "{head}in t: deny read-data on \"top/deep/secret/**\" unless exe \"{trusted}\"\n\
         in t: deny write-data on \"shut/*\"\n",
        head = target(dir, "nullfs"),
        trusted = trusted.display()
    );
    in_force.load(&text);
    let mount = open_mount(dir, "nullfs");
    for name in ["top/deep/secret", "shut", "away"] {
        fs::create_dir_all(mount.path(name)).expect("directories");
    }
    fs::create_dir(dir.join("tmpfs")).expect("a directory");
    let key = mount.path("top/deep/secret/key");
    fs::write(&key, "secret").expect("written");
    for (from, to) in
        [("top/deep", "top/d2"), ("top", "t2"), ("top", "away/top"), ("away", "top/deep2")]
    {
        let moved = fs::rename(mount.path(from), mount.path(to));
        let refused = moved.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::XDEV));
        assert!(refused == (from != "away"), "{from} to {to}");
    }
    Run::new(&trusted).arg(&key).ok();
    let own = |script: String| Run::new("unshare").args(["-m", "sh", "-c", &script]).done();
    let (forged_as, secret) = (trusted.clone(), key.clone());
    let (cat, trusted, key) = (cat.display(), trusted.display(), key.display());
    Run::new("cat").arg(mount.path("top/deep/secret/key")).done().fails(1, &["Permission denied"]);
    own(format!("mount --bind {cat} {trusted} && {trusted} {key}"))
        .fails(1, &["Permission denied"]);
    let place = dir.display();
    own(format!(
        "mount -t tmpfs none {place}/tmpfs && cp {cat} {place}/tmpfs/trusted-cat && \
         mount --bind {place}/tmpfs/trusted-cat {trusted} && {trusted} {key}"
    ))
    .fails(1, &["Permission denied"]);
    // A process sets another executable for itself, which it does not run.
    let forged = dir.join("forged");
    let source = machine::project().join("tests/vm/forged.c");
    Run::new("clang").args(["-O1", "-o"]).arg(&forged).arg(source).ok();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::write(mount.path("free"), "free").expect("written");
    let by_root = || Run::new(&forged);
    let in_namespace = || Run::as_user(ALICE, "unshare").args(["-U", "-r"]).arg(&forged);
    assert_eq!(by_root().arg(&forged_as).arg(mount.path("free")).ok(), "free");
    assert_eq!(in_namespace().arg(&forged_as).arg(mount.path("free")).ok(), "free");
    by_root().arg(&forged_as).arg(&secret).done().fails(1, &["Permission denied"]);
    in_namespace().arg(&forged_as).arg(&secret).done().fails(1, &["Permission denied"]);
    let new = mount.path("shut/new");
    for _ in 0..2 {
        let opened = File::options().write(true).create(true).truncate(false).open(&new);
        let denied = opened.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::ACCESS));
        assert!(denied && !new.exists());
    }
}
