//! pjdfstest over mounts and over the bare lower file system, in the same run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hsci_tests::{Mount, Run, Test, machine, skip};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "pjdfstest::nullfs_passes_what_ext4_passes", seconds: 180, body: nullfs },
    Test { name: "pjdfstest::compressfs_passes_what_ext4_passes", seconds: 180, body: compressfs },
];

/// Cases that may fail on a mount although the lower file system passes them, and why.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "link::link_count_max",
    "skipped: the C library knows LINK_MAX of ext4 by its type, and of no FUSE file system",
)];

fn nullfs(dir: &Path) {
    compare(dir, "nullfs", "");
}

fn compressfs(dir: &Path) {
    compare(dir, "compressfs", "settle=50ms");
}

fn compare(dir: &Path, extension: &str, options: &str) {
    machine::need_root();
    // Before anything is mounted: without it the test is skipped.
    program();
    let bare = dir.join("bare");
    std::fs::create_dir(&bare).expect("directory");
    let mount = Mount::new(dir, "mount", extension, options);
    let expected = cases(dir, &bare);
    let found = cases(dir, mount.dir());
    let passed = |results: &BTreeMap<String, bool>| results.values().filter(|ok| **ok).count();
    println!("{} cases; {} pass on the lower file system", expected.len(), passed(&expected));
    println!("{} pass on {extension}", passed(&found));
    assert!(passed(&expected) > 300, "pjdfstest must run most of its cases here");
    let excepted = |case: &str| EXCEPTIONS.iter().any(|(name, _)| *name == case);
    let worse: Vec<&String> = expected
        .iter()
        .filter(|(case, ok)| **ok && found.get(*case) != Some(&true) && !excepted(case))
        .map(|(case, _)| case)
        .collect();
    assert!(worse.is_empty(), "pass on the lower file system, but not on {extension}: {worse:#?}");
}

/// Runs all cases in a directory: the name of each, and whether it passed.
fn cases(dir: &Path, target: &Path) -> BTreeMap<String, bool> {
    let config = dir.join("pjdfstest.toml");
    std::fs::write(&config, configuration(dir)).expect("configuration");
    let run = Run::new(program()).arg("-c").arg(&config).arg("-p").arg(target);
    let done = run.done();
    let log = format!("{}.log", target.display());
    std::fs::write(log, &done.out).expect("log");
    let mut cases = BTreeMap::new();
    for line in done.out.lines().filter(|line| !line.starts_with(char::is_whitespace)) {
        let mut words = line.split_whitespace();
        if let (Some(case), Some(verdict)) = (words.next(), words.next())
            && case.contains("::")
        {
            cases.insert(case.to_owned(), verdict == "ok");
        }
    }
    assert!(!cases.is_empty(), "pjdfstest said nothing: {}{}", done.out, done.err);
    cases
}

/// Two existing users stand in for the two that pjdfstest would have made.
fn configuration(dir: &Path) -> String {
    let other = machine::other_file_system(dir);
    let secondary = other.map(|path| format!("secondary_fs = {path:?}\n")).unwrap_or_default();
    let nobody = if Run::new("getent").args(["group", "nogroup"]).done().code == 0 {
        "nogroup"
    } else {
        "nobody"
    };
    format!(
        "[features]\n{secondary}posix_fallocate = {{}}\nrename_ctime = {{}}\nutimensat = {{}}\n\
         utime_now = {{}}\n[settings]\nnaptime = 0.02\n\
         [dummy_auth]\nentries = [[\"nobody\", \"{nobody}\"], [\"daemon\", \"daemon\"]]\n"
    )
}

fn program() -> PathBuf {
    let target = machine::programs().join("../tools/bin/pjdfstest");
    let found = [target].into_iter().find(|file| file.is_file());
    found
        .or_else(|| machine::find("pjdfstest"))
        .unwrap_or_else(|| skip("pjdfstest is not installed: ./run setup installs it"))
}
