//! Who calls, as the program in the kernel says it for requests to real mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use hsci_abi::tables::SubjectClass;
use hsci_engine::Tables;
use hsci_kernel::Error;
use hsci_kernel::callers::CallerTracer;
use hsci_language::{NO_LOGIN, Subject, names::FixedNames};
use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine, skip};

use super::policies::{InForce, open_mount};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "callers::the_kernel_says_who_calls", seconds: 300, body: who },
    Test { name: "callers::a_new_policy_classifies_anew", seconds: 300, body: swap },
    Test { name: "callers::mounts_of_a_policy_share_one_program", seconds: 300, body: shared },
    Test { name: "callers::another_mount_s_requests_are_not_seen", seconds: 300, body: other },
];

const MKDIR: u32 = 9;

fn tables(text: &str) -> Tables {
    let checked = hsci_language::check(text, &FixedNames::default());
    let policy = checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    hsci_engine::compile(&policy).expect("it fits").tables
}

/// The loaded program; skips the test where the kernel has no such tracepoint.
fn load(tables: &Tables) -> CallerTracer {
    machine::need_root();
    match CallerTracer::load(tables) {
        Err(error @ (Error::Types(_) | Error::Program { .. })) if !has_tracepoint() => {
            skip(&error.to_string());
        }
        loaded => loaded.unwrap_or_else(|error| panic!("{error}")),
    }
}

/// True if the kernel's types name the tracepoint.
fn has_tracepoint() -> bool {
    let wanted = b"btf_trace_fuse_request_send";
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    types.windows(wanted.len()).any(|window| window == wanted)
}

fn mounted(dir: &Path, name: &str) -> Mount {
    let mount = Mount::new(dir, name, "nullfs", "");
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o1777)).expect("chmod");
    mount
}

fn attach(tracer: &mut CallerTracer, mount: &Mount) {
    let device = fs::metadata(mount.dir()).expect("the mount").dev();
    tracer.attach(device).expect("a mount more");
}

/// The callers of requests to make directories.
fn makers(tracer: &CallerTracer) -> Vec<SubjectClass> {
    let recent = tracer.recent();
    recent.iter().filter(|one| one.opcode == MKDIR).map(|one| one.subject).collect()
}

fn who(dir: &Path) {
    machine::need_root();
    // Copies, so that their paths are known; one lies deeper than names are short.
    let deep = dir.join(format!("{}/{}", "d".repeat(200), "e".repeat(200)));
    fs::create_dir_all(&deep).expect("directories");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let (near, far) = (dir.join("maker"), deep.join("other maker"));
    for copy in [&near, &far] {
        fs::copy(machine::find("mkdir").expect("mkdir"), copy).expect("a copy");
    }
    let own = std::env::current_exe().expect("this program");
    let text = format!(
        "deny open \"/x\" when user {ALICE}\ndeny open \"/x\" when group 4242\n\
         deny open \"/x\" when group 4243\ndeny open \"/x\" when exe \"{}/[m]aker\"\n\
         deny open \"/x\" when exe \"{}/**/other maker\"\ndeny open \"/x\" when comm \"maker\"\n\
         deny open \"/x\" when cgroup \"/**\"\n\
         deny open \"/x\" when ancestor \"{}*\" and capability chown and login none and userns host",
        dir.display(),
        dir.display(),
        own.display()
    );
    let tables = tables(&text);
    let mut tracer = load(&tables);
    let mount = mounted(dir, "mount");
    attach(&mut tracer, &mount);
    let cgroup = own_cgroup();
    let calls = [(ALICE, "4242", &near), (ALICE, "4243", &far), (BOB, "4242,4243", &near)];
    for (number, (user, groups, program)) in calls.into_iter().enumerate() {
        let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
        let place = mount.path(&format!("made{number}"));
        let caller = Run::new("setpriv").args([uid, gid, format!("--groups={groups}")]);
        caller.arg("--").arg(program).arg(place).ok();
        let gids = groups.split(',').map(|gid| gid.parse().expect("a number"));
        let expected = tables.classify(&Subject {
            uid: user,
            gids: gids.chain([user]).collect(),
            executable: program.as_os_str().as_encoded_bytes().to_vec(),
            command: program.file_name().expect("a name").as_encoded_bytes().to_vec(),
            cgroup: cgroup.clone(),
            login: own_login(),
            ancestors: vec![own.as_os_str().as_encoded_bytes().to_vec()],
            ..Subject::default()
        });
        let found = makers(&tracer);
        assert!(found.contains(&expected), "call {number}: {expected:?} in {found:?}");
        assert_eq!(found.len(), number + 1, "{found:?}");
    }
    assert_eq!(tracer.unknown(), 0);
}

fn own_login() -> u32 {
    let text = fs::read_to_string("/proc/self/loginuid");
    text.map_or(NO_LOGIN, |login| login.trim().parse().expect("a number"))
}

/// The path of this process's cgroup in the unified hierarchy.
fn own_cgroup() -> Vec<u8> {
    let text = fs::read_to_string("/proc/self/cgroup").expect("cgroups");
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.map_or_else(|| skip("no unified cgroups"), |path| path.as_bytes().to_vec())
}

fn swap(dir: &Path) {
    machine::need_root();
    // More rules than the first room has place for.
    let many: String =
        (0..2000).map(|n| format!("deny open \"/srv/p{n}/**\" when user {n}\n")).collect();
    let (first, second) = (tables("deny open \"/x\" when user 0"), tables("deny open \"/x\""));
    let third = tables(&(many + "deny open \"/y\" when user 0"));
    let mut tracer = load(&first);
    let mount = mounted(dir, "mount");
    attach(&mut tracer, &mount);
    for (number, tables) in [&first, &second, &third].into_iter().enumerate() {
        if number > 0 {
            tracer.put(tables, None).expect("another policy");
        }
        fs::create_dir(mount.path(&format!("made{number}"))).expect("mkdir");
        let subject = Subject { uid: 0, ..Subject::default() };
        let expected = tables.classify(&subject).user;
        let recent = tracer.recent();
        let now = recent.iter().filter(|one| one.generation == tracer.generation());
        let mut makers = now.filter(|one| one.opcode == MKDIR);
        let maker = makers.next().expect("the request of this round");
        assert_eq!((maker.subject.uid, maker.subject.user), (0, expected));
        assert_eq!(makers.next(), None);
    }
}

fn other(dir: &Path) {
    machine::need_root();
    let mut tracer = load(&tables("deny open \"/x\""));
    let (watched, ignored) = (mounted(dir, "watched"), mounted(dir, "ignored"));
    fs::create_dir(watched.path("before")).expect("mkdir");
    assert_eq!(tracer.recent(), [], "nothing is attached yet");
    attach(&mut tracer, &watched);
    // Callers are told before the call returns.
    fs::create_dir(ignored.path("made")).expect("mkdir");
    assert_eq!(makers(&tracer).len(), 0);
    fs::create_dir(watched.path("made")).expect("mkdir");
    assert_eq!(makers(&tracer).len(), 1);
}

/// Programs and links of the kernel side that a mount's supervisor keeps for itself.
fn own_programs(mount: &Mount) -> usize {
    let supervisor = mount.status()["supervisor_pid"].as_i64().expect("a process");
    let descriptors = fs::read_dir(format!("/proc/{supervisor}/fd")).expect("descriptors");
    let links = descriptors.flatten().filter_map(|one| fs::read_link(one.path()).ok());
    let is_program = |link: &std::path::PathBuf| {
        let link = link.to_string_lossy();
        link.contains("bpf-prog") || link.contains("bpf_link") || link.contains("bpf-raw")
    };
    links.filter(is_program).count()
}

/// Pins of programs that all mounts share.
fn pins() -> Vec<String> {
    let entries = fs::read_dir("/sys/fs/bpf/hsci").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("callers-")).collect()
}

fn shared(dir: &Path) {
    drop(load(&tables("deny open \"/x\"")));
    let in_force = InForce::take(dir);
    let target = format!("target t = \"{}/*\" via nullfs\n", dir.display());
    let small = format!("{target}in t: deny(EPERM) mkdir unless exe \"/usr/bin/[m]kdir\"\n");
    // More than the first room has place for.
    let many = (0..2000).map(|n| format!("in t: deny rmdir on \"p{n}/**\" when user {n}\n"));
    let large = small.clone() + &many.collect::<String>();
    let marking = format!("{small}in t: mark m unlink\nin t: deny mkdir on \"no\" when marked m\n");
    let before = open_mount(dir, "nullfs");
    let mut after = None;
    for (round, policy) in [&small, &large, &marking, &small].into_iter().enumerate() {
        in_force.load(policy);
        assert_eq!(pins().len(), 1, "round {round}");
        let after = after.get_or_insert_with(|| mounted(dir, "after"));
        for mount in [&before, &*after] {
            Run::as_user(ALICE, "mkdir").arg(mount.path(&format!("made{round}"))).ok();
            let other = Run::as_user(ALICE, "mktemp").arg("-d").arg(mount.path("otherXXXX")).done();
            other.fails(1, &["not permitted"]);
            let status = mount.status()["policy"].clone();
            assert_eq!(status["callers"], "kernel", "round {round}: {status}");
            assert_eq!(status["judged"], status["handed_over"], "round {round}: {status}");
            assert_eq!(status["undecidable"], 0, "round {round}: {status}");
            assert_eq!(own_programs(mount), 0, "round {round}");
        }
    }
    // Whose pins are gone goes on by a program of its own with the next policy that it finds.
    Run::new("rm").args(["-r", "/sys/fs/bpf/hsci"]).ok();
    Run::as_user(ALICE, "mkdir").arg(before.path("unpinned")).ok();
    drop(in_force);
    assert_eq!(pins(), [""; 0]);
}
