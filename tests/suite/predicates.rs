//! What rules ask for, on a real mount.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hsci_tests::command::{ALICE, Done};
use hsci_tests::{Run, Test};

use super::policies::{InForce, open_mount, target};

pub(crate) const TESTS: &[Test] = &[Test {
    name: "predicates::times_and_permissions_decide",
    seconds: 300,
    body: times_and_permissions,
}];

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
