//! Alice serves a FUSE mount of her own, which lies and then says nothing more: as lower directory, mount point, file of a
//! policy, target, destination of an export, and as what programs are in that use a mount of root's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use hsci_tests::command::{ALICE, BOB, Done};
use hsci_tests::{Mount, Run, Test, machine};
use rustix::process::{Pid, Signal};

use super::forger::{self, Entry};
use super::{Victim, alices, is_mounted};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "hostile::servers::owners_are_a_users_word_on_that_users_server",
        seconds: 120,
        body: owners,
    },
    Test {
        name: "hostile::servers::a_users_server_is_asked_nothing_and_not_waited_for",
        seconds: 300,
        body: silence,
    },
    Test {
        name: "hostile::servers::sockets_of_users_are_not_waited_for",
        seconds: 400,
        body: sockets,
    },
    Test {
        name: "hostile::servers::programs_and_files_on_a_silent_server_stop_nobody",
        seconds: 180,
        body: users_of_it,
    },
];

/// A mount of Alice's own, whose control socket root looks for where her server is, and is silent.
fn sockets(dir: &Path) {
    prepare(dir);
    let victim = Victim::new(dir);
    Run::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "none", "/run"]).ok();
    let runtime = alices(Path::new("/run/user/1"));
    let (lower, point) = (alices(&dir.join("lower")), alices(&dir.join("point")));
    let alice = |words: &[&str]| {
        let run = Run::as_user(ALICE, machine::hsci()).env("XDG_RUNTIME_DIR", &runtime);
        run.env("HOME", dir).args(words)
    };
    alice(&["mount", "-x", "nullfs"]).arg(&lower).arg(&point).ok();
    ends("her own socket", &["status"], &[&point]).ok();
    let journal = journal(dir, &victim);
    let server = Server::start(dir, &runtime.join("hsci"), &victim.path, &journal);
    let before = server.questions();
    ends("a server", &["status"], &[]);
    assert_eq!(server.questions(), before, "it was asked something");
    server.send(Signal::STOP);
    for command in [&["status"][..], &["metrics"], &["policy", "list"]] {
        ends("a silent server", command, &[]);
    }
    ends("a silent server", &["status"], &[&point]);
    drop(server);
    alice(&["unmount"]).arg(&point).ok();
}

/// A mount of Alice's.
struct Server {
    point: PathBuf,
    /// A line for each question.
    asked: PathBuf,
    process: Child,
}

impl Server {
    fn start(dir: &Path, point: &Path, link: &Path, journal: &Path) -> Self {
        alices(point);
        let asked = dir.join("asked");
        let program = machine::programs().join("hsci-lying-server");
        let run = Run::as_user(ALICE, "bash").args(["-c", "exec \"$0\" \"$@\" > \"$OUT\""]);
        fs::write(&asked, "").expect("write");
        std::os::unix::fs::chown(&asked, Some(ALICE), Some(ALICE)).expect("chown");
        let run = run.arg(program).arg(point).arg(link).arg(journal).env("OUT", &asked);
        let process = run.start();
        let begun = Instant::now();
        while !is_there(point) {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing is mounted");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { point: point.to_owned(), asked, process }
    }

    /// How many questions it was asked.
    fn questions(&self) -> usize {
        fs::read_to_string(&self.asked).expect("read").lines().count()
    }

    /// From now on it answers nothing; or again.
    fn send(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).expect("its process");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Run::new("umount").arg("-l").arg(&self.point).done();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_there(point: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mount table");
    table.lines().any(|line| line.contains(&format!(" {} ", point.display())))
}

/// Users may let others see their mounts here.
fn prepare(dir: &Path) {
    machine::need_root();
    machine::need("fusermount3");
    machine::open_dev_fuse(dir);
    if !Path::new("/etc/fuse.conf").exists() {
        hsci_tests::skip("there is no /etc/fuse.conf");
    }
    let conf = dir.join("fuse.conf");
    fs::write(&conf, "user_allow_other\n").expect("write");
    Run::new("mount").arg("--bind").arg(&conf).arg("/etc/fuse.conf").ok();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
}

/// A journal that would overwrite the victim.
fn journal(dir: &Path, victim: &Victim) -> PathBuf {
    let image = forger::image(dir);
    let handle = forger::handle(&victim.path);
    let entry = Entry { handle, base: 0, len: image.len() as u64, at: 0, log_len: 0 };
    let path = dir.join("journal");
    fs::write(&path, forger::journal(1, 0, &image, &[entry])).expect("write");
    path
}

/// Everything on the server belongs to root, it says: a link is not followed for that, and no policy taken.
fn owners(dir: &Path) {
    prepare(dir);
    let victim = Victim::new(dir);
    let outside = victim.path.parent().expect("directory").to_owned();
    let server = Server::start(dir, &dir.join("home"), &outside, &journal(dir, &victim));
    let (point, empty) = (dir.join("point"), dir.join("empty"));
    for place in [&point, &empty] {
        fs::create_dir(place).expect("directory");
    }
    let at = |name: &str| server.point.join(name);
    assert_eq!(fs::metadata(at("small.policy")).expect("stat").permissions().mode() & 0o22, 0);
    let refused = |arguments: &[&str], paths: &[&Path]| {
        let done = Run::new("timeout").arg("60").arg(machine::hsci()).args(arguments).args(paths);
        done.done().fails(3, &["others than root"]);
        assert!(!outside.join(".hsci").exists(), "{arguments:?}: a store was made");
        victim.check(&format!("{arguments:?}"));
    };
    refused(&["mount"], &[&at("link"), &point]);
    refused(&["mount"], &[&empty, &at("link")]);
    refused(&["mount"], &[&at("mail/../link"), &point]);
    refused(&["policy", "load", "--allow-partial"], &[&at("small.policy")]);
    refused(&["up"], &[&at("small.policy")]);
    refused(&["down"], &[&at("small.policy")]);
    refused(&["mount"], &[&at("mail"), &point]);
    refused(&["export"], &[&empty, &at("copy")]);
}

/// Root's programs do not go there at all: the server is asked nothing, and when it is silent, none waits.
fn silence(dir: &Path) {
    prepare(dir);
    let victim = Victim::new(dir);
    let outside = victim.path.parent().expect("directory").to_owned();
    let journal = journal(dir, &victim);
    let sound = Mount::new(dir, "sound", "compressfs", "settle=10m");
    fs::write(sound.path("file"), "text\n".repeat(1000)).expect("write");
    let store = sound.lower().to_owned();
    drop(sound);
    fs::create_dir(dir.join("point")).expect("directory");
    let server = Server::start(dir, &dir.join("server"), &outside, &journal);
    let before = server.questions();
    let attempts = uses(&server.point, dir, &store);
    assert_eq!(server.questions(), before, "it was asked something");
    server.send(Signal::STOP);
    uses(&server.point, dir, &store);
    drop(server);
    covered(dir, (&outside, &journal));
    victim.check("a user's server");
    assert!(!outside.join(".hsci").exists(), "a store was made");
    assert_eq!(fs::read_dir(&outside).expect("list").count(), 1, "something was made");
    println!("{attempts} attempts, each with an answer and with none");
}

/// All that root does with a path is refused, and ends soon. Returns how many attempts there were.
fn uses(server: &Path, dir: &Path, store: &Path) -> usize {
    let at = |name: &str| server.join(name);
    let point = dir.join("point");
    let targets = dir.join("target.policy");
    let text = format!("target mail = \"{}/*ail\" via nullfs\n", server.display());
    fs::write(&targets, text).expect("write");
    let attempts: &[(&str, &[&Path])] = &[
        ("mount", &[server, &point]),
        ("mount -o ro", &[server, &point]),
        ("mount -x nullfs", &[&at("mail"), &at("mail")]),
        ("mount", &[store, &at("mail")]),
        ("policy load --allow-partial", &[&at("small.policy")]),
        ("policy load --allow-partial", &[&at("policies")]),
        ("policy check", &[&at("small.policy")]),
        ("policy check", &[&at("policies")]),
        ("policy test", &[&at("small.policy")]),
        ("up", &[&targets]),
        ("up", &[&at("small.policy")]),
        ("down", &[&at("small.policy")]),
        ("export", &[store, &at("copy")]),
        ("export", &[server, &point]),
        ("check", &[server]),
        ("check --repair", &[server]),
        ("status", &[&at("mail")]),
        ("usage", &[&at("mail")]),
        ("settle", &[&at("mail")]),
        ("upgrade", &[&at("mail")]),
        ("trace --timeout 2", &[&at("mail")]),
        ("algorithm get", &[&at("text")]),
        ("algorithm list", &[&at("mail")]),
        ("algorithm set lz4", &[&at("text")]),
        ("recompress --algorithm lz4", &[&at("mail")]),
        ("conformance", &[&at("mail")]),
        ("new fresh --dir", &[&at("mail/fresh")]),
    ];
    for (command, paths) in attempts {
        let words: Vec<_> = command.split(' ').collect();
        let done = ends(command, &words, paths);
        assert_eq!(done.code, 3, "{command}: {done:?}");
        assert!(done.err.contains("user 1 serves"), "{command}: {done:?}");
    }
    for mounted in [&point, &at("mail"), server] {
        assert!(!is_mounted(mounted), "something stays mounted");
    }
    attempts.len()
}

/// Runs a command, which ends soon whatever a server does.
fn ends(named: &str, arguments: &[&str], paths: &[&Path]) -> Done {
    let run = Run::new("timeout").args(["-k", "5", "60"]).arg(machine::hsci());
    let done = run.args(arguments).args(paths).done();
    assert!((0..=7).contains(&done.code), "{named}, {arguments:?}: {done:?}");
    done
}

/// Alice mounts her server over the directory above a mount of root's.
fn covered(dir: &Path, (outside, journal): (&Path, &Path)) {
    let (lower, home) = (dir.join("lower"), alices(&dir.join("home")));
    let mail = alices(&home.join("mail"));
    fs::create_dir(&lower).expect("directory");
    ends("covered", &["mount", "-x", "nullfs"], &[&lower, &mail]).ok();
    let server = Server::start(dir, &home, outside, journal);
    server.send(Signal::STOP);
    let commands: [&[&str]; 6] = [
        &["unmount"],
        &["unmount", "--force"],
        &["status"],
        &["upgrade"],
        &["mount", "-o", "remount,ro"],
        &["settle"],
    ];
    for command in commands {
        ends("covered", command, &[&mail]);
    }
    ends("covered", &["status"], &[]).ok();
    drop(server);
    assert!(is_mounted(&mail), "it is as it was");
    ends("uncovered", &["unmount"], &[&mail]).ok();
}

/// Alice's programs are in her server's directories, have files of it open, and come from it.
fn users_of_it(dir: &Path) {
    prepare(dir);
    let victim = Victim::new(dir);
    let (journal, outside) = (journal(dir, &victim), victim.path.clone());
    let (lower, point) = (dir.join("lower"), dir.join("point"));
    for place in [&lower, &point] {
        fs::create_dir(place).expect("directory");
    }
    fs::write(lower.join("file"), "text\n").expect("write");
    let mail = alices(&lower.join("mail"));
    let server = Server::start(dir, &mail, &outside, &journal);
    let said = dir.join("said");
    let line = format!(
        "cd {0}; exec 3<>text; exec {0}/program -c 'cd {1}; while :; do read x <file; echo $x; sleep 0.1; done'",
        mail.display(),
        point.display()
    );
    let policy = dir.join("exe.policy");
    let text = format!("deny open on \"{}/file\" when exe \"/usr/bin/env\"\n", point.display());
    fs::write(&policy, text).expect("write");
    let words = ["policy", "load", "--allow-partial"];
    ends("a policy", &words, &[&policy]).ok();
    ends("mounting", &["mount", "-x", "nullfs"], &[&lower, &point]).ok();
    let out = fs::File::create(&said).expect("file");
    let mut caller = Run::as_user(ALICE, "bash").args(["-c", &line]).output(out).start();
    let has_said = || fs::metadata(&said).expect("stat").len();
    let begun = Instant::now();
    while has_said() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "her program does not run");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.send(Signal::STOP);
    for _ in 0..3 {
        Run::as_user(BOB, "timeout").args(["-k", "5", "30", "cat"]).arg(point.join("file")).ok();
    }
    let busy = ends("busy", &["unmount"], &[&point]);
    busy.fails(5, &["in use by"]);
    ends("the end", &["unmount", "--force"], &[&point]).ok();
    // The end of a process waits for the server of what it has open.
    server.send(Signal::CONT);
    caller.kill().and_then(|()| caller.wait()).expect("killed");
    // Mounted while a file of the server below it is open for writing.
    let line = format!("exec 3<>{}/text; exec sleep 100", mail.display());
    let mut writer = Run::as_user(ALICE, "bash").args(["-c", &line]).start();
    let begun = Instant::now();
    let opened = format!("/proc/{}/fd/3", writer.id());
    while fs::read_link(&opened).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not opened");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.send(Signal::STOP);
    ends("mounting", &["mount", "-x", "nullfs"], &[&lower, &point]).ok();
    ends("unmounting", &["unmount"], &[&point]).ok();
    server.send(Signal::CONT);
    writer.kill().and_then(|()| writer.wait()).expect("killed");
    ends("no policy", &["policy", "unload"], &[]).ok();
}
