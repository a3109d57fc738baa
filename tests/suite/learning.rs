//! Policies that are learned from what happened.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine};
use serde_json::Value;

use super::policies::{InForce, open_mount, target};

pub(crate) const TESTS: &[Test] = &[Test {
    name: "learning::what_was_learned_lets_the_work_go_on_and_nothing_else",
    seconds: 300,
    body: learned,
}];

/// Leaves what it began with, so that it can be done again.
const WORK: &str = "cd \"$1\" && mkdir 'new dir' && for n in 1 2 3 4 5 6; do echo $n > \"new dir/$n\"; done \
                    && cat 'new dir'/* > all && mv all 'new dir/[all]' && ln -s all link && ls -l . > /dev/null \
                    && truncate -s 1M 'new dir/1' && chmod 600 'new dir/1' && rm -r 'new dir' link";

fn work(mount: &Mount) {
    Run::as_user(ALICE, "sh").args(["-c", WORK, "sh"]).arg(mount.dir()).ok();
}

fn learned(dir: &Path) {
    let in_force = InForce::take(dir);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let learn = |arguments: &[&str]| {
        Run::new(machine::hsci()).args(["policy", "learn"]).args(arguments).done()
    };
    let all = dir.join("all.policy");
    fs::write(&all, format!("{}in t: deny *\n", target(dir, "nullfs"))).expect("written");
    let load = |file: &Path, arguments: &[&str]| {
        Run::new(machine::hsci()).args(["policy", "load"]).args(arguments).arg(file).ok();
    };
    load(&all, &["--permissive"]);
    let mount = open_mount(dir, "nullfs");
    let place = mount.dir().to_str().expect("UTF-8");
    work(&mount);
    let text = learn(&[place]).ok();
    assert!(text.contains("pass ") && text.contains("expect deny: "), "{text}");
    // The same, from a file.
    let trace =
        Run::new(machine::hsci()).args(["trace", "--json", "--timeout", "1"]).arg(place).ok();
    let file = dir.join("trace");
    fs::write(&file, &trace).expect("written");
    let from = ["--from", file.to_str().expect("UTF-8")];
    let same = |one: &str, other: &str| {
        let rules = |text: &str| text.lines().filter(|line| line.starts_with("pass ")).count();
        assert_eq!(rules(one), rules(other), "{one}\n{other}");
    };
    same(&text, &learn(&[from[0], from[1], place]).ok());
    same(&text, &learn(&from).ok());
    learn(&[from[0], from[1], "/usr"]).fails(4, &["nothing was reported there"]);
    fs::write(&file, "{}\n").expect("written");
    learn(&from).fails(1, &["line 1", "no report"]);
    // What was learned is a policy by itself, and lets the work go on.
    let policy = dir.join("learned.policy");
    fs::write(&policy, &text).expect("written");
    Run::new(machine::hsci()).args(["policy", "check"]).arg(&policy).ok();
    let test = Run::new(machine::hsci()).args(["policy", "test"]).arg(&policy).ok();
    assert!(!test.contains(": 0 of"), "{test}");
    load(&policy, &[]);
    work(&mount);
    let status = |mount: &Mount| -> Value { mount.status()["policy"].clone() };
    assert_eq!(status(&mount)["denied"], 0, "{}\n{text}", status(&mount));
    // Nobody else does it, and the same user nothing else.
    Run::as_user(BOB, "mkdir").arg(mount.path("new dir")).done().fails(1, &["denied"]);
    Run::as_user(ALICE, "mkdir").arg(mount.path("other")).done().fails(1, &["denied"]);
    assert_ne!(status(&mount)["denied"], 0);
    drop(in_force);
}
