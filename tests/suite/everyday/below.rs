//! Everything of files stays whatever file system is below: `tests/scripts/below.sh`, whose long form is in
//! `./run torture`.

use std::path::Path;

use hsci_tests::{Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    test("everyday::below::all_that_files_have_stays_on_ext4", |dir| tree(dir, "ext4")),
    test("everyday::below::all_that_files_have_stays_on_xfs", |dir| tree(dir, "xfs")),
    test("everyday::below::all_that_files_have_stays_on_btrfs", |dir| tree(dir, "btrfs")),
    test("everyday::below::all_that_files_have_stays_on_tmpfs", |dir| tree(dir, "tmpfs")),
    test("everyday::below::all_that_files_have_stays_on_overlays", |dir| tree(dir, "overlay")),
    test("everyday::below::all_that_files_have_stays_on_glusterfs", |dir| tree(dir, "glusterfs")),
];

const fn test(name: &'static str, body: fn(&Path)) -> Test {
    Test { name, seconds: 120, body }
}

fn tree(dir: &Path, kind: &str) {
    machine::need_root();
    for program in ["python3", "rsync", "tar", "setfattr", "setfacl"] {
        machine::need(program);
    }
    let script = machine::project().join("tests/scripts/below.sh");
    let apart =
        ["-m", "-n", "-p", "-f", "--mount-proc", "--kill-child", "--propagation", "private"];
    let run = Run::new("unshare").args(apart).arg("bash").arg(script).arg("tree");
    let done = run.arg(machine::hsci()).arg(dir).arg(kind).done();
    if let Some(why) = done.out.lines().find_map(|line| line.strip_prefix("SKIP ")) {
        hsci_tests::skip(why);
    }
    assert!(done.code == 0 && done.out.ends_with("DONE\n"), "{}\n{}", done.out, done.err);
}
