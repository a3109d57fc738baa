//! One user does the worst that a mount lets them do; another one goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine};

use super::{alice, alices, limited};

pub(super) const TESTS: &[Test] = &[
    Test { name: "fairness::others_keep_their_latency", seconds: 240, body: latency },
    Test { name: "fairness::descriptors_are_shared_by_users", seconds: 120, body: descriptors },
    Test {
        name: "fairness::no_request_grows_with_the_length_that_a_file_claims",
        seconds: 300,
        body: huge,
    },
    Test {
        name: "fairness::files_that_a_user_has_seen_take_a_share_of_memory",
        seconds: 180,
        body: memory,
    },
    Test { name: "fairness::leases_keep_nobody_waiting", seconds: 60, body: leases },
];

/// How much slower another user may get.
const MOST_TIMES: f64 = 5.0;
/// How long each load lasts, once it had time to begin.
const LOAD: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_secs(4);

/// A directory of Bob's in a mount.
fn bobs(mount: &Mount) -> PathBuf {
    let dir = mount.path("bob");
    fs::create_dir(&dir).expect("directory");
    std::os::unix::fs::chown(&dir, Some(BOB), Some(BOB)).expect("chown");
    dir
}

/// What Bob does, again and again: `suite --latency DIR SECONDS`. Prints microseconds: the mean, and the longest.
pub(crate) fn process(arguments: &[String]) {
    let [dir, seconds] = arguments else { panic!("--latency DIR SECONDS") };
    let limit = Duration::from_secs(seconds.parse().expect("a number"));
    let begun = Instant::now();
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    while begun.elapsed() < limit {
        let round = Instant::now();
        let path = Path::new(dir).join("file");
        fs::write(&path, "content").expect("create and write");
        assert_eq!(fs::read(&path).expect("read"), b"content");
        fs::remove_file(&path).expect("unlink");
        longest = longest.max(round.elapsed());
        rounds += 1;
    }
    println!("{} {}", begun.elapsed().as_micros() / rounds, longest.as_micros());
}

/// The mean time of what Bob does, in microseconds.
fn measure(dir: &Path, what: &str) -> f64 {
    let own = std::env::current_exe().expect("own path");
    let seconds = LOAD.as_secs().to_string();
    let told = Run::as_user(BOB, own).arg("--latency").arg(dir).arg(seconds).ok();
    let mut numbers =
        told.split_whitespace().map(|number| number.parse::<f64>().expect("a number"));
    let (mean, longest) = (numbers.next().expect("a mean"), numbers.next().expect("the longest"));
    println!("{what}: {mean:.0} us each, the longest {:.1} ms", longest / 1000.0);
    mean
}

/// Everything at once, for a while: bytes that look like an image in huge files, a large file at the
/// slowest level, orders without end, and unlinked files that stay open.
fn worst(mount: &Mount) -> Child {
    let dir = alices(&mount.path("alice"));
    let line = format!(
        r#"cd '{dir}'
        head -c 48M /dev/urandom | base64 -w 0 > large
        while :; do setfattr -n {order} -v now . ; done &
        for number in 1 2 3; do
            truncate -s 1T huge$number
            while :; do
                printf '\x89HSCI\r\n\x22\xb1\xfb\x9c\x30\x60\x11\x98\x2b' | dd of=huge$number bs=1 seek=16 conv=notrunc
            done &
        done
        ulimit -n $(ulimit -H -n)
        for number in $(seq 1 3000); do exec {{open}}> open$number; rm open$number; done
        while :; do cat large > again; done"#,
        dir = dir.display(),
        order = "system.hsci.settle",
    );
    // All processes of the load are in one group, which ends together.
    let seconds = (LOAD + PAUSE).as_secs().to_string();
    let run = Run::as_user(ALICE, "timeout").args(["-s", "KILL", &seconds, "bash", "-c", &line]);
    run.silent().start()
}

/// The same load hits the mount that Bob uses, or another one: processor and disk are as busy either way.
fn latency(dir: &Path) {
    machine::need_root();
    machine::need("setfattr");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    let options = "settle=200ms,algorithm=zstd:22";
    let (mount, other) = (
        Mount::new(dir, "mount", "compressfs", options),
        Mount::new(dir, "other", "compressfs", options),
    );
    let bob = bobs(&mount);
    measure_idle(&bob);
    let under = |loaded: &Mount, what: &str| {
        let mut load = worst(loaded);
        std::thread::sleep(PAUSE);
        let mean = measure(&bob, what);
        let _ = load.wait();
        mean
    };
    // What else the machine does meanwhile is nobody's fault: once of four times is enough.
    let is_fair = (0..4).any(|_| {
        let elsewhere = under(&other, "with the load on another mount");
        let here = under(&mount, "with the load on the same mount");
        println!("{:.2} times", here / elsewhere);
        here <= MOST_TIMES * elsewhere
    });
    assert!(is_fair, "more than {MOST_TIMES} times");
}

fn measure_idle(dir: &Path) {
    let own = std::env::current_exe().expect("own path");
    let told = Run::as_user(BOB, own).arg("--latency").arg(dir).arg("2").ok();
    println!("without a load: {} us each", told.split(' ').next().unwrap_or_default());
}

/// A host that may have few descriptors, and a user who holds as many unlinked files as can be had.
fn descriptors(dir: &Path) {
    machine::need_root();
    machine::need("setpriv");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    let (lower, point) = (dir.join("lower"), dir.join("mount"));
    for place in [&lower, &point] {
        fs::create_dir(place).expect("directory");
    }
    let line = format!(
        "ulimit -n 800; exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource '{}' mount '{}' '{}'",
        machine::hsci().display(),
        lower.display(),
        point.display()
    );
    Run::shell(line).ok();
    let mount = Mount::adopt(&lower, &point, "compressfs");
    let bob = bobs(&mount);
    let place = alices(&mount.path("alice"));
    let held = dir.join("held");
    let hold = format!(
        r#"cd '{}'; ulimit -n $(ulimit -H -n)
        for number in $(seq 1 2000); do
            exec {{open}}> file$number
            rm file$number || break
        done
        echo $number; exec sleep 60"#,
        place.display()
    );
    let report = fs::File::create(&held).expect("a file");
    let mut holder = std::process::Command::new("setpriv")
        .args([
            &format!("--reuid={ALICE}"),
            &format!("--regid={ALICE}"),
            "--clear-groups",
            "bash",
            "-c",
            &hold,
        ])
        .stdout(report)
        .spawn()
        .expect("a process");
    let number = || fs::read_to_string(&held).expect("read").trim().parse::<u32>().ok();
    let begun = Instant::now();
    while number().is_none() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let held = number().expect("Alice has taken what there is");
    println!("Alice was stopped at {held} files");
    assert!((10..1000).contains(&held), "{held}");
    let outcome = std::panic::catch_unwind(|| {
        measure_idle(&bob);
        assert_eq!(fs::read_dir(mount.dir()).expect("a list").count(), 2);
        alice(&format!("cat '{}' > /dev/null", place.join(format!("file{held}")).display()));
    });
    let _ = holder.kill();
    let _ = holder.wait();
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    alice(&format!("rm '{}'", place.join(format!("file{held}")).display()));
}

/// A host with little memory for files, and a user who looks at many.
fn memory(dir: &Path) {
    machine::need_root();
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if !symbols.contains("fuse_try_prune_one_inode") {
        hsci_tests::skip("this kernel gives names back under pressure alone");
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    const FILES: usize = 20_000;
    // 4,096 of 8,192 are the share of each.
    const MOST: u64 = 6_000;
    let mount = Mount::new(dir, "mount", "nullfs", "memory=5M");
    for (user, files) in [(ALICE, FILES), (BOB, 100)] {
        let place = mount.lower().join(user.to_string());
        fs::create_dir(&place).expect("directory");
        for number in 0..files {
            fs::write(place.join(format!("file{number}")), "text\n").expect("write");
        }
    }
    let known = || mount.status()["inodes"].as_u64().expect("a number");
    let look = |user: u32| {
        let place = mount.path(&user.to_string());
        let run = Run::as_user(user, "find").arg(place).args(["-type", "f", "-size", "1"]);
        run.ok().lines().count()
    };
    assert_eq!(look(BOB), 100);
    let held = mount.path(&format!("{ALICE}/file7"));
    let hold = format!("exec 3< '{}'; read line <&3; exec sleep 120", held.display());
    let mut holder = Run::as_user(ALICE, "bash").args(["-c", &hold]).start();
    assert_eq!(look(ALICE), FILES, "she sees all of her files");
    let begun = Instant::now();
    while known() > MOST && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{} files are known, of {} that were looked at", known(), FILES + 100);
    assert!(known() <= MOST, "{}", known());
    assert_eq!(look(ALICE), FILES, "and again");
    assert_eq!(look(BOB), 100);
    assert_eq!(fs::read(&held).expect("read"), b"text\n");
    holder.kill().and_then(|()| holder.wait()).expect("killed");
}

/// What is done to huge files that hold nearly nothing; where there is no space for it, or no way, it fails.
const ON_HUGE: &[&str] = &[
    "truncate -s 1T f; for at in 0 39 38; do printf 0123456789abcdef | dd of=f bs=1 seek=$((1 << at)) conv=notrunc; done; sync f",
    "for turn in {1..20}; do truncate -s 1 g; truncate -s 1T g; done",
    "yes | head -c 1M > sealed",
    "fallocate -l 1T full; rm full",
    "fallocate -n -l 1T full; rm full",
    "fallocate -p -o 4096 -l 1T f",
    "fallocate -z -n -l 1T g; truncate -s 0 g",
    "fallocate -c -o 4096 -l 512G f",
    "fallocate -i -o 4096 -l 512G f",
    "fallocate -d g",
    "cp --sparse=always f copy; sync copy",
    "filefrag f",
    "setfattr -n user.hsci.algorithm -v zstd:19 f",
    "printf x | dd of=f bs=1 seek=$((1 << 37)) conv=notrunc; sync f",
    "tail -c 100 f | wc -c",
];

/// The same where what was compressed becomes huge.
const ON_SEALED: &[&str] = &[
    "truncate -s 1T sealed; printf x | dd of=sealed bs=1 seek=$((1 << 39)) conv=notrunc; sync sealed",
    "fallocate -p -o 4096 -l 1T sealed; truncate -s 5 sealed; truncate -s 1T sealed; sync sealed",
    "tail -c 100 sealed | wc -c",
];

fn huge(dir: &Path) {
    let disk = dir.join("disk");
    let _disk = machine::loop_file_system("ext4", 96 << 20, &dir.join("image"), &disk);
    let mut mount = Mount::new(&disk, "mount", "compressfs", "");
    for place in [dir, &disk] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let place = alices(&mount.path("alice"));
    let each = |lines: &[&str]| {
        for line in lines {
            let begun = Instant::now();
            let run = Run::as_user(ALICE, "timeout").args(["-k", "5", "30", "bash", "-c", line]);
            let done = run.dir(&place).done();
            println!("{:.1} s: {line}", begun.elapsed().as_secs_f64());
            assert!(![124, 137].contains(&done.code), "{line}: {}", done.err);
        }
        // The index of an image of a terabyte does not fit here: then the file stays as it is.
        let settled = limited(["settle"], &[mount.dir()]);
        assert!([0, 1].contains(&settled.code), "{settled:?}");
        limited(["usage"], &[mount.dir()]).ok();
    };
    each(ON_HUGE);
    each(ON_SEALED);
    mount.unmount();
    limited(["check"], &[mount.lower()]).ok();
}

/// Takes a lease of a kind on a file, and does not give it back when it is asked to.
const LEASE: &str = "import fcntl, os, signal, sys, time\n\
    signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
    file = os.open(sys.argv[1], os.O_RDONLY if sys.argv[2] == '0' else os.O_RDWR)\n\
    fcntl.fcntl(file, 1024, int(sys.argv[2]))\n\
    open(sys.argv[3], 'w').close()\n\
    time.sleep(50)";

/// The owner of files holds leases on them, through the lower directory.
fn leases(dir: &Path) {
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        hsci_tests::skip("there is no /usr/bin/python3");
    }
    let mount = Mount::new(dir, "mount", "nullfs", "");
    let ready = alices(&dir.join("ready"));
    let mut holders = Vec::new();
    for (name, kind) in [("read", "0"), ("write", "1")] {
        let file = mount.lower().join(name);
        fs::write(&file, name).expect("write");
        std::os::unix::fs::chown(&file, Some(ALICE), Some(ALICE)).expect("chown");
        let mark = ready.join(name);
        let holder = Run::as_user(ALICE, python).args(["-c", LEASE]).arg(&file).arg(kind);
        holders.push(holder.arg(&mark).start());
        let begun = Instant::now();
        while !mark.exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "no lease for {name}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    fs::write(mount.lower().join("free"), "free").expect("write");
    let begun = Instant::now();
    assert_eq!(fs::read(mount.path("read")).expect("beside a lease for reading"), b"read");
    let refused = fs::read(mount.path("write")).expect_err("beside a lease for writing");
    assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(fs::read(mount.path("free")).expect("read"), b"free");
    // Whoever opens such a file below waits until the kernel breaks the lease, 45 s by default.
    assert!(begun.elapsed() < Duration::from_secs(20), "somebody has waited");
    for mut holder in holders {
        holder.kill().expect("killed");
        holder.wait().expect("waited for");
    }
    assert_eq!(fs::read(mount.path("write")).expect("once the lease is gone"), b"write");
}
