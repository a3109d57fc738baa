//! git, SQLite and rsync in mounts whose workers are killed again and again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hsci_tests::{Mount, Run, machine};
use rustix::process::{Pid, Signal, kill_process};

use super::hsci;
use crate::policies::{InForce, is_all};

const WORK: &str = "
    git init -q repository; cd repository
    git config user.email a@b; git config user.name a
    for number in $(seq 12); do
        seq $((number * 500)) > file$number; git add .; git commit -qm $number
        sqlite3 ../base 'pragma busy_timeout=20000; create table if not exists t(n); insert into t values (1)' > ../said
        rsync -a --checksum \"$SOURCES/\" ../copy
    done";
const LOOK: &str = "
    git -C repository fsck --strict 2> /dev/null; git -C repository status --short
    git -C repository log --oneline | wc -l; sqlite3 base 'pragma integrity_check; select count(*) from t'
    diff -r \"$SOURCES\" copy; tail -n 1 repository/file12";
const FOUND: &str = "12\nok\n12\n6000\n";

/// All that they have made is there in the end and after another mount, and `check` and `export` find it as well.
pub(super) fn clients(dir: &Path, extension: &str, options: &str) {
    let user = User::new(dir, 0);
    let mut mount = user.mount(dir, extension, options);
    user.works_under_kills(&mount);
    lasts(&user, &mut mount, (dir, extension, options));
}

/// The same of a user, in a stack with compressfs, where a policy refuses one call and sets an option of compressfs.
pub(super) fn clients_under_a_policy(dir: &Path, extension: &str, options: &str, user: u32) {
    let in_force = InForce::take(dir);
    in_force.load(&format!(
        "target t = \"{}/mount\" via {}\n\
         in t: deny(EPERM) unlink on \"**/kept\"\n\
         in t: set algorithm = lz4 on \"**/*.list\"\n",
        dir.display(),
        extension.replace(',', ", ")
    ));
    let user = User::new(dir, user);
    let mut mount = user.mount(dir, extension, options);
    let shell = |text: &str| user.shell(text, mount.dir()).done();
    shell("echo first > kept").ok();
    user.works_under_kills(&mount);
    // By workers that came after the policy.
    shell("rm kept").fails(1, &["Operation not permitted"]);
    shell("seq 50000 > numbers.list").ok();
    mount.settle();
    is_all(&mount.path("numbers.list"), "lz4");
    assert_eq!(shell("cat kept; tail -n 1 numbers.list").ok(), "first\n50000\n");
    lasts(&user, &mut mount, (dir, extension, options));
}

/// Who works in a mount, with what is copied into it.
struct User {
    id: u32,
    sources: std::path::PathBuf,
}

impl User {
    fn new(dir: &Path, id: u32) -> Self {
        for program in ["git", "sqlite3", "rsync"] {
            machine::need(program);
        }
        let sources = dir.join("sources");
        let from = machine::project().join("framework/extension/src");
        // Where the project lies, other users may not read.
        Run::new("cp").arg("-r").arg(from).arg(&sources).ok();
        Run::new("chmod").args(["-R", "a+rX"]).arg(&sources).ok();
        Self { id, sources }
    }

    fn mount(&self, dir: &Path, extension: &str, options: &str) -> Mount {
        let mount = Mount::new(dir, "mount", extension, options);
        if self.id != 0 {
            fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
        }
        mount
    }

    fn shell(&self, text: &str, dir: &Path) -> Run {
        let run = match self.id {
            0 => Run::shell(text),
            user => Run::as_user(user, "bash").args(["-ec", text]).env("HOME", "/"),
        };
        run.env("SOURCES", &self.sources).dir(dir)
    }

    fn finds_all(&self, dir: &Path) {
        assert_eq!(self.shell(LOOK, dir).ok(), FOUND);
    }

    fn works_under_kills(&self, mount: &Mount) {
        let mut work = self.shell(WORK, mount.dir()).start();
        let mut kills = 0;
        let ended = loop {
            if let Some(ended) = work.try_wait().expect("it can be waited for") {
                break ended;
            }
            for worker in machine::workers(mount.lower()) {
                let pid = Pid::from_raw(worker as i32).expect("a process");
                kills += u32::from(kill_process(pid, Signal::KILL).is_ok());
            }
            // A mount is given up if many workers in a row do not last.
            thread::sleep(Duration::from_millis(200));
        };
        println!("{kills} workers killed under git, sqlite3 and rsync");
        assert!(ended.success() && kills > 0, "{ended}, {kills} kills");
        self.finds_all(mount.dir());
    }
}

/// All is there after another mount, in what `check` verifies, and in what `export` copies.
fn lasts(user: &User, mount: &mut Mount, (dir, extension, options): (&Path, &str, &str)) {
    mount.remount();
    user.finds_all(mount.dir());
    mount.unmount();
    let made = ["-x", extension, "-o", options];
    let checked = hsci(&[&["check", "--json"][..], &made].concat(), &[mount.lower()]).ok();
    let checked: serde_json::Value = serde_json::from_str(&checked).expect("JSON");
    assert_eq!(checked["findings"], serde_json::json!([]));
    assert!(checked["verified_bytes"].as_u64() > Some(100_000), "{checked}");
    let copy = dir.join("exported");
    hsci(&[&["export"][..], &made].concat(), &[mount.lower(), &copy]).ok();
    user.finds_all(&copy);
}
