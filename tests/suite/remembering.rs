//! Rules about what a process did before, on real mounts.

use std::fs;
use std::path::Path;
use std::time::Instant;

use hsci_tests::command::{ALICE, BOB, Done};
use hsci_tests::{Run, Test, machine};

use crate::policies::{InForce, open_mount, target};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "remembering::a_program_that_changes_ten_thousand_files_is_stopped",
        seconds: 300,
        body: ransom,
    },
    Test {
        name: "remembering::who_read_a_secret_writes_nothing_where_others_read",
        seconds: 300,
        body: secret,
    },
    Test { name: "remembering::marks_survive_another_policy", seconds: 300, body: swap },
    Test { name: "remembering::files_grow_to_their_limit", seconds: 300, body: grow },
];

const FILES: usize = 10_000;
const LIMIT: u64 = 200;
const SECONDS: u64 = 10;

/// Four processes, which share the work: each renames its files, cuts the others and prints how many it could.
const RANSOM: &str = r#"
my ($dir, $files) = @ARGV;
my @children;
for my $part (0 .. 3) {
    pipe(my $from, my $to);
    if (!fork) {
        my $done = 0;
        for (my $i = $part; $i < $files; $i += 4) {
            my $file = "$dir/$i";
            $done++ if $i % 3 ? truncate($file, 0) : rename($file, "$file.locked");
        }
        print $to $done;
        exit 0;
    }
    close $to;
    push @children, $from;
}
my $sum = 0;
$sum += <$_> for @children;
print $sum;
"#;

fn ransom(dir: &Path) {
    machine::need("perl");
    let in_force = InForce::take(dir);
    in_force.load(&format!(
        "{}in t: deny rename, unlink, truncate when rate > {LIMIT} per {SECONDS}s\n",
        target(dir, "nullfs")
    ));
    let mount = open_mount(dir, "nullfs");
    for number in 0..FILES {
        let path = mount.lower().join(number.to_string());
        fs::write(&path, "precious").expect("written");
        std::os::unix::fs::chown(&path, Some(ALICE), Some(ALICE)).expect("given away");
    }
    let run = |user: u32| {
        let started = Instant::now();
        let perl = Run::as_user(user, "perl").args(["-e", RANSOM]).arg(mount.dir());
        let changed: u64 = perl.arg(FILES.to_string()).ok().trim().parse().expect("a number");
        // Tokens come back meanwhile, and one call may be under way.
        let back = started.elapsed().as_secs() * LIMIT / SECONDS + LIMIT / SECONDS + 1;
        (changed, LIMIT + back)
    };
    let (changed, allowed) = run(ALICE);
    println!("{changed} of {FILES} files changed, {allowed} allowed");
    assert!(changed <= allowed, "{changed} files, {allowed} allowed");
    // A rename is a call on each of its names.
    assert!(changed >= LIMIT / 2, "{changed}");
    let told = &mount.status()["policy"];
    assert!(told["denied"].as_u64().is_some_and(|denied| denied > 1000), "{told}");
    assert_eq!(told["undecidable"], 0, "{told}");
    // Others are not stopped with them.
    fs::write(mount.lower().join("other"), "x").expect("written");
    std::os::unix::fs::chown(mount.lower().join("other"), Some(BOB), Some(BOB)).expect("given");
    Run::as_user(BOB, "rm").arg(mount.path("other")).ok();
}

/// Runs lines of a shell below the mount.
fn shell(mount: &Path, lines: &str) -> Done {
    Run::as_user(ALICE, "bash").args(["-c", lines]).dir(mount).done()
}

fn secret(dir: &Path) {
    let in_force = InForce::take(dir);
    in_force.load(&format!(
        "{}in t: mark tainted read-data on \"secret/**\"\n\
         in t: deny write-data, create on \"public/**\" when marked tainted\n\
         in t: unmark tainted rmdir on \"washed\"\n",
        target(dir, "nullfs")
    ));
    let mount = open_mount(dir, "nullfs");
    for name in ["secret", "public"] {
        fs::create_dir(mount.lower().join(name)).expect("a directory");
        std::os::unix::fs::chown(mount.lower().join(name), Some(ALICE), Some(ALICE))
            .expect("given");
    }
    fs::write(mount.lower().join("secret/key"), "secret\n").expect("written");
    let read = "read line < secret/key;";
    let is_denied = |lines: &str| {
        shell(mount.dir(), lines).fails(9, &["Permission denied"]);
    };
    shell(mount.dir(), "echo before > public/before && cat public/before").ok();
    is_denied(&format!("{read} echo x > public/a || exit 9"));
    is_denied(&format!("{read} sh -c 'echo x > public/a' || exit 9"));
    is_denied(&format!("{read} exec sh -c 'echo x > public/a || exit 9'"));
    is_denied(&format!("{read} (sh -c 'sh -c \"mkdir public/a\"') || exit 9"));
    is_denied(&format!("{read} echo x >> public/before || exit 9"));
    is_denied(&format!("{read} ln -s secret/key public/link || exit 9"));
    // A descriptor from before.
    is_denied(&format!("exec 3>> public/before; {read} echo x >&3 || exit 9"));
    // Twice forked, and the first child gone.
    let orphan = "(setsid sh -c 'sleep 0.3; echo x > public/orphan; touch done' > err 2>&1 &)";
    fs::set_permissions(mount.lower(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("chmod");
    shell(mount.dir(), &format!("{read} {orphan}; while [ ! -e done ]; do sleep 0.1; done")).ok();
    assert!(!mount.path("public/orphan").exists());
    // What was started before has not read anything.
    let before = "(while [ ! -e go ]; do sleep 0.1; done; echo x > public/earlier) & ";
    shell(mount.dir(), &format!("{before} {read} touch go; wait")).ok();
    assert!(mount.path("public/earlier").exists());
    shell(
        mount.dir(),
        &format!("{read} mkdir washed; rmdir washed; echo x > public/washed || exit 9"),
    )
    .fails(9, &["Permission denied"]);
    let washes = "mkdir washed; exec perl -e 'open F, q(secret/key); <F>; rmdir q(washed); open(G, q(>public/washed)) or exit 9'";
    shell(mount.dir(), washes).ok();
    shell(mount.dir(), "echo x > public/other").ok();
    assert_eq!(mount.status()["policy"]["undecidable"], 0);
    let list = Run::new(machine::hsci()).args(["policy", "list", "--json"]).ok();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert!(list["rules"][0]["hits"].as_u64().is_some_and(|hits| hits >= 8), "{list}");
    assert!(list["rules"][2]["hits"].as_u64().is_some_and(|hits| hits >= 1), "{list}");
}

fn swap(dir: &Path) {
    let in_force = InForce::take(dir);
    let head = target(dir, "nullfs");
    let rules = "in t: mark tainted read-data on \"secret\"\n\
                 in t: deny write-data on \"public\" when marked tainted\n";
    in_force.load(&format!("{head}{rules}"));
    let mount = open_mount(dir, "nullfs");
    fs::write(mount.lower().join("secret"), "x\n").expect("written");
    fs::write(mount.lower().join("public"), "x\n").expect("written");
    fs::set_permissions(mount.lower(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("chmod");
    std::os::unix::fs::chown(mount.lower().join("public"), Some(ALICE), Some(ALICE))
        .expect("given");
    let wait = "touch ready; while [ ! -e go ]; do sleep 0.05; done; echo x > public || exit 9";
    let lines = format!("read line < secret; {wait}");
    std::thread::scope(|scope| {
        let marked = scope.spawn(|| shell(mount.dir(), &lines));
        while !mount.lower().join("ready").exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // Another mark comes first, so that numbers would differ.
        in_force.load(&format!(
            "{head}in t: mark fresh read-data on \"nothing\"\n\
             in t: deny chmod when marked fresh\n{rules}"
        ));
        fs::write(mount.path("go"), "").expect("written");
        marked.join().expect("no panic").fails(9, &["Permission denied"]);
    });
    shell(mount.dir(), "chmod 600 public && echo x > public").ok();
}

fn grow(dir: &Path) {
    let in_force = InForce::take(dir);
    in_force.load(&format!(
        "{}in t: deny(EDQUOT) grow on \"quota/*\" when size > 1M\n",
        target(dir, "nullfs")
    ));
    let mount = open_mount(dir, "nullfs");
    fs::create_dir(mount.lower().join("quota")).expect("a directory");
    let sh = |line: &str| Run::new("bash").args(["-c", line]).dir(mount.dir()).done();
    sh("head -c 1048576 /dev/zero > quota/a").ok();
    sh("echo >> quota/a").fails(1, &["quota exceeded"]);
    sh("truncate -s 1048577 quota/a").fails(1, &["quota exceeded"]);
    sh("fallocate -l 2M quota/a").fails(1, &["quota exceeded"]);
    sh("head -c 4096 /dev/zero | dd of=quota/a conv=notrunc status=none").ok();
    sh("head -c 2097152 /dev/zero > quota/b").fails(1, &["quota exceeded"]);
    sh("head -c 2097152 /dev/zero > free").ok();
    let len = fs::metadata(mount.path("quota/a")).expect("there").len();
    assert_eq!(len, 1 << 20);
    assert!(fs::metadata(mount.path("quota/b")).expect("there").len() <= 1 << 20);
}
