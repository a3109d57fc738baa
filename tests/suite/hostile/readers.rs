//! Whoever takes over what reads a store, `check` or `export` of root's, has nothing but that store to read.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsci_tests::command::Done;
use hsci_tests::sys::hostile;
use hsci_tests::{Run, Test, machine};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use super::limited;
use crate::sandbox::DEADLY;

pub(super) const TESTS: &[Test] = &[
    Test { name: "hostile::readers::they_have_no_rights", seconds: 120, body: rights },
    Test { name: "hostile::readers::what_they_may_not_do_ends_them", seconds: 300, body: deadly },
    Test { name: "hostile::readers::one_that_hangs_is_ended", seconds: 120, body: hangs },
    Test { name: "hostile::readers::trees_may_be_deep", seconds: 120, body: deep },
    Test { name: "hostile::readers::their_memory_is_bounded", seconds: 120, body: memory },
];

/// A store, and beside it a file of root's; the options that tell an extension of it.
fn prepare(dir: &Path) -> String {
    machine::need_root();
    let (store, secret) = (dir.join("store"), dir.join("secret"));
    fs::create_dir(&store).expect("directory");
    // Its mode lets everybody change it.
    fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).expect("mode");
    fs::write(store.join("tell"), "content").expect("write");
    fs::set_permissions(store.join("tell"), fs::Permissions::from_mode(0o000)).expect("mode");
    fs::write(&secret, "secret").expect("write");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("mode");
    format!("secret={},beside={}", secret.display(), hostile::handle_of(&secret))
}

fn check(dir: &Path, options: &str) -> Done {
    limited(["check", "-x", "hostile", "-o", options], &[&dir.join("store")])
}

fn rights(dir: &Path) {
    let options = prepare(dir);
    let checked = check(dir, &options).ok();
    has_none(&checked);

    machine::need("getfattr");
    let copy = dir.join("copy");
    let words = ["export", "-x", "hostile", "-o", &options];
    Run::new(machine::hsci()).args(words).arg(dir.join("store")).arg(&copy).ok();
    let copied = copy.join("tell");
    assert_eq!(fs::read_to_string(&copied).expect("the copy"), "content");
    let told = Run::new("getfattr").args(["--only-values", "-n", "user.told"]).arg(copied).ok();
    has_none(&told);
}

fn has_none(told: &str) {
    println!("{told}");
    let line = |name: &str| {
        let line = told.lines().find_map(|line| line.split_once(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}: {told}")).1.to_owned()
    };
    for name in [&["change-store"], hostile::READERS_ATTEMPTS].concat() {
        assert!(line(name).starts_with("refused"), "{name}: {told}");
    }
    let user: u32 = line("user").parse().expect("a user");
    let is_owner = Run::new("getent").args(["passwd", &user.to_string()]).done().code == 0;
    assert!(user != 0 && !is_owner, "user {user}");
}

fn deadly(dir: &Path) {
    let options = prepare(dir);
    for attempt in DEADLY {
        let done = check(dir, &format!("{options},last={attempt}"));
        println!("{attempt}: {done:?}");
        assert_eq!(done.code, 7, "{attempt}: {done:?}");
        assert!(done.err.contains("may not make"), "{attempt}: {done:?}");
        assert!(done.err.contains("was ended by signal 31"), "{attempt}: {done:?}");
    }
}

fn hangs(dir: &Path) {
    let options = prepare(dir);
    let done = check(dir, &format!("{options},last=hang,deadline=1s"));
    assert_eq!(done.code, 6, "{done:?}");
    assert!(done.err.contains("has read nothing for 1s"), "{done:?}");
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
}

/// Deeper than a stack could hold a call for each directory.
fn deep(dir: &Path) {
    const LEVELS: usize = 20_000;
    machine::need_root();
    // It goes with its file system: removing it name by name takes a minute.
    hsci_tests::sys::own_mounts();
    Run::new("mount").args(["-t", "tmpfs", "none"]).arg(dir).ok();
    let (store, copy) = (dir.join("store"), dir.join("copy"));
    fs::create_dir(&store).expect("directory");
    let open =
        |at: BorrowedFd<'_>, name: &Path, flags| openat(at, name, flags, Mode::RUSR).expect("open");
    let mut at = open(CWD, &store, OFlags::PATH);
    for _ in 0..LEVELS {
        mkdirat(&at, "d", Mode::RWXU).expect("directory");
        at = open(at.as_fd(), "d".as_ref(), OFlags::PATH);
    }
    drop(open(at.as_fd(), "file".as_ref(), OFlags::WRONLY | OFlags::CREATE));
    let checked = limited(["check", "-x", "compressfs"], &[&store]);
    let exported = limited(["export", "-x", "compressfs"], &[&store, &copy]);
    drop(at);
    Run::new("umount").arg("-l").arg(dir).ok();
    assert_eq!(checked.code, 0, "{}", checked.err);
    assert!(checked.out.starts_with("1 file: "), "{}", checked.out);
    assert_eq!(exported.code, 1, "{}", exported.err);
    assert!(exported.err.contains("directories deep"), "{}", exported.err);
}

fn memory(dir: &Path) {
    let options = prepare(dir);
    let done = check(dir, &format!("{options},last=memory"));
    assert!(done.out.contains("memory: Err("), "{done:?}");
}
