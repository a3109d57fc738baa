//! Whose choice of an algorithm rules.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "users::two_write_at_once_with_their_own_algorithms", seconds: 120, body: two },
    Test { name: "users::the_last_writer_rules_a_shared_file", seconds: 60, body: last_writer },
    Test {
        name: "users::file_before_directory_before_user_before_mount",
        seconds: 60,
        body: order,
    },
    Test { name: "users::only_owners_choose_for_files", seconds: 60, body: owners },
    Test { name: "users::choices_survive_remounting", seconds: 60, body: survive },
];

/// A mount where everybody may write.
fn open_mount(dir: &Path, options: &str) -> Mount {
    machine::need_root();
    let mount = Mount::new(dir, "mount", "compressfs", options);
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    mount
}

fn choose(user: u32, algorithm: &str, mount: &Mount) {
    let run = Run::as_user(user, machine::hsci()).args(["algorithm", "set", algorithm]);
    run.arg(mount.dir()).ok();
}

/// Sets the choice of a file or directory, as `user`.
fn mark(user: u32, algorithm: &str, path: &Path) -> i32 {
    let set = ["-n", "user.hsci.algorithm", "-v", algorithm];
    Run::as_user(user, "setfattr").args(set).arg(path).done().code
}

fn write_as(user: u32, path: &Path, lines: u32) {
    let script = format!("seq {lines} > '{}'", path.display());
    Run::as_user(user, "bash").args(["-ec", &script]).ok();
}

/// What is stored below a path, by algorithm: logical bytes of each.
fn by_algorithm(path: &Path) -> Vec<(String, u64)> {
    let text = Run::new(machine::hsci()).args(["usage", "--json"]).arg(path).ok();
    let usage: Value = serde_json::from_str(&text).expect("JSON");
    let rows = usage["algorithms"].as_array().unwrap_or_else(|| panic!("no rows: {text}"));
    let row = |row: &Value| {
        let name = row["algorithm"].as_str().expect("a name").to_owned();
        (name, row["logical"].as_u64().expect("bytes"))
    };
    rows.iter().map(row).filter(|(_, bytes)| *bytes > 0).collect()
}

fn is_all(path: &Path, algorithm: &str) {
    let found = by_algorithm(path);
    let [(name, _)] = found.as_slice() else { panic!("{}: {found:?}", path.display()) };
    assert_eq!(name, algorithm, "{}", path.display());
}

fn two(dir: &Path) {
    let mount = open_mount(dir, "algorithm=deflate:1,settle=200ms");
    choose(ALICE, "zstd:9", &mount);
    choose(BOB, "lz4", &mount);
    let write = |user: u32, name: &str| {
        let place = mount.path(name);
        let script = format!(
            "mkdir '{0}'; for n in $(seq 40); do seq $n 60000 > '{0}/'$n; done",
            place.display()
        );
        Run::as_user(user, "bash").args(["-ec", &script]).start()
    };
    let mut writers = [write(ALICE, "alice"), write(BOB, "bob"), write(0, "root")];
    for writer in &mut writers {
        assert!(writer.wait().expect("wait").success());
    }
    mount.settle();
    is_all(&mount.path("alice"), "zstd:9");
    is_all(&mount.path("bob"), "lz4");
    is_all(&mount.path("root"), "deflate:1");
    let all = by_algorithm(mount.dir());
    assert_eq!(all.len(), 3, "{all:?}");
    let logical: u64 = all.iter().map(|(_, bytes)| bytes).sum();
    let apparent = Run::shell(format!(
        "find '{}' -type f -printf '%s\\n' | awk '{{ s += $1 }} END {{ printf \"%d\", s }}'",
        mount.dir().display()
    ));
    assert_eq!(apparent.ok(), logical.to_string(), "the rows add up to all that was written");
}

fn last_writer(dir: &Path) {
    let mount = open_mount(dir, "settle=10m");
    choose(ALICE, "zstd:9", &mount);
    choose(BOB, "lz4", &mount);
    let shared = mount.path("shared");
    write_as(ALICE, &shared, 50_000);
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o666)).expect("chmod");
    mount.settle();
    is_all(&shared, "zstd:9");
    write_as(BOB, &shared, 60_000);
    mount.settle();
    is_all(&shared, "lz4");
}

fn order(dir: &Path) {
    let mount = open_mount(dir, "algorithm=zstd:1,settle=10m");
    let place = mount.path("place");
    fs::create_dir(&place).expect("directory");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("chmod");
    let written = |name: &str| {
        let path = place.join(name);
        write_as(ALICE, &path, 50_000);
        mount.settle();
        path
    };
    is_all(&written("mount"), "zstd:1");
    choose(ALICE, "zstd:2", &mount);
    is_all(&written("user"), "zstd:2");
    assert_eq!(mark(0, "zstd:4", &place), 0);
    is_all(&written("directory"), "zstd:4");
    let file = place.join("file");
    write_as(ALICE, &file, 10);
    assert_eq!(mark(ALICE, "none", &file), 0);
    is_all(&written("file"), "none");
    let run = Run::new(machine::hsci()).args(["algorithm", "set", "default", "--for"]);
    run.arg(&place).ok();
    is_all(&written("no-directory"), "zstd:2");
    choose(ALICE, "default", &mount);
    is_all(&written("no-user"), "zstd:1");
}

fn owners(dir: &Path) {
    let mount = open_mount(dir, "settle=10m");
    let file = mount.path("file");
    write_as(ALICE, &file, 10);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("chmod");
    assert_ne!(mark(BOB, "lz4", &file), 0, "the file is not Bob's");
    assert_ne!(mark(ALICE, "brotli", &file), 0, "there is no such algorithm");
    assert_eq!(mark(ALICE, "lz4", &file), 0);
    assert_eq!(mark(0, "zstd:5", &file), 0);
    let get = Run::as_user(BOB, "getfattr").args(["--only-values", "-n", "user.hsci.algorithm"]);
    assert_eq!(get.arg(&file).ok(), "zstd:5");
}

fn survive(dir: &Path) {
    let mut mount = open_mount(dir, "settle=10m");
    choose(ALICE, "deflate:9", &mount);
    fs::create_dir(mount.path("place")).expect("directory");
    assert_eq!(mark(0, "lz4", &mount.path("place")), 0);
    mount.remount();
    let file = mount.path("file");
    write_as(ALICE, &file, 50_000);
    write_as(0, &mount.path("place/file"), 50_000);
    mount.settle();
    is_all(&file, "deflate:9");
    is_all(&mount.path("place/file"), "lz4");
    let get = Run::as_user(ALICE, machine::hsci()).args(["algorithm", "get", "--json"]);
    let text = get.arg(mount.dir()).ok();
    assert!(text.contains("deflate:9"), "{text}");
}
