//! The examples on real mounts: with clients inside, stacked, and under kill -9; and what a store remembers of the
//! stack that made it.

mod clients;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hsci_extension::testkit::conformance;
use hsci_tests::command::{ALICE, BOB, Done};
use hsci_tests::{Mount, Run, Test, machine};
use rustix::process::{Pid, Signal, kill_process};
use walkdir::WalkDir;

use self::clients::{clients, clients_under_a_policy};
use crate::survival;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "examples::each_has_at_most_250_lines", seconds: 60, body: short },
    Test { name: "examples::crypt_conforms", seconds: 120, body: crypt_conforms },
    Test { name: "examples::crypt_serves_clients_under_kills", seconds: 120, body: crypt },
    Test { name: "examples::crypt_below_compressfs", seconds: 300, body: crypt_below },
    Test { name: "examples::killed_workers_of_crypt_go_unnoticed", seconds: 300, body: kills },
    Test { name: "examples::killed_workers_of_a_stack_go_unnoticed", seconds: 300, body: stacked },
    Test { name: "examples::versions_conforms", seconds: 120, body: versions_conforms },
    Test { name: "examples::versions_are_listed_and_restored", seconds: 60, body: versions },
    Test { name: "examples::versions_above_compressfs", seconds: 300, body: versions_above },
    Test { name: "examples::gunzip_conforms", seconds: 120, body: gunzip_conforms },
    Test { name: "examples::gunzip_shows_what_is_inside", seconds: 60, body: gunzip },
    Test { name: "examples::gunzip_above_compressfs", seconds: 300, body: gunzip_above },
    Test { name: "examples::hide_above_compressfs", seconds: 300, body: hide_above },
    Test { name: "examples::a_stack_is_the_one_that_made_the_store", seconds: 60, body: stacks },
    Test { name: "examples::options_that_matter_are_kept", seconds: 60, body: options },
];

/// Exit codes.
const NO: i32 = 1;
const USAGE: i32 = 2;
const STORE: i32 = 6;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The option with a key in a file.
fn key(dir: &Path) -> String {
    let path = dir.join("key");
    fs::write(&path, KEY).expect("a key");
    format!("key=file:{}", path.display())
}

fn hsci(arguments: &[&str], paths: &[&Path]) -> Done {
    Run::new(machine::hsci()).args(arguments).args(paths).done()
}

fn short(_: &Path) {
    for entry in fs::read_dir(machine::project().join("examples")).expect("the examples") {
        let source = entry.expect("an entry").path().join("src/lib.rs");
        if let Ok(text) = fs::read_to_string(&source) {
            assert!(text.lines().count() <= 250, "{}", source.display());
        }
    }
}

fn crypt_conforms(dir: &Path) {
    let mount = Mount::new(dir, "mount", "crypt", &key(dir));
    let failures = conformance::on_directory(mount.dir());
    assert!(failures.is_empty(), "{failures:#?}");
}

fn crypt(dir: &Path) {
    clients(dir, "crypt", &key(dir));
}

fn crypt_below(dir: &Path) {
    clients_under_a_policy(dir, "compressfs,crypt", &format!("{},settle=100ms", key(dir)), 0);
}

fn kills(dir: &Path) {
    survival::campaign(dir, "crypt", &key(dir), 12);
}

/// What an extension left in its journal comes to its files through the extension below.
fn stacked(dir: &Path) {
    survival::campaign(dir, "compressfs,crypt", &format!("{},settle=50ms", key(dir)), 30);
}

fn versions_conforms(dir: &Path) {
    let mount = Mount::new(dir, "mount", "versions", "rest=0");
    let failures = conformance::on_directory(mount.dir());
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Each round finds the version that the one before has made, whoever looked meanwhile.
fn versions(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "mount", "versions,compressfs", "rest=0,keep=3");
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    let script = |user: u32, text: &str| {
        Run::as_user(user, "bash").args(["-c", text]).dir(mount.dir()).done().out
    };
    script(
        ALICE,
        "mkdir notes; chmod 750 notes; umask 077; echo 0 > notes/secret; umask 022; echo 0 > plan",
    );
    for number in 1..6 {
        let (plan, secret) =
            (format!("echo {number} > plan"), format!("echo {number} > notes/secret"));
        script(ALICE, &format!("{plan}; {secret}; ls .versions .versions/plan~"));
        if number == 2 {
            for worker in machine::workers(mount.lower()) {
                let pid = Pid::from_raw(worker as i32).expect("a process");
                kill_process(pid, Signal::KILL).expect("killed");
            }
        }
        assert_eq!(
            script(BOB, "ls .versions; tail -n 1 plan"),
            format!("notes\nplan~\n{number}\n")
        );
    }
    assert_eq!(
        script(BOB, "cd .versions/plan~; cat *; touch 9 2> /dev/null || echo refused"),
        "2\n3\n4\nrefused\n"
    );
    assert_eq!(script(BOB, "cat .versions/notes/secret~/* 2> /dev/null || echo none"), "none\n");
    assert_eq!(script(ALICE, "cat .versions/notes/secret~/*"), "2\n3\n4\n");
    let restored =
        "cp .versions/plan~/3 plan; cat plan; rm plan; ls .versions/plan~; cat .versions/plan~/*";
    assert_eq!(script(ALICE, restored), "2\n5\n6\n7\n4\n5\n2\n");
    // What stores nothing is not remembered, and its options are known where it is named.
    mount.unmount();
    let check = |arguments: &[&str]| hsci(&[&["check"], arguments].concat(), &[mount.lower()]);
    check(&[]).ok();
    check(&["-x", "versions,compressfs", "-o", "keep=3"]).ok();
    check(&["-o", "keep=3"]).fails(USAGE, &["`keep`"]);
}

fn versions_above(dir: &Path) {
    clients_under_a_policy(dir, "versions,compressfs", "settle=100ms,rest=200ms", 0);
}

fn gunzip_conforms(dir: &Path) {
    let mount = Mount::new(dir, "mount", "gunzip", "");
    let failures = conformance::on_directory(mount.dir());
    assert!(failures.is_empty(), "{failures:#?}");
}

fn gunzip(dir: &Path) {
    machine::need_root();
    machine::need("gzip");
    let mount = Mount::new(dir, "mount", "gunzip,compressfs", "");
    let run = |text: &str| Run::shell(text).dir(mount.dir()).done().out;
    run(
        "mkdir logs; cd logs; seq 100000 > a; gzip -k a; mv a ../kept; seq 9 > b; seq 8 | gzip > b.gz; echo no > c.gz",
    );
    assert_eq!(
        run("cd logs; ls; cat a | cmp - ../kept; stat -c %s a; wc -l < b"),
        "a\na.gz\nb\nb.gz\nc.gz\n588895\n9\n"
    );
    let file = fs::File::open(mount.path("logs/a")).expect("open");
    for worker in machine::workers(mount.lower()) {
        let pid = Pid::from_raw(worker as i32).expect("a process");
        kill_process(pid, Signal::KILL).expect("killed");
    }
    let mut text = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut text, 588_890)
        .expect("read after a kill");
    assert_eq!(&text, b"0000");
    // What changes below a view, under it.
    assert_eq!(run("cd logs; seq 3 | gzip > a.gz; cat a; stat -c %s a"), "1\n2\n3\n6\n");
    assert_eq!(run("cd logs; mv a.gz d.gz; cat a 2> /dev/null || cat d"), "1\n2\n3\n");
    assert_eq!(run("cd logs; rm d.gz; cat d 2> /dev/null || ls"), "b\nb.gz\nc.gz\n");
    assert_eq!(run("cd logs; cat e 2> /dev/null || true; seq 2 | gzip > e.gz; cat e"), "1\n2\n");
    assert_eq!(
        run(
            "cd logs; rm b; cat b; rm b 2> /dev/null || echo refused; echo x 2> /dev/null > e || echo refused"
        ),
        "1\n2\n3\n4\n5\n6\n7\n8\nrefused\nrefused\n"
    );
    // Who may not read the one may not read the other.
    assert_eq!(
        run(
            "cd logs; chmod 600 e.gz; stat -c %a e; setfacl -m u:1000:r e.gz 2> /dev/null; getfacl -cnp e | head -n 2 | tail -n 1"
        ),
        "400\nuser:1000:r--\n"
    );
}

fn gunzip_above(dir: &Path) {
    clients_under_a_policy(dir, "gunzip,compressfs", "settle=100ms", 0);
}

/// Root sees everything: it is a user for whom names may be hidden.
fn hide_above(dir: &Path) {
    clients_under_a_policy(dir, "hide,compressfs", "settle=100ms", ALICE);
}

/// Some place in a stored file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("a stored file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("damaged");
}

fn stacks(dir: &Path) {
    let key = key(dir);
    let mut mount = Mount::new(dir, "mount", "compressfs,crypt", &key);
    fs::create_dir(mount.path("sub")).expect("a directory");
    let text = "a text that can be compressed\n".repeat(10_000);
    fs::write(mount.path("sub/text"), &text).expect("written");
    mount.settle();
    mount.unmount();
    let (lower, point) = (mount.lower().to_owned(), mount.dir().to_owned());
    let stored = || -> Vec<(PathBuf, Vec<u8>)> {
        let entries = WalkDir::new(&lower).sort_by_file_name().into_iter();
        let paths = entries.map(|entry| entry.expect("a readable tree").into_path());
        let files = paths.filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs::read(path).expect("a stored file"))).collect()
    };
    let before = stored();
    for extension in ["compressfs", "nullfs", "hide"] {
        let refused = hsci(&["mount", "-x", extension], &[&lower, &point]);
        refused.fails(STORE, &["--extension compressfs,crypt"]);
    }
    for extension in ["crypt", "crypt,compressfs"] {
        let refused = hsci(&["mount", "-x", extension, "-o", &key], &[&lower, &point]);
        refused.fails(STORE, &["--extension compressfs,crypt"]);
    }
    hsci(&["mount", "-x", "hide,compressfs"], &[&lower, &point])
        .fails(STORE, &["compressfs,crypt"]);
    let other = dir.join("other-key");
    fs::write(&other, KEY.replace('0', "1")).expect("another key");
    let other = format!("key=file:{}", other.display());
    let refused = hsci(&["mount", "-x", "compressfs,crypt", "-o", &other], &[&lower, &point]);
    refused.fails(USAGE, &["extension `crypt`: option `key`: not the key of this store"]);
    assert!(stored() == before, "nothing changed in the store, its lock included");
    for command in ["check", "export"] {
        let copy = dir.join("refused");
        let paths = [&*lower, &copy];
        let paths = if command == "check" { &paths[..1] } else { &paths };
        let words = ["extension `crypt`: option `key`: 64 hexadecimal digits by file:PATH"];
        hsci(&[command], paths).fails(USAGE, &words);
        assert!(!copy.exists());
    }
    let sum = hsci(&["check", "-o", &key], &[&lower]).ok();
    assert!(sum.contains("1 file:") && !sum.contains("0 B verified"), "{sum}");
    let copy = dir.join("copy");
    hsci(&["export", "-o", &key], &[&lower, Path::new("sub/text"), &copy]).ok();
    assert_eq!(fs::read_to_string(copy).expect("exported"), text);
    damage(&lower.join("sub/text"));
    let found = hsci(&["check", "-o", &key], &[&lower]);
    assert_eq!(found.code, NO, "{}", found.err);
    assert!(found.out.contains("damage: crypt: sub/text: "), "{}", found.out);
}

fn options(dir: &Path) {
    let stored = |mount: &Mount| fs::read(mount.lower().join("file")).expect("a stored file");
    let mut mount = Mount::new(dir, "mount", "xor", "key=17");
    fs::write(mount.path("file"), b"text").expect("written");
    mount.unmount();
    assert_eq!(stored(&mount), b"text".map(|byte| byte ^ 17));
    let (lower, point): (PathBuf, PathBuf) = (mount.lower().to_owned(), mount.dir().to_owned());
    let other = hsci(&["mount", "-x", "xor", "-o", "key=18"], &[&lower, &point]);
    other.fails(STORE, &["`key=17`, not with `key=18`", "leave the option out"]);
    hsci(&["check", "-o", "key=18"], &[&lower]).fails(STORE, &["`key=17`"]);
    // Without the option, it is the store's.
    let copy = dir.join("copy");
    hsci(&["export"], &[&lower, &copy]).ok();
    assert_eq!(fs::read(copy.join("file")).expect("exported"), b"text");
    let again = Mount::at(&lower, &point, "xor", "");
    assert_eq!(fs::read(again.path("file")).expect("read"), b"text");
}
