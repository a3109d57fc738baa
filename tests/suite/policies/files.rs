//! Directories of policies, what they include, and machines that they are not written on.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsci_tests::{Run, machine};
use serde_json::Value;

use super::InForce;

pub(super) fn up_and_down(dir: &Path) {
    let _in_force = InForce::take(dir);
    let policies = dir.join("policies");
    fs::create_dir(&policies).expect("a directory");
    for name in ["homes/one/mail", "homes/two/mail", "logs"] {
        fs::create_dir_all(dir.join(name)).expect("directories");
    }
    let base = dir.display();
    fs::write(
        policies.join("10-mail.policy"),
        format!("target mail = \"{base}/homes/*/mail\" via compressfs(settle = 1)\nin mail: deny(EPERM) mkdir\n"),
    )
    .expect("written");
    fs::write(
        policies.join("20-logs.policy"),
        format!(
            "target logs = \"{base}/logs\" via hide, compressfs(algorithm = lz4) with noexec\n"
        ),
    )
    .expect("written");
    let hsci = |command: &str| Run::new(machine::hsci()).arg(command).arg(&policies).done();
    let told = hsci("up").ok();
    for name in ["homes/one/mail", "homes/two/mail", "logs"] {
        assert!(told.contains(&format!("{base}/{name}: mounted via")), "{told}");
    }
    assert!(told.contains("/logs: mounted via hide, compressfs\n"), "{told}");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let logs = mounts.lines().find(|line| line.contains(&format!(" {base}/logs "))).expect("logs");
    assert!(logs.contains("noexec"), "{logs}");
    let get = Run::new(machine::hsci()).args(["algorithm", "get"]).arg(dir.join("logs")).ok();
    assert!(get.contains("lz4"), "{get}");
    assert!(hsci("up").ok().contains("mounted already"));
    Run::new("mkdir").arg(dir.join("homes/one/mail/new")).done().fails(1, &["not permitted"]);
    fs::create_dir(dir.join("logs/new")).expect("no rule speaks of it");
    let held = File::open(dir.join("logs/new")).expect("open");
    hsci("down").fails(5, &["logs", "in use"]);
    drop(held);
    hsci("down").ok();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&base.to_string()), "{mounts}");
    assert!(!Path::new("/run/hsci/policy").exists());
    hsci("down").ok();
    // An error stands in the file that has it.
    fs::write(policies.join("30-more.policy"), "# more\ndeny opne \"/srv/x\"\n").expect("written");
    let check = |arguments: &[&str]| {
        Run::new(machine::hsci()).args(["policy", "check"]).args(arguments).arg(&policies).done()
    };
    check(&[]).fails(1, &["1 error"]);
    let json: Value = serde_json::from_str(&check(&["--json"]).out).expect("JSON");
    let found = &json[0]["diagnostics"][0];
    assert!(found["file"].as_str().is_some_and(|file| file.ends_with("30-more.policy")), "{json}");
    assert_eq!((&found["line"], &found["column"]), (&2.into(), &6.into()), "{json}");
    // What others can write is included as little as it is loaded.
    let common = dir.join("common");
    fs::write(&common, "let kind = \"*.new\"\n").expect("written");
    fs::write(
        policies.join("30-more.policy"),
        "include \"../common\"\nin mail: deny(EPERM) create-file on \"$kind\"\n",
    )
    .expect("written");
    fs::set_permissions(&common, fs::Permissions::from_mode(0o666)).expect("chmod");
    check(&[]).ok();
    hsci("up").fails(1, &["errors"]);
    fs::set_permissions(&common, fs::Permissions::from_mode(0o644)).expect("chmod");
    hsci("up").ok();
    let touch = |name: &str| Run::new("touch").arg(dir.join("homes/one/mail").join(name)).done();
    touch("a.new").fails(1, &["not permitted"]);
    touch("a.old").ok();
    let up = Run::new(machine::hsci()).args(["up", "-p", "kind=*.old"]).arg(&policies);
    up.done().ok();
    touch("b.old").fails(1, &["not permitted"]);
    touch("b.new").ok();
    hsci("down").ok();
    // Users and programs of another machine are not looked for.
    fs::write(
        policies.join("30-more.policy"),
        "deny open \"/srv/x\" unless user nobody-here or exe \"/nowhere/program\"\n\
         expect pass: open \"/srv/x\" by user nobody-here\n\
         expect deny: open \"/srv/x\" by user somebody-else\n",
    )
    .expect("written");
    check(&[]).fails(1, &["4 errors"]);
    check(&["--machine", "none"]).ok();
    let test = Run::new(machine::hsci()).args(["policy", "test", "--machine", "none"]);
    assert!(test.arg(&policies).ok().contains("2 of 2 expectations hold"));
    let none = dir.join("none");
    fs::create_dir(&none).expect("a directory");
    Run::new(machine::hsci()).arg("up").arg(&none).done().fails(4, &["no file NAME.policy"]);
}
