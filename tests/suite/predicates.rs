//! What rules ask for, on a real mount.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hsci_tests::command::{ALICE, BOB, Done};
use hsci_tests::{Run, Test, machine};

use super::policies::{InForce, open_mount, target};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "predicates::times_and_permissions_decide",
        seconds: 300,
        body: times_and_permissions,
    },
    Test { name: "predicates::callers_decide", seconds: 300, body: callers },
];

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn times_and_permissions(dir: &Path) {
    let in_force = InForce::take(dir);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    // Hours around now, and today and tomorrow: whenever this runs, and however long.
    let hour = |hours: u64| format!("{:02}:00", (now / 3600 + hours) % 24);
    let (soon, later) = (hour(24 - 2), hour(4));
    let day = |days: u64| DAYS[((now / 86400 + 3 + days) % 7) as usize];
    let (today, tomorrow) = (day(0), day(1));
    let mount = open_mount(dir, "nullfs");
    for name in ["plain", "shared", "program"] {
        fs::write(mount.path(name), "text").expect("written");
    }
    let chmod = |name: &str, mode: u32| {
        fs::set_permissions(mount.path(name), fs::Permissions::from_mode(mode)).expect("chmod");
    };
    chmod("plain", 0o644);
    chmod("shared", 0o666);
    chmod("program", 0o755);
    in_force.load(&format!(
        "{}in t: deny(EPERM) mkdir on \"in\" when time {soon}-{later}\n\
         in t: deny(EPERM) mkdir on \"out\" when time {later}-{soon}\n\
         in t: deny(EPERM) mkdir on \"today\" when day {{{today}, {tomorrow}}}\n\
         in t: deny(EPERM) mkdir on \"other day\" unless day {{{today}, {tomorrow}}}\n\
         in t: deny(EPERM) mkdir on \"since\" when since 2020-01-01\n\
         in t: deny(EPERM) mkdir on \"until\" when until 2020-01-01T12:00\n\
         in t: deny(EPERM) unlink, chmod when mode {{other-writable, executable}}\n",
        target(dir, "nullfs")
    ));
    let run = |program: &str, name: &str| -> Done {
        Run::as_user(ALICE, program).arg(mount.path(name)).done()
    };
    for name in ["in", "today", "since"] {
        run("mkdir", name).fails(1, &["not permitted"]);
    }
    for name in ["out", "other day", "until"] {
        run("mkdir", name).ok();
    }
    for name in ["shared", "program"] {
        let rm = Run::new("rm").arg("-f").arg(mount.path(name)).done();
        rm.fails(1, &["not permitted"]);
    }
    Run::new("rm").arg(mount.path("plain")).ok();
}

fn callers(dir: &Path) {
    let in_force = InForce::take(dir);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let ancestor = dir.join("ancestor");
    fs::copy(machine::find("bash").expect("bash"), &ancestor).expect("a copy of the program");
    let mount = open_mount(dir, "nullfs");
    in_force.load(&format!(
        "{}in t: deny(EPERM) mkdir on \"kin\" unless ancestor \"{}\"\n\
         in t: deny(EPERM) mkdir on \"capable\" unless capability {{dac_override, fowner}}\n\
         in t: deny(EPERM) mkdir on \"machine\" unless userns host\n\
         in t: deny(EPERM) mkdir on \"login\" unless login {ALICE}\n\
         in t: deny(EPERM) mkdir on \"service\" when login none\n",
        target(dir, "nullfs"),
        ancestor.display(),
    ));
    let in_login = |login: &str, name: &str| -> Done {
        let line = format!("{login} exec mkdir '{}'", mount.path(name).display());
        Run::new("bash").args(["-c", &line]).done()
    };
    let by = |ancestor: &Path, name: &str| -> Done {
        // Not as the last command: a shell would become it.
        let line = format!("mkdir '{}' || exit 1; true", mount.path(name).display());
        Run::as_user(ALICE, ancestor).args(["-c", &line]).done()
    };
    let in_namespace = |name: &str| -> Done {
        Run::new("unshare").args(["-U", "-r", "mkdir"]).arg(mount.path(name)).done()
    };
    let refused = |done: Done| done.fails(1, &["not permitted"]);
    refused(by(Path::new("bash"), "kin"));
    by(&ancestor, "kin").ok();
    refused(Run::as_user(ALICE, "mkdir").arg(mount.path("capable")).done());
    refused(in_namespace("capable"));
    refused(in_namespace("machine"));
    for name in ["capable", "machine"] {
        Run::new("mkdir").arg(mount.path(name)).ok();
    }
    refused(in_login("", "login"));
    let is_kept = fs::read_to_string("/proc/self/loginuid").is_ok();
    if is_kept {
        refused(in_login("", "service"));
        refused(in_login(&format!("echo {BOB} > /proc/self/loginuid;"), "login"));
        in_login(&format!("echo {ALICE} > /proc/self/loginuid;"), "login").ok();
        in_login(&format!("echo {BOB} > /proc/self/loginuid;"), "service").ok();
    }
}
