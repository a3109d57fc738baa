//! What the contract promises to authors, on real mounts.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hsci_extension::testkit::conformance;
use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "contract::calls_that_wait_stall_no_others", seconds: 120, body: waiting },
    Test { name: "contract::a_read_comes_with_the_handle_of_its_open", seconds: 60, body: handles },
    Test {
        name: "contract::each_user_sees_their_names_whoever_looked_first",
        seconds: 60,
        body: names,
    },
    Test { name: "contract::names_that_differ_conform", seconds: 120, body: conforms },
    Test { name: "contract::hide_stacks_on_compressfs", seconds: 120, body: stacked },
    Test {
        name: "contract::a_tree_that_exists_nowhere_outlives_its_worker",
        seconds: 60,
        body: tree,
    },
];

const CALLS: usize = 100;
const LONGEST_STALL: Duration = Duration::from_millis(50);

fn waiting(dir: &Path) {
    // Whatever else the machine is at, once in a few times it leaves two cores for a moment; a call that waits for
    // others never gets through sooner.
    let mut longest = (0..6).map(|attempt| {
        let (longest, alone) = longest_beside_waiting(&dir.join(attempt.to_string()));
        println!("    the longest call beside {CALLS} that wait took {longest:?}, alone {alone:?}");
        longest
    });
    assert!(longest.any(|longest| longest < LONGEST_STALL), "calls were stalled");
}

/// The longest call while others wait, and the longest before.
fn longest_beside_waiting(dir: &Path) -> (Duration, Duration) {
    let mount = Mount::new(dir, "mount", "slow", "");
    fs::write(mount.path("quick"), b"quick").expect("a file");
    for number in 0..CALLS {
        fs::write(mount.path(&format!("slow{number}")), b"slow").expect("a file");
    }
    let alone = longest_call(&mount, Duration::from_millis(500));
    let began = Instant::now();
    let readers: Vec<_> = (0..CALLS)
        .map(|number| mount.path(&format!("slow{number}")))
        .map(|path| thread::spawn(move || fs::read(path).expect("read in the end")))
        .collect();
    let longest = longest_call(&mount, Duration::from_millis(2500));
    for reader in readers {
        assert_eq!(reader.join().expect("a reader"), b"slow");
    }
    // A file is read twice, the second time to find its end. All at once: none has waited for another one.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    (longest, alone)
}

/// The longest of the calls that follow each other in a time.
fn longest_call(mount: &Mount, time: Duration) -> Duration {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < time {
        let call = Instant::now();
        assert_eq!(fs::read(mount.path("quick")).expect("read"), b"quick");
        longest = longest.max(call.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    longest
}

fn handles(dir: &Path) {
    let mount = Mount::new(dir, "mount", "slow", "");
    fs::write(mount.path("handle"), b"x").expect("a file");
    let open = || fs::File::open(mount.path("handle")).expect("open");
    let read = |mut file: &fs::File| {
        let mut byte = [0];
        file.read_exact(&mut byte).expect("one byte");
        byte[0]
    };
    let (one, two) = (open(), open());
    let (two, one) = (read(&two), read(&one));
    assert!(one != two && one != 0 && two != 0, "{one} {two}");
}

/// A mount where everybody may make files.
fn shared(dir: &Path, extension: &str) -> Mount {
    machine::need_root();
    let mount = Mount::new(dir, "mount", extension, "");
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    mount
}

fn script(user: u32, mount: &Mount, text: &str) -> String {
    Run::as_user(user, "bash").args(["-c", text]).dir(mount.dir()).done().out
}

fn each_sees_their_own(mount: &Mount) {
    for (user, name) in [(ALICE, "alices"), (BOB, "bobs")] {
        let make =
            format!("umask 077; mkdir {name}; echo secret > {name}/file; echo text > {name}.txt");
        script(user, mount, &make);
    }
    let looks =
        "ls -1; cat alices.txt bobs.txt 2>/dev/null; stat -c %n alices bobs 2>/dev/null; echo *";
    let alices = "alices\nalices.txt\ntext\nalices\nalices alices.txt\n";
    let bobs = "bobs\nbobs.txt\ntext\nbobs\nbobs bobs.txt\n";
    // Whoever looks first, and whatever the kernel has seen for another: root sees it all.
    for _ in 0..3 {
        assert_eq!(script(ALICE, mount, looks), alices);
        assert_eq!(script(0, mount, "ls -1 | wc -l"), "4\n");
        assert_eq!(script(BOB, mount, looks), bobs);
        assert_eq!(script(ALICE, mount, looks), alices);
    }
    let taken =
        "mkdir bobs 2>/dev/null || echo refused; mv alices.txt bobs.txt 2>/dev/null || echo kept";
    assert_eq!(script(ALICE, mount, taken), "refused\nkept\n");
    assert_eq!(script(BOB, mount, "cat bobs.txt"), "text\n");
    // What becomes usable is there at once, also for those who have just not found it.
    assert_eq!(script(ALICE, mount, "cat bobs.txt 2>/dev/null || echo none"), "none\n");
    script(BOB, mount, "chmod 644 bobs.txt");
    assert_eq!(script(ALICE, mount, "cat bobs.txt; ls -1"), "text\nalices\nalices.txt\nbobs.txt\n");
    script(BOB, mount, "chmod 600 bobs.txt");
    assert_eq!(script(ALICE, mount, "cat bobs.txt 2>/dev/null || ls -1"), "alices\nalices.txt\n");
    println!("4 names, 3 users in turns: names, listings and contents are each user's own");
}

fn names(dir: &Path) {
    each_sees_their_own(&shared(dir, "hide"));
}

fn conforms(dir: &Path) {
    let mount = Mount::new(dir, "mount", "hide", "");
    let failures = conformance::on_directory(mount.dir());
    assert!(failures.is_empty(), "{failures:#?}");
}

fn stacked(dir: &Path) {
    let mount = shared(dir, "hide,compressfs");
    each_sees_their_own(&mount);
    mount.settle();
    assert_eq!(script(ALICE, &mount, "cat alices/file; ls -1"), "secret\nalices\nalices.txt\n");
    assert_eq!(script(BOB, &mount, "cat bobs/file; ls -1"), "secret\nbobs\nbobs.txt\n");
}

fn tree(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "mount", "slow,made", "");
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::write(mount.path("beside"), "stored\n").expect("a file is stored beside the tree");
    fs::write(mount.lower().join("stored"), "in the store\n").expect("write");
    assert_eq!(script(ALICE, &mount, "ls; cat stored"), "beside\nmade\nstored\nin the store\n");
    let all =
        "find made -type f -not -name secret -exec cat {} + | sort -n | md5sum; find made | wc -l";
    let expected = format!("{}1003\n", Run::shell("seq 0 999 | md5sum").ok());
    assert_eq!(script(ALICE, &mount, all), expected);
    assert_eq!(script(ALICE, &mount, "cat made/secret 2> /dev/null; id -u"), "1\n");
    assert_eq!(script(0, &mount, "cat made/secret"), "of root\n");
    for refused in [
        "rm made/deep/7",
        "touch made/new",
        "mv beside made",
        "truncate -s 0 made/deep/7",
        "rmdir made/deep",
    ] {
        let line = format!("{refused} 2>&1 | grep -o 'Read-only file system'");
        assert_eq!(script(0, &mount, &line), "Read-only file system\n", "{refused}");
    }
    // Inside of the tree, and with a file of it open, while the worker goes.
    let worker = mount.status()["worker_pid"].as_u64().expect("a worker");
    let kill = "kill -9 $WORKER; cat <&3; cat 8; ls | wc -l; basename \"$(pwd -P)\"";
    let line = format!("WORKER={worker}; cd made/deep; exec 3< 77; {kill}");
    assert_eq!(script(0, &mount, &line), "77\n8\n1000\ndeep\n");
    assert_eq!(script(ALICE, &mount, all), expected);
}
