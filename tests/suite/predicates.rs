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
    Test {
        name: "predicates::a_program_that_can_be_steered_is_not_secure",
        seconds: 300,
        body: secure,
    },
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

/// Executes the rest of its arguments, as the tracer of what it executes.
const TRACER: &str = "import ctypes, os, sys\n\
    ptrace = ctypes.CDLL(None).ptrace\n\
    child = os.fork()\n\
    if child == 0:\n    ptrace(0, 0, 0, 0)\n    os.execv(sys.argv[1], sys.argv[1:])\n\
    status = os.waitpid(child, 0)[1]\n\
    while os.WIFSTOPPED(status):\n    ptrace(7, child, 0, 0)\n    status = os.waitpid(child, 0)[1]\n\
    sys.exit(os.waitstatus_to_exitcode(status))";

fn secure(dir: &Path) {
    let in_force = InForce::take(dir);
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let copy = |name: &str, of: &str| {
        let copy = dir.join(name);
        fs::copy(machine::find(of).expect("the program"), &copy).expect("a copy of it");
        copy
    };
    let (plain, group, own) =
        (copy("plain", "mkdir"), copy("group", "mkdir"), copy("own", "mkdir"));
    let shell = copy("shell", "bash");
    let set_id = |program: &Path, owner: u32, gid: u32, mode: u32| {
        std::os::unix::fs::chown(program, Some(owner), Some(gid)).expect("chown");
        fs::set_permissions(program, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    set_id(&group, 0, BOB, 0o2755);
    set_id(&own, ALICE, 0, 0o4755);
    let mount = open_mount(dir, "nullfs");
    let all = format!("{}/{{plain,group,own,shell}}", dir.display());
    in_force.load(&format!(
        "{}in t: deny(EPERM) mkdir unless secure exe \"{all}\"\n\
         in t: deny(EPERM) create-file unless secure exe \"{all}\"\n",
        target(dir, "nullfs")
    ));
    let place = |name: &str| mount.path(name);
    let refused = |done: Done| done.fails(1, &["not permitted"]);
    // Root's environment is root's, and set-id programs heed nobody's.
    Run::new(&plain).arg(place("root")).ok();
    Run::as_user(ALICE, "env").arg("LD_PRELOAD=/x").arg(&group).arg(place("group")).ok();
    Run::as_user(BOB, &own).arg(place("own")).ok();
    // Whoever starts a program without other rights steers it, also one that would have them for others.
    refused(Run::as_user(ALICE, &plain).arg(place("1")).done());
    refused(Run::as_user(ALICE, &own).arg(place("2")).done());
    refused(
        Run::as_user(ALICE, "setpriv").arg("--no-new-privs").arg(&group).arg(place("3")).done(),
    );
    refused(Run::as_user(ALICE, "unshare").args(["-U", "-r"]).arg(&group).arg(place("4")).done());
    // Another program than those that may.
    Run::new("mkdir").arg(place("5")).done().fails(1, &["not permitted"]);
    // A subshell has executed nothing since.
    let line = |name: &str| format!("(: > '{}') && true", place(name).display());
    Run::new(&shell).args(["-c", &line("child")]).ok();
    refused(Run::as_user(ALICE, &shell).args(["-c", &line("7")]).done());
    // Not one of a version manager's, in somebody's home.
    let python = Path::new("/usr/bin/python3");
    if python.exists() {
        let traced = |run: Run, name: &str| {
            run.args(["-I", "-S", "-c", TRACER]).arg(&group).arg(place(name)).done()
        };
        refused(traced(Run::as_user(ALICE, python), "8"));
        refused(traced(Run::new(python), "9"));
    }
}
