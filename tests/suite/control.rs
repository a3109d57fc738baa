//! The control channel: who may ask what, and what happens when a process of a mount does not answer.

mod daemons;
mod ends;
mod foreign;
mod locks;
mod placement;
mod starts;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hsci_tests::command::BOB;
use hsci_tests::{Mount, Run, Test, machine, mount};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "control::a_stopped_worker_is_replaced", seconds: 300, body: stopped_worker },
    Test {
        name: "control::a_stopped_supervisor_stops_nobody",
        seconds: 300,
        body: stopped_supervisor,
    },
    Test { name: "control::a_silent_mount_delays_no_other", seconds: 300, body: silent },
    Test {
        name: "control::a_forced_unmount_ends_whatever_is_stopped",
        seconds: 240,
        body: forced_end,
    },
    Test {
        name: "control::a_forced_unmount_keeps_what_was_written",
        seconds: 300,
        body: forced_end_keeps,
    },
    Test {
        name: "control::sigterm_to_both_processes_loses_nothing",
        seconds: 300,
        body: terminated,
    },
    Test {
        name: "control::a_worker_that_dies_with_its_mount_loses_nothing",
        seconds: 300,
        body: dies_with_mount,
    },
    Test { name: "control::others_see_the_public_part_only", seconds: 300, body: others },
    Test {
        name: "control::a_foreign_file_system_is_not_believed",
        seconds: 300,
        body: foreign::is_not_believed,
    },
    Test {
        name: "control::daemons_take_nothing_of_their_caller",
        seconds: 300,
        body: daemons::take_nothing,
    },
    Test { name: "control::options_are_in_no_argument", seconds: 300, body: daemons::hide_options },
    Test { name: "control::a_start_that_hangs_is_given_up", seconds: 300, body: starts::hangs },
    Test { name: "control::a_start_that_panics_says_why", seconds: 300, body: starts::panics },
    Test {
        name: "control::a_start_can_be_interrupted",
        seconds: 300,
        body: starts::is_interrupted,
    },
    Test {
        name: "control::a_start_can_be_interrupted_at_any_moment",
        seconds: 300,
        body: starts::is_interrupted_at_any_moment,
    },
    Test {
        name: "control::a_failed_mount_leaves_no_store",
        seconds: 300,
        body: starts::leaves_nothing,
    },
    Test {
        name: "control::served_already_names_who_serves",
        seconds: 300,
        body: starts::names_server,
    },
    Test {
        name: "control::an_ended_mount_leaves_no_socket",
        seconds: 300,
        body: ends::leave_nothing,
    },
    Test {
        name: "control::sockets_of_killed_supervisors_are_swept",
        seconds: 300,
        body: ends::are_swept,
    },
    Test { name: "control::nobody_else_holds_the_lock", seconds: 300, body: locks::others },
    Test {
        name: "control::a_loop_that_stays_with_its_caller_gets_its_priority_back",
        seconds: 600,
        body: placement::returns,
    },
    Test {
        name: "control::a_loop_that_stays_is_left_alone_while_all_is_well",
        seconds: 600,
        body: placement::is_left_alone,
    },
    Test {
        name: "control::who_looks_ahead_leaves_the_core_of_a_loop_that_stays",
        seconds: 600,
        body: placement::looks_ahead_elsewhere,
    },
    Test {
        name: "control::settling_leaves_the_core_of_a_loop_that_stays",
        seconds: 600,
        body: placement::settles_elsewhere,
    },
    Test { name: "control::one_host_serves_a_store", seconds: 300, body: locks::one_host },
];

fn pid(mount: &Mount, whose: &str) -> Pid {
    let number = mount.status()[whose].as_i64().expect("a process");
    Pid::from_raw(number as i32).expect("a process")
}

fn send(process: Pid, signal: Signal) {
    kill_process(process, signal).expect("a signal");
}

/// Waits until `is_so`, as long as `limit`.
fn within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    is_so()
}

/// How a process is, as ps(1) shows it.
fn state(process: Pid) -> Option<char> {
    let number = process.as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn has_ended(process: Pid) -> bool {
    test_kill_process(process).is_err() || state(process) == Some('Z')
}

const MINUTE: Duration = Duration::from_secs(60);

fn stopped_worker(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    std::fs::write(mount.path("file"), "before").expect("write");
    let worker = pid(&mount, "worker_pid");
    send(worker, Signal::STOP);
    assert!(within(MINUTE, || state(worker) == Some('T')), "it does not stop");
    let begun = Instant::now();
    std::fs::write(mount.path("file"), "after").expect("a call that waits, and fails not");
    println!("another worker served {:.1?} after the first was stopped", begun.elapsed());
    assert!(has_ended(worker), "the stopped worker is still there");
    assert_ne!(pid(&mount, "worker_pid"), worker);
    assert_eq!(std::fs::read_to_string(mount.path("file")).expect("read"), "after");
}

fn stopped_supervisor(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    let supervisor = pid(&mount, "supervisor_pid");
    send(supervisor, Signal::STOP);
    assert!(within(MINUTE, || state(supervisor) == Some('T')), "it does not stop");
    // Each is kept by the supervisor, as long as it takes any. What waits for it waits for ever.
    let make = |number: u32| {
        let path = mount.path(&number.to_string());
        let mut file = File::create_new(&path).expect("create");
        std::fs::remove_file(&path).expect("unlink");
        file.write_all(b"content").expect("write");
        file
    };
    let files: Vec<_> = (0..500).map(make).collect();
    std::fs::write(mount.path("named"), "content").expect("write");
    drop(files);
    send(supervisor, Signal::CONT);
    std::fs::write(mount.path("named"), "more").expect("write");
}

fn silent(dir: &Path) {
    let mounts = ["a", "b", "c"].map(|name| Mount::new(dir, name, "nullfs", ""));
    let supervisors = [&mounts[0], &mounts[1]].map(|mount| pid(mount, "supervisor_pid"));
    supervisors.iter().for_each(|supervisor| send(*supervisor, Signal::STOP));
    let begun = Instant::now();
    let all = Run::new(machine::hsci()).arg("status").done();
    let took = begun.elapsed();
    let one = mount::hsci(["status"], mounts[0].dir());
    supervisors.iter().for_each(|supervisor| send(*supervisor, Signal::CONT));
    let text = all.ok();
    assert!(took < MINUTE / 2, "two that are silent took {took:?}");
    let of = |mount: &Mount| {
        let name = mount.dir().display().to_string();
        let rest = text.split_once(&format!("{name}\n")).expect(&text).1;
        rest.split("\n\n").next().unwrap_or_default().to_owned()
    };
    assert!(of(&mounts[0]).contains("silent") && of(&mounts[1]).contains("silent"), "{text}");
    assert!(of(&mounts[2]).contains("requests"), "{text}");
    one.fails(7, &["does not answer", "unmount --force"]);
}

/// Processes of a mount are stopped, one of its users hangs, and yet it ends.
fn forced_end(dir: &Path) {
    for (number, stopped) in
        [&["worker_pid"][..], &["supervisor_pid"], &["worker_pid", "supervisor_pid"]]
            .into_iter()
            .enumerate()
    {
        let mut mount = Mount::new(dir, &format!("mount{number}"), "compressfs", "settle=1h");
        std::fs::write(mount.path("file"), "content").expect("write");
        let processes = ["worker_pid", "supervisor_pid"].map(|whose| pid(&mount, whose));
        let open = File::open(mount.path("file")).expect("open");
        stopped.iter().for_each(|whose| send(pid_of(&processes, whose), Signal::STOP));
        let mut caller = Run::new("touch").arg(mount.path("new")).silent().start();
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        mount.hsci(["unmount", "--force"]).ok();
        let took = begun.elapsed();
        println!("{stopped:?} stopped: the forced unmount took {took:.1?}");
        assert!(took < MINUTE, "{stopped:?}: {took:?}");
        assert!(within(MINUTE, || caller.try_wait().expect("a look").is_some()), "it hangs");
        assert!(within(MINUTE, || processes.iter().all(|one| has_ended(*one))), "{stopped:?}");
        assert!(open.sync_all().is_err(), "an open file of a mount that has ended");
        mount.mount();
        assert_eq!(std::fs::read_to_string(mount.path("file")).expect("read"), "content");
        mount.unmount();
    }
}

fn pid_of(processes: &[Pid; 2], whose: &str) -> Pid {
    processes[usize::from(whose == "supervisor_pid")]
}

/// A sealed file with lines that were appended and not synced: they are in no store yet.
fn with_unsynced_lines(mount: &Mount) -> (PathBuf, String) {
    let path = mount.path("log");
    let mut text = "the same line\n".repeat(20_000);
    std::fs::write(&path, &text).expect("write");
    mount.settle();
    let mut log = File::options().append(true).open(&path).expect("open");
    for number in 0..20 {
        let line = format!("line {number}\n");
        log.write_all(line.as_bytes()).expect("append");
        text += &line;
    }
    (path, text)
}

fn forced_end_keeps(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    let (path, text) = with_unsynced_lines(&mount);
    let open = File::open(&path).expect("open");
    mount.hsci(["unmount", "--force"]).ok();
    assert!(open.sync_all().is_err(), "it has ended although it was in use");
    mount.mount();
    assert!(std::fs::read_to_string(&path).expect("read") == text, "lines are missing");
}

/// As at the stop of a control group, a logout or a shutdown.
fn terminated(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    for round in 0..10 {
        let (path, text) = with_unsynced_lines(&mount);
        let (supervisor, worker) = (pid(&mount, "supervisor_pid"), pid(&mount, "worker_pid"));
        let both = if round % 2 == 0 { [supervisor, worker] } else { [worker, supervisor] };
        for process in both {
            // The second may have ended by the first one's signal.
            let sent = kill_process(process, Signal::TERM);
            assert!(sent.is_ok() || has_ended(process), "round {round}: {sent:?}");
        }
        assert!(within(MINUTE, || has_ended(supervisor)), "round {round}: it goes on");
        assert!(has_ended(worker), "round {round}: the worker goes on");
        mount.mount();
        let found = std::fs::read_to_string(&path).expect("read");
        assert!(found == text, "round {round}: {} of {} bytes", found.len(), text.len());
    }
}

/// The worker is killed when there is no connection any more on which another one could serve.
fn dies_with_mount(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    for round in 0..5 {
        let (path, text) = with_unsynced_lines(&mount);
        let (supervisor, worker) = (pid(&mount, "supervisor_pid"), pid(&mount, "worker_pid"));
        send(worker, Signal::STOP);
        Run::new("umount").arg("-l").arg(mount.dir()).ok();
        send(worker, Signal::KILL);
        assert!(within(MINUTE, || has_ended(supervisor)), "round {round}: it goes on");
        mount.mount();
        let found = std::fs::read_to_string(&path).expect("read");
        assert!(found == text, "round {round}: {} of {} bytes", found.len(), text.len());
    }
}

fn others(dir: &Path) {
    machine::need_root();
    machine::need("setpriv");
    Run::new("chmod").arg("755").arg(dir).ok();
    let mount = Mount::new(dir, "mount", "compressfs", "");
    let bob = |arguments: &[&str]| {
        Run::as_user(BOB, machine::hsci()).args(arguments).arg(mount.dir()).done()
    };
    let text = bob(&["status", "--json"]).ok();
    let seen: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(seen["extensions"][0], "compressfs", "{text}");
    for private in ["log", "requests", "policy", "program"] {
        assert!(seen[private].is_null(), "{private} is nobody else's business: {text}");
    }
    for order in [&["upgrade"][..], &["unmount"], &["unmount", "--force"]] {
        bob(order).fails(3, &["only root or the user who mounted it"]);
    }
    assert_eq!(mount.status()["workers"], 1, "nothing has happened");
}
