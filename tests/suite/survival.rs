//! What users notice when workers die: nothing.

mod beginnings;
mod hangs;
pub(crate) mod load;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Random, Run, Test, machine, mount, skip};
use rustix::process::{Pid, Signal, kill_process};

use self::load::Load;
use crate::database::Cluster;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "survival::killed_workers_go_unnoticed", seconds: 1500, body: kills },
    Test { name: "survival::killed_workers_below_nullfs", seconds: 1500, body: kills_nullfs },
    Test {
        name: "survival::workers_killed_as_they_begin_fail_no_write",
        seconds: 300,
        body: beginnings::fail_no_write,
    },
    Test {
        name: "survival::workers_killed_while_loops_are_added_fail_no_write",
        seconds: 300,
        body: beginnings::fail_no_write_of_added_loops,
    },
    Test {
        name: "survival::loops_that_could_not_begin_do_so_later",
        seconds: 300,
        body: beginnings::begin_when_they_can,
    },
    Test { name: "survival::an_extension_that_panics", seconds: 1500, body: panics },
    Test { name: "survival::an_extension_that_aborts", seconds: 1500, body: aborts },
    Test { name: "survival::an_extension_that_hangs", seconds: 1500, body: hangs },
    Test {
        name: "survival::a_call_that_always_hangs_ends_at_the_second_time",
        seconds: 120,
        body: hangs::end_at_the_second,
    },
    Test {
        name: "survival::an_end_by_force_frees_a_caller_that_hangs",
        seconds: 180,
        body: hangs::end_by_force,
    },
    Test { name: "survival::an_extension_that_exhausts_memory", seconds: 1500, body: exhausts },
    Test {
        name: "survival::an_extension_that_exhausts_its_group",
        seconds: 1500,
        body: exhausts_group,
    },
    Test { name: "survival::an_extension_that_answers_nonsense", seconds: 1500, body: nonsense },
    Test { name: "survival::postgresql_keeps_every_transaction", seconds: 600, body: postgresql },
    Test { name: "survival::upgrades_go_unnoticed", seconds: 120, body: upgrades },
    Test { name: "survival::programs_that_cannot_take_over", seconds: 60, body: refused },
    Test { name: "survival::a_low_limit_of_descriptors", seconds: 60, body: few_descriptors },
    Test { name: "survival::a_dead_mount_is_cleared_by_mounting", seconds: 60, body: dead },
    Test { name: "survival::the_store_is_out_of_users_reach", seconds: 60, body: reach },
    Test { name: "survival::endless_crashes_end_in_a_clear_state", seconds: 180, body: crashes },
];

fn pid(mount: &Mount, whose: &str) -> Pid {
    let number = mount.status()[whose].as_i64().expect("a process");
    Pid::from_raw(number as i32).expect("a process")
}

/// The one child of the supervisor; none while another is being started.
fn worker(supervisor: Pid) -> Option<Pid> {
    let number = supervisor.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children"));
    Pid::from_raw(children.ok()?.trim().parse().ok()?)
}

fn kills(dir: &Path) {
    machine::need("sqlite3");
    let count = machine::amount("HSCI_KILLS", 100);
    campaign(dir, "compressfs", "settle=200ms,chunk=64K,segment=128K,algorithm=zstd:1", count);
}

fn kills_nullfs(dir: &Path) {
    machine::need("sqlite3");
    campaign(dir, "nullfs", "", machine::amount("HSCI_KILLS", 100) / 4);
}

pub(crate) fn campaign(dir: &Path, extension: &str, options: &str, kills: u64) {
    let mut mount = Mount::new(dir, "mount", extension, options);
    let seed = Random::seed("kills");
    let mut random = Random::new(seed);
    let supervisor = pid(&mount, "supervisor_pid");
    let mut load = Load::start(mount.dir(), &dir.join("reports"), seed);
    let begun = Instant::now();
    let (mut done, mut last) = (0, None);
    while done < kills {
        std::thread::sleep(Duration::from_micros(random.below(700_000)));
        // A process that was killed before may not have gone yet.
        if let Some(worker) = worker(supervisor).filter(|worker| last != Some(*worker)) {
            kill_process(worker, Signal::KILL).expect("a worker to kill");
            (done, last) = (done + 1, Some(worker));
        }
        load.check();
    }
    let waits = load.stop();
    println!(
        "{done} kills in {:.0?}, {} operations without an error",
        begun.elapsed(),
        waits.count()
    );
    println!(
        "waits: {:.1?} at 99 %, {:.1?} at 99.9 %, {:.1?} at most",
        waits.all_but_one_in(100),
        waits.all_but_one_in(1000),
        waits.longest()
    );
    assert_eq!(mount.status()["workers"], done + 1, "workers");
    mount.unmount();
    mount.check();
}

fn panics(dir: &Path) {
    faults(dir, "panic", 300, Duration::ZERO);
}

fn aborts(dir: &Path) {
    faults(dir, "abort", 40, Duration::from_millis(150));
}

fn hangs(dir: &Path) {
    faults(dir, "loop", 4, Duration::ZERO);
}

fn exhausts(dir: &Path) {
    faults(dir, "memory", 10, Duration::from_millis(150));
}

fn exhausts_group(dir: &Path) {
    let group = machine::ControlGroup::of_memory(256 << 20);
    let fault = format!("memory,cgroup={}", group.dir().display());
    faults(dir, &fault, 10, Duration::from_millis(150));
    println!("{} workers killed by the kernel for want of memory", group.kills());
    // Where the machine hands out memory slowly, the deadline may come first.
    assert!(group.kills() >= 5, "who was killed?");
}

fn nonsense(dir: &Path) {
    faults(dir, "nonsense", 300, Duration::ZERO);
}

/// Uses files that meet faults, with a pause after each, while others go on beside them.
fn faults(dir: &Path, fault: &str, usual: u64, pause: Duration) {
    machine::need("sqlite3");
    let count = dir.join("count");
    std::fs::write(&count, "").expect("count");
    let options = format!("fault={fault},every=7,deadline=1,count={}", count.display());
    let mount = Mount::new(dir, "mount", "faulty", &options);
    let seed = Random::seed("faults");
    let mut load = Load::start(mount.dir(), &dir.join("reports"), seed);
    let met = || std::fs::metadata(&count).expect("count").len();
    let wanted = usual * machine::amount("HSCI_FAULTS", 1);
    let (mut errors, mut number) = (0, 0);
    while met() < wanted {
        let before = met();
        number += 1;
        let path = mount.path(&format!("bad.{}", number % 500));
        for outcome in [std::fs::write(&path, "content"), std::fs::read(&path).map(drop)] {
            if let Err(error) = outcome {
                assert_eq!(error.raw_os_error(), Some(5), "{error}");
                errors += 1;
            }
        }
        if met() > before {
            std::thread::sleep(pause);
        }
        load.check();
    }
    let waits = load.stop();
    println!(
        "{} faults, {errors} errors where they were; beside them {} operations without one, {:.1?} \
         at 99 %, {:.1?} at most; {} workers",
        met(),
        waits.count(),
        waits.all_but_one_in(100),
        waits.longest(),
        mount.status()["workers"]
    );
}

/// Kills workers below a server under load, and in the end everything at once.
fn postgresql(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=500ms");
    let cluster = Cluster::new(&mount.path("data"));
    cluster.on_data("pg_checksums", &["--enable"]);
    let server = cluster.start();
    let bench = |arguments: &[&str]| cluster.client("pgbench", arguments).arg("postgres");
    bench(&["-i", "-q", "-s", "2"]).ok();
    cluster.ask("create table told(n integer)");
    let kills = machine::amount("HSCI_KILLS", 100) / 20;
    let seconds = (kills + 4).to_string();
    let mut load = bench(&["-n", "-c", "2", "-T", &seconds]).silent().start();
    // Each line of this file is a transaction of which a client was told that it is committed.
    let told = dir.join("told");
    let line = format!(
        "for n in $(seq 1 1000000); do echo \"insert into told values($n);\"; done \\
         | runuser -u postgres -- stdbuf -oL psql -h {} postgres > {} 2> {}",
        mount.path("data").display(),
        told.display(),
        dir.join("psql").display()
    );
    let mut writer = Run::shell(line).start();
    let supervisor = pid(&mount, "supervisor_pid");
    let mut random = Random::new(Random::seed("postgresql"));
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(500 + random.below(1000)));
        if let Some(worker) = worker(supervisor) {
            let _ = kill_process(worker, Signal::KILL);
        }
    }
    assert!(load.wait().expect("wait").success(), "pgbench has met an error");
    assert!(writer.try_wait().expect("wait").is_none(), "psql has met an error");
    let worker = worker(supervisor).expect("a worker");
    let open = std::fs::File::open(mount.path("data/PG_VERSION")).expect("open");
    server.kill();
    for process in [supervisor, worker] {
        kill_process(process, Signal::KILL).expect("kill");
    }
    let _ = writer.wait();
    // A large process that is killed takes its time to go, and the mount with it.
    assert!((0..100).any(|_| open.sync_all().is_err() || pause()), "the mount still works");
    drop(open);
    mount.mount();
    let server = cluster.start();
    let known: usize = cluster.ask("select count(*) from told").parse().expect("a number");
    let told = std::fs::read_to_string(&told).expect("read").matches("INSERT 0 1\n").count();
    println!("{kills} kills, {told} transactions told of, {known} in the table after the crash");
    assert!(told > 100 && known >= told, "transactions are lost");
    let sum =
        "select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts";
    assert_eq!(cluster.ask(sum), "t");
    cluster.client("pg_amcheck", &["--install-missing", "postgres"]).ok();
    server.stop();
    cluster.on_data("pg_checksums", &["--check"]);
    mount.unmount();
    mount.check();
}

/// Copies the programs, so that they can be replaced.
fn own_programs(dir: &Path) -> PathBuf {
    let programs = dir.join("programs");
    std::fs::create_dir(&programs).expect("directory");
    for name in ["hsci", "hsci-extension-compressfs"] {
        std::fs::copy(machine::programs().join(name), programs.join(name)).expect("copy");
    }
    programs
}

/// Puts a program in the place of another, as installing does.
fn install(programs: &Path, content: &[u8], mode: u32) {
    let new = programs.join("new");
    std::fs::write(&new, content).expect("write");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).expect("mode");
    std::fs::rename(new, programs.join("hsci-extension-compressfs")).expect("install");
}

fn upgrades(dir: &Path) {
    machine::need("sqlite3");
    let programs = own_programs(dir);
    let program = std::fs::read(programs.join("hsci-extension-compressfs")).expect("read");
    let mount = Mount::by(&programs.join("hsci"), dir, "mount", "compressfs", "settle=200ms");
    let mut load = Load::start(mount.dir(), &dir.join("reports"), Random::seed("upgrades"));
    for number in 2..12 {
        std::thread::sleep(Duration::from_millis(500));
        install(&programs, &program, 0o755);
        let said = mount.hsci(["upgrade"]).ok();
        assert!(said.contains(&format!("worker {number},")), "{said}");
        load.check();
    }
    let waits = load.stop();
    println!("10 upgrades, {} operations, {:.1?} at most", waits.count(), waits.longest());
}

fn refused(dir: &Path) {
    let programs = own_programs(dir);
    let good = std::fs::read(programs.join("hsci-extension-compressfs")).expect("read");
    let mount = Mount::by(&programs.join("hsci"), dir, "mount", "compressfs", "");
    std::fs::write(mount.path("file"), "content").expect("write");
    let serves = |workers: u64| {
        // Asked of the worker: the supervisor answers also between two of them.
        assert_eq!(std::fs::read_to_string(mount.path("file")).expect("read"), "content");
        std::fs::metadata(mount.path(&format!("missing {workers}"))).expect_err("a request");
        assert_eq!(mount.status()["workers"], workers, "workers");
    };
    install(&programs, b"#!/bin/sh\nexit 1\n", 0o755);
    mount.hsci(["upgrade"]).fails(4, &["exit status: 1", "goes on"]);
    install(&programs, &good, 0o644);
    mount.hsci(["upgrade"]).fails(2, &["compressfs", "not found"]);
    serves(1);
    // It can tell its name, and not more.
    let real = programs.join("real");
    std::fs::write(&real, &good).expect("write");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let script =
        format!("#!/bin/sh\n[ \"$1\" = describe ] && exec {} describe\nexit 9\n", real.display());
    install(&programs, script.as_bytes(), 0o755);
    mount.hsci(["upgrade"]).fails(7, &["the old one goes on"]);
    serves(3);
    // A worker that dies while its program is missing is replaced all the same.
    std::fs::remove_file(programs.join("hsci-extension-compressfs")).expect("remove");
    kill_process(pid(&mount, "worker_pid"), Signal::KILL).expect("kill");
    serves(4);
    install(&programs, &good, 0o755);
    mount.hsci(["upgrade"]).ok();
    serves(5);
}

fn few_descriptors(dir: &Path) {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let few = rustix::process::Rlimit { current: Some(80), maximum: Some(80) };
    let set = |limit| rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    let raise = || set(rustix::process::Rlimit { current: limits.maximum, ..limits });
    set(few).expect("a lower limit");
    let mount = Mount::new(dir, "mount", "compressfs", "");
    raise().unwrap_or_else(|_| machine::need_root());
    let make = |number: usize| {
        let path = mount.path(&number.to_string());
        let file = std::fs::File::create_new(&path).expect("create");
        std::os::unix::fs::FileExt::write_all_at(&file, b"content", 0).expect("write");
        std::fs::remove_file(&path).map(|()| file)
    };
    // About a quarter of the limit: half of it is kept for requests, and half of the rest for other users.
    let mut files = Vec::new();
    let refused = loop {
        match make(files.len()) {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
    assert!((20..40).contains(&files.len()), "a share of {} descriptors", files.len());
    let kept = mount.path(&files.len().to_string());
    std::fs::write(mount.path("named"), "content").expect("write");
    kill_process(pid(&mount, "worker_pid"), Signal::KILL).expect("kill");
    for file in &files {
        std::os::unix::fs::FileExt::write_all_at(file, b"more", 7).expect("it survives the worker");
    }
    assert_eq!(std::fs::read_to_string(mount.path("named")).expect("read"), "content");
    assert_eq!(
        std::fs::read(mount.path("20")).expect("read"),
        b"content",
        "refused, so still there"
    );
    drop(files);
    // The share comes back when the kernel has forgotten the files.
    let started = Instant::now();
    while let Err(error) = std::fs::remove_file(&kept) {
        assert!(started.elapsed() < Duration::from_secs(10), "the share is gone: {error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn dead(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    std::fs::write(mount.path("file"), "content").expect("write");
    let open = std::fs::File::open(mount.path("file")).expect("open");
    let (supervisor, worker) = (pid(&mount, "supervisor_pid"), pid(&mount, "worker_pid"));
    kill_process(supervisor, Signal::KILL).expect("kill");
    assert_eq!(mount.status()["supervised"], false, "the supervisor is gone");
    mount::hsci(["upgrade"], mount.dir()).fails(4, &["supervisor is gone"]);
    kill_process(worker, Signal::KILL).expect("kill");
    let gone = || open.sync_all().is_err();
    assert!((0..100).any(|_| gone() || pause()), "the file still works");
    mount::hsci(["status"], mount.dir()).fails(7, &["its host is gone", "hsci mount"]);
    mount.mount();
    assert_eq!(std::fs::read_to_string(mount.path("file")).expect("read"), "content");
}

/// False, after a while.
fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(50));
    false
}

/// What an ordinary user tries, in namespaces of their own.
fn reach(dir: &Path) {
    machine::need_root();
    machine::need("unshare");
    let base = dir.join("base");
    let store = base.join("store");
    std::fs::create_dir_all(&store).expect("directories");
    for path in [dir, &base, &store] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("mode");
    }
    std::fs::write(store.join("stored"), "as it is stored").expect("write");
    let stored = "as it is stored";
    let attempt = |line: &str| {
        let line = line.replace("STORE", &store.display().to_string());
        let line = line.replace("BASE", &base.display().to_string());
        let inside = ["--user", "--map-root-user", "--mount", "--", "sh", "-c"];
        Run::as_user(ALICE, "unshare").args(inside).arg(&line).done()
    };
    let read = attempt("cat STORE/stored");
    if read.err.contains("unshare") {
        skip(&format!("users may make no namespaces: {}", read.err.trim()));
    }
    assert_eq!(read.ok(), stored, "before it is mounted, the store can be read");
    let mount = Mount::at(&store, &store, "xor", "");
    let try_to = |what: &str, line: &str| {
        let done = attempt(line);
        println!(
            "{what}: exit code {}: {}",
            done.code,
            done.err.lines().next().unwrap_or_default()
        );
        assert!(!done.out.contains(stored), "{what}: reads the store\n{}", done.out);
    };
    let read = Run::as_user(ALICE, "cat").arg(store.join("stored")).ok();
    assert!(!read.contains(stored), "the mount shows the files through the extension");
    try_to("umount", "umount STORE; cat STORE/stored");
    try_to("lazy umount", "umount -l STORE; cat STORE/stored");
    try_to(
        "bind without what is mounted below",
        "mkdir BASE/b; mount --bind BASE BASE/b; cat BASE/b/store/stored",
    );
    try_to(
        "bind with it, and umount",
        "mkdir BASE/c; mount --rbind BASE BASE/c; umount BASE/c/store; cat BASE/c/store/stored",
    );
    try_to("move", "mkdir BASE/d; mount --move STORE BASE/d; cat STORE/stored");
    try_to(
        "pivot",
        "mkdir BASE/e; mount --rbind BASE BASE/e; cd BASE/e; pivot_root . .; read line < store/stored; echo $line",
    );
    let worker = pid(&mount, "worker_pid").as_raw_nonzero();
    let supervisor = pid(&mount, "supervisor_pid").as_raw_nonzero();
    for process in [worker, supervisor] {
        try_to("descriptors of the host", &format!("cat /proc/{process}/fd/*/stored"));
        try_to(
            "its root",
            &format!("cat /proc/{process}/cwd/stored /proc/{process}/root/STORE/stored"),
        );
    }
}

fn crashes(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "");
    let supervisor = pid(&mount, "supervisor_pid");
    let begun = Instant::now();
    let mut kills = 0;
    let is_there = || rustix::process::test_kill_process(supervisor).is_ok();
    while is_there() && begun.elapsed() < Duration::from_secs(150) {
        if let Some(worker) = worker(supervisor) {
            kills += u32::from(kill_process(worker, Signal::KILL).is_ok());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!is_there(), "never given up");
    println!("given up after {kills} kills in {:.0?}", begun.elapsed());
    let words = ["its host is gone", "given up", "in a row did not last"];
    mount::hsci(["status"], mount.dir()).fails(7, &words);
    Run::new("umount").arg("-l").arg(mount.dir()).ok();
}
