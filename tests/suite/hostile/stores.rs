//! Stores that somebody else has prepared: nothing in them blocks, leads away, or is believed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, Test, machine};

use super::forger::{self, Entry};
use super::{Victim, alice, alices, ended, facts, is_mounted, limited};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "hostile::stores_of_others_neither_lead_nor_block", seconds: 900, body: prepared },
    Test {
        name: "hostile::a_file_with_a_name_elsewhere_stays_what_it_is",
        seconds: 120,
        body: linked,
    },
    Test { name: "hostile::a_store_names_no_program_on_the_path", seconds: 60, body: program },
    Test { name: "hostile::root_runs_no_program_that_nobody_named", seconds: 120, body: unnamed },
    Test {
        name: "hostile::a_private_directory_moved_away_is_not_replaced",
        seconds: 120,
        body: moved,
    },
];

/// Changes a sound store of root's, whose private directory is at `own`, into a trap.
type Prepare = fn(own: &Path, victim: &Path);

const TRAPS: &[(&str, Prepare)] = &[
    (".hsci of alice's", |own, _| give(own)),
    (".hsci is a link", |own, victim| {
        fs::remove_dir_all(own).expect("remove");
        symlink(victim.parent().expect("directory"), own).expect("link");
    }),
    (".hsci is a FIFO", |own, _| {
        fs::remove_dir_all(own).expect("remove");
        fifo(own);
    }),
    (".hsci is a file", |own, _| {
        fs::remove_dir_all(own).expect("remove");
        fs::write(own, "file").expect("write");
    }),
    (".hsci can be written by its group", |own, _| mode(own, 0o770)),
    (".hsci can be written by all", |own, _| mode(own, 0o777)),
    ("store is a FIFO", |own, _| replace(&own.join("store"), fifo)),
    ("store is a link", |own, victim| {
        replace(&own.join("store"), |path| symlink(victim, path).expect("link"));
    }),
    ("store has another name", |own, victim| {
        replace(&own.join("store"), |path| fs::hard_link(victim, path).expect("link"));
    }),
    ("store is a directory", |own, _| {
        replace(&own.join("store"), |path| fs::create_dir(path).expect("directory"));
    }),
    ("store is a device", |own, _| {
        replace(&own.join("store"), |path| {
            Run::new("mknod").arg(path).args(["c", "1", "5"]).ok();
        });
    }),
    ("store of alice's", |own, _| give(&own.join("store"))),
    ("store can be written by all", |own, _| mode(&own.join("store"), 0o666)),
    ("store without end", |own, _| {
        let file = fs::File::options().write(true).open(own.join("store")).expect("open");
        file.set_len(1 << 40).expect("length");
    }),
    ("the extension's directory is a link", |own, victim| {
        let directory = own.join("compressfs");
        fs::remove_dir_all(&directory).expect("remove");
        symlink(victim.parent().expect("directory"), directory).expect("link");
    }),
    ("the extension's directory of alice's", |own, _| give(&own.join("compressfs"))),
    ("a journal is a FIFO", |own, _| fifo(&own.join("compressfs/journal-1-0"))),
    ("a journal is a link", |own, victim| {
        symlink(victim, own.join("compressfs/journal-1-0")).expect("link");
    }),
    ("a journal has another name", |own, victim| {
        fs::hard_link(victim, own.join("compressfs/journal-1-0")).expect("link");
    }),
    ("a journal is a directory", |own, _| {
        fs::create_dir(own.join("compressfs/journal-1-0")).expect("directory");
    }),
    ("a journal is a device", |own, _| {
        let path = own.join("compressfs/journal-1-0");
        Run::new("mknod").arg(path).args(["c", "1", "5"]).ok();
    }),
    ("the choices are a FIFO", |own, _| fifo(&own.join("compressfs/choices"))),
    ("the choices are a link", |own, victim| {
        symlink(victim, own.join("compressfs/choices")).expect("link");
    }),
    ("new choices are a link", |own, victim| {
        symlink(victim, own.join("compressfs/choices.new")).expect("link");
    }),
];

fn give(path: &Path) {
    chown(path, Some(ALICE), Some(ALICE)).expect("chown");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn fifo(path: &Path) {
    Run::new("mkfifo").arg(path).ok();
}

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).expect("remove");
    make(path);
}

/// Each trap against each command that reads stores.
fn prepared(dir: &Path) {
    machine::need_root();
    let victim = Victim::new(dir);
    let sound = Mount::new(dir, "sound", "compressfs", "settle=10m");
    fs::write(sound.path("file"), "text\n".repeat(10_000)).expect("write");
    sound.settle();
    let template = sound.lower().to_owned();
    drop(sound);
    let point = dir.join("point");
    fs::create_dir(&point).expect("directory");
    let mut attempts = 0;
    for (name, prepare) in TRAPS {
        for command in ["mount", "mount read-only", "check", "export"] {
            let store = dir.join("store");
            Run::new("cp").arg("-a").args([&template, &store]).ok();
            give(&store);
            prepare(&store.join(".hsci"), &victim.path);
            let victim = Victim::at(&victim.path);
            attempt(command, &store, &point, &format!("{name}, {command}"));
            victim.check(&format!("{name}, {command}"));
            Run::new("rm").arg("-rf").args([&store, &dir.join("exported")]).ok();
            attempts += 1;
        }
    }
    println!("{attempts} attempts");
    assert!(attempts >= 90, "{attempts} attempts");
}

fn attempt(command: &str, store: &Path, point: &Path, name: &str) {
    let exported = point.with_file_name("exported");
    let done = match command {
        "mount" => limited(["mount"], &[store, point]),
        "mount read-only" => limited(["mount", "-o", "ro"], &[store, point]),
        "check" => limited(["check"], &[store]),
        _ => limited(["export"], &[store, &exported]),
    };
    ended(name, &done, point);
    // What is served counts as root's word, so nothing of others' making is served.
    assert!(
        !command.starts_with("mount") || done.code != 0 || name.contains("new choices"),
        "{name}"
    );
}

/// A store's own word names a program next to `hsci`, or one of the system's, and no other.
fn program(dir: &Path) {
    machine::need_root();
    let store = alices(&dir.join("store"));
    alice(&format!(
        "cd '{}' && mkdir -m 700 .hsci && echo '{{\"extension\":\"evil\",\"format\":1}}' > .hsci/store && chmod 600 .hsci/store",
        store.display()
    ));
    let (bin, mark) = (dir.join("bin"), dir.join("it-ran"));
    fs::create_dir(&bin).expect("directory");
    let program = bin.join("hsci-extension-evil");
    fs::write(&program, format!("#!/bin/sh\ntouch '{}'\n", mark.display())).expect("write");
    mode(&program, 0o755);
    for command in ["check", "export"] {
        let run = Run::new(machine::hsci()).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let mut run = run.arg(command).arg(&store);
        if command == "export" {
            run = run.arg(dir.join("exported"));
        }
        let done = run.done();
        assert_ne!(done.code, 0, "{command}");
        assert!(!mark.exists(), "{command}: the program that a store names has run");
        assert!(done.err.contains("use --extension evil"), "{}", done.err);
    }
}

/// Programs on root's PATH, of another user beside `hsci`, and one there that others can write, bring commands.
fn unnamed(dir: &Path) {
    machine::need_root();
    let (bin, own, mark) = (dir.join("bin"), dir.join("own"), dir.join("it-ran"));
    let program = |dir: &Path, name: &str, bits| {
        let path = dir.join(format!("hsci-extension-{name}"));
        fs::write(&path, format!("#!/bin/sh\ntouch '{}'\n", mark.display())).expect("write");
        mode(&path, bits);
        path
    };
    fs::create_dir(&bin).expect("directory");
    fs::create_dir(&own).expect("directory");
    Run::new("cp").arg(machine::hsci()).arg(&own).ok();
    program(&bin, "passed-by", 0o755);
    chown(program(&own, "alices", 0o755), Some(ALICE), None).expect("chown");
    program(&own, "open-to-all", 0o757);
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let hsci = |words: &[&str]| Run::new(own.join("hsci")).args(words).env("PATH", &path);
    let attempts: [&[&str]; 5] = [
        &["greet"],
        &["help", "greet"],
        &["--help"],
        &["extensions"],
        &["mount", "-x", "no,such", "/a", "/b"],
    ];
    for words in attempts {
        let _ = hsci(words).done();
        assert!(!mark.exists(), "{words:?}: a program has run that nobody named");
    }
    let _ = hsci(&["--", "hsci", "greet", ""]).env("HSCI_COMPLETE", "bash").done();
    assert!(!mark.exists(), "completion: a program has run that nobody named");
    program(&own, "roots", 0o755);
    let _ = hsci(&["greet"]).done();
    assert!(mark.exists(), "root's own is asked");
}

/// Alice moves the real directory away while it is mounted, and puts one of hers there.
fn moved(dir: &Path) {
    machine::need_root();
    let victim = Victim::new(dir);
    let image = forger::image(dir);
    let lower = alices(&dir.join("mail.lower"));
    let mount = Mount::at(&lower, &alices(&dir.join("mail")), "compressfs", "settle=10m");
    fs::write(mount.path("before"), "before").expect("write");
    let entry = Entry {
        handle: forger::handle(&victim.path),
        base: 0,
        len: image.len() as u64,
        at: 0,
        log_len: 0,
    };
    let forged = forger::journal(1, 0, &image, &[entry]);
    let planted = dir.join("planted");
    fs::write(&planted, forged).expect("write");
    let store = r#"{"extension":"compressfs","format":1}"#;
    alice(&format!(
        "cd '{}' && mv .hsci away && mkdir -p .hsci/compressfs && chmod 700 .hsci && echo '{store}' > .hsci/store && cp '{}' .hsci/compressfs/journal-1-0",
        lower.display(),
        planted.display()
    ));
    let worker = mount.status()["worker_pid"].as_u64().expect("a worker");
    Run::new("kill").args(["-9", &worker.to_string()]).ok();
    // Whether another worker serves or none: it was not led on.
    let dir: PathBuf = mount.dir().to_owned();
    std::thread::sleep(std::time::Duration::from_secs(2));
    victim.check("a planted directory");
    assert!(is_mounted(&dir), "what is served stays");
    Run::new("umount").arg("-l").arg(&dir).ok();
    std::mem::forget(mount);
}

/// As on a machine where users may link to files of others, as kernels allow that nobody has told otherwise.
fn linked(dir: &Path) {
    machine::need_root();
    hsci_tests::sys::own_mounts();
    let zero = dir.join("zero");
    fs::write(&zero, "0\n").expect("write");
    let place = "/proc/sys/fs/protected_hardlinks";
    Run::new("mount").arg("--bind").arg(&zero).arg(place).ok();
    let victim = Victim::new(dir);
    let (lower, point) = (alices(&dir.join("lower")), alices(&dir.join("mount")));
    fs::hard_link(&victim.path, lower.join("linked")).expect("link");
    let before = facts(&victim.path);
    fs::write(lower.join("own"), "alice's own words\n".repeat(1000)).expect("write");
    let mut mount = Mount::at(&lower, &point, "compressfs", "");
    mount.settle();
    let content = fs::read(mount.path("linked")).expect("read");
    assert!(content == victim.content, "it is read through the mount");
    mount.unmount();
    assert_eq!(facts(&victim.path), before, "the victim is touched");
    assert!(fs::read(&victim.path).expect("the victim") == victim.content, "it is compressed");
    let stored = fs::read(lower.join("own")).expect("what is stored");
    assert!(stored.len() < 5000, "other files are compressed");
}
