//! Paths through directories that others own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use hsci_tests::{Run, Test, machine};

use super::{Victim, alice, alices, ended, is_mounted, limited, unmount};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "hostile::links_in_others_directories_are_not_followed",
        seconds: 120,
        body: links,
    },
    Test { name: "hostile::links_that_root_made_are_followed", seconds: 60, body: roots_links },
    Test {
        name: "hostile::a_target_does_not_lead_through_a_users_link",
        seconds: 60,
        body: targets,
    },
    Test {
        name: "hostile::a_policy_that_others_can_write_is_not_put_in_force",
        seconds: 60,
        body: policies,
    },
    Test { name: "hostile::unmount_takes_off_its_own_only", seconds: 120, body: own_only },
    Test { name: "hostile::stores_do_not_overlap", seconds: 60, body: overlaps },
    Test { name: "hostile::a_directory_that_ignores_case_is_not_served", seconds: 60, body: cases },
    Test { name: "hostile::a_mount_has_the_flags_of_what_is_below", seconds: 120, body: flags },
];

/// A policy of root's content, at places where others could have put another.
fn policies(dir: &Path) {
    machine::need_root();
    let text = "deny open \"/nowhere/**\" unless user root\n";
    let home = alices(&dir.join("home"));
    let roots = dir.join("roots");
    fs::create_dir(&roots).expect("directory");
    let put = |path: &Path, mode: u32| {
        fs::write(path, text).expect("write");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
    };
    put(&roots.join("sound.policy"), 0o644);
    put(&roots.join("open.policy"), 0o666);
    put(&roots.join("group.policy"), 0o664);
    put(&home.join("roots-own.policy"), 0o644);
    let hers = home.display();
    alice(&format!(
        "cd '{hers}'; echo '{}' > hers.policy; mkdir d; cp hers.policy d/; mkfifo fifo.policy; \
         ln -s '{}' link.policy",
        text.trim(),
        roots.join("sound.policy").display()
    ));
    let shared = dir.join("shared");
    fs::create_dir(&shared).expect("directory");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("mode");
    put(&shared.join("movable.policy"), 0o644);
    let traps = [
        roots.join("open.policy"),
        roots.join("group.policy"),
        home.join("roots-own.policy"),
        home.join("hers.policy"),
        home.join("link.policy"),
        home.join("fifo.policy"),
        home.join("d"),
        shared.join("movable.policy"),
        shared.clone(),
    ];
    for trap in &traps {
        for verb in [&["policy", "load"][..], &["up"], &["down"]] {
            let run = Run::new("timeout").args(["30"]).arg(machine::hsci()).args(verb);
            let done = run.arg(trap).done();
            let attempt = format!("{verb:?} {}", trap.display());
            assert!([3, 4].contains(&done.code), "{attempt}: {} {}", done.code, done.err);
            assert!(
                done.err.contains("others than root") || done.err.contains("not a regular file"),
                "{attempt}: {}",
                done.err
            );
        }
    }
    // Such a policy may be looked at; one of root's own is read, and refused for what it says only.
    Run::new(machine::hsci()).args(["policy", "check"]).arg(home.join("hers.policy")).ok();
    fs::write(roots.join("sound.policy"), "deny nothing at all\n").expect("write");
    let load = Run::new(machine::hsci()).args(["policy", "load"]);
    load.arg(roots.join("sound.policy")).done().fails(1, &["policy check"]);
    println!("{} attempts", 3 * traps.len());
}

/// Alice's directory with `mail`, and a link to a directory of root's, as a part and as the end.
fn links(dir: &Path) {
    machine::need_root();
    let home = alices(&dir.join("home"));
    let victim = Victim::new(dir);
    let outside = victim.path.parent().expect("directory");
    fs::create_dir(outside.join("mail")).expect("directory");
    alice(&format!(
        "cd '{}'; mkdir mail real; ln -s '{2}' end; ln -s '{2}' part; ln -s ../outside relative; ln -s mail ours; ln -s '{1}' around",
        home.display(),
        home.display(),
        outside.display()
    ));
    let mail = home.join("mail");
    let mut attempts = 0;
    for trap in [
        "end",
        "part/mail",
        "relative",
        "relative/mail",
        "ours",
        "around/mail",
        "real/../end",
        "part/../outside",
        // Where this leads is where Alice has put her directory.
        "real/../../outside/mail",
    ] {
        let path = home.join(trap);
        let exported = dir.join("exported");
        let tries: [(&str, Vec<&str>, Vec<&Path>); 6] = [
            ("lower", vec!["mount"], vec![&path, &mail]),
            ("mount point", vec!["mount"], vec![&mail, &path]),
            ("itself", vec!["mount"], vec![&path, &path]),
            ("read-only", vec!["mount", "-o", "ro"], vec![&path, &path]),
            ("check", vec!["check"], vec![&path]),
            ("export from", vec!["export"], vec![&path, &exported]),
        ];
        for (what, arguments, paths) in tries {
            let attempt = format!("{what} {trap}");
            let run = Run::new("timeout").args(["30"]).arg(machine::hsci()).args(arguments);
            let done = run.args(&paths).done();
            ended(&attempt, &done, paths.last().expect("a path"));
            if paths.len() == 2 && what != "export from" {
                done.fails(3, &[trap.split('/').next().expect("a part"), "others than root"]);
            }
            victim.check(&attempt);
            assert!(!outside.join(".hsci").exists(), "{attempt}: a store was made");
            assert!(!outside.join("mail/.hsci").exists(), "{attempt}: a store was made");
            attempts += 1;
            let _ = fs::remove_dir_all(&exported);
        }
    }
    println!("{attempts} attempts");
}

/// What root has made is meant.
fn roots_links(dir: &Path) {
    machine::need_root();
    for name in ["lower", "point"] {
        fs::create_dir(dir.join(name)).expect("directory");
        symlink(dir.join(name), dir.join(format!("{name}-link"))).expect("link");
    }
    let (lower, point) = (dir.join("lower-link"), dir.join("point-link"));
    limited(["mount"], &[&lower, &point]).ok();
    assert!(is_mounted(&dir.join("point")));
    limited(["unmount"], &[&point]).ok();
    assert!(!is_mounted(&dir.join("point")));
}

/// A policy's glob meets a user's link to a directory of root's.
fn targets(dir: &Path) {
    machine::need_root();
    let homes = dir.join("homes");
    let (a, b) = (alices(&homes.join("a")), alices(&homes.join("b")));
    let etc = dir.join("etc");
    fs::create_dir(&etc).expect("directory");
    alice(&format!(
        "mkdir '{}/mail'; ln -s '{}' '{}/mail'",
        a.display(),
        etc.display(),
        b.display()
    ));
    let policy = dir.join("mail.policy");
    let text = format!("target mail = \"{}/*/mail\" via nullfs\n", homes.display());
    fs::write(&policy, text).expect("write");
    let done = limited(["up"], &[&policy]);
    let mounted = (is_mounted(&a.join("mail")), is_mounted(&etc));
    limited(["down"], &[&policy]).ok();
    assert_eq!(mounted, (true, false), "{}", done.err);
    done.fails(3, &["symbolic link"]);
    assert!(!is_mounted(&a.join("mail")), "down takes off what up has made");
}

/// Something else lies on top, or covers the way, or shows a part elsewhere.
fn own_only(dir: &Path) {
    machine::need_root();
    hsci_tests::sys::own_mounts();
    let places = ["lower", "point", "elsewhere", "parent", "parent/child", "other"];
    for name in places {
        fs::create_dir(dir.join(name)).expect("directory");
    }
    let [lower, point, elsewhere, parent, child, other] = places.map(|name| dir.join(name));
    limited(["mount", "--extension", "nullfs"], &[&lower, &point]).ok();
    Run::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&point).ok();
    for force in [&[][..], &["--force"]] {
        let done = Run::new(machine::hsci()).arg("unmount").args(force).arg(&point).done();
        done.fails(5, &["tmpfs", "mounted over it"]);
    }
    Run::new("umount").arg(&point).ok();
    assert!(is_mounted(&point), "only the other was taken off");

    Run::new("mount").arg("--bind").args([&point, &elsewhere]).ok();
    let done = limited(["unmount"], &[&point]);
    done.fails(5, &["bind mount", &elsewhere.display().to_string()]);
    assert_eq!(done.err.matches(&format!("{}: ", point.display())).count(), 1, "{}", done.err);
    Run::new("umount").arg(&elsewhere).ok();
    limited(["unmount"], &[&point]).ok();

    limited(["mount", "--extension", "nullfs"], &[&lower, &child]).ok();
    Run::new("mount").arg("--bind").args([&other, &parent]).ok();
    fs::create_dir(parent.join("child")).expect("directory");
    limited(["unmount"], &[&child]).fails(5, &["covered", &parent.display().to_string()]);
    Run::new("umount").arg(&parent).ok();
    limited(["unmount"], &[&child]).ok();
}

/// nosuid, nodev, noexec and read-only hold through the mount; alice's directory gives no rights.
fn flags(dir: &Path) {
    machine::need_root();
    hsci_tests::sys::own_mounts();
    let (below, point) = (dir.join("below"), dir.join("point"));
    for path in [&below, &point] {
        fs::create_dir(path).expect("directory");
    }
    for flag in ["nosuid", "nodev", "noexec", "ro"] {
        Run::new("mount").args(["-t", "tmpfs", "-o", flag, "tmpfs"]).arg(&below).ok();
        limited(["mount", "--extension", "nullfs"], &[&below, &point]).ok();
        let options = options(&point);
        unmount(&point);
        Run::new("umount").arg(&below).ok();
        assert!(options.iter().any(|option| option == flag), "{flag}: {options:?}");
    }
    let has = |wanted: &str| options(&point).iter().any(|option| option == wanted);
    let lower = alices(&dir.join("alice"));
    fs::copy("/usr/bin/id", lower.join("id")).expect("copy");
    Run::new("chown").arg("0:0").arg(lower.join("id")).ok();
    fs::set_permissions(lower.join("id"), fs::Permissions::from_mode(0o4755)).expect("chmod");
    limited(["mount", "--extension", "nullfs"], &[&lower, &point]).ok();
    let euid = Run::as_user(1, point.join("id")).arg("-u").ok();
    let closed = has("nosuid") && has("nodev");
    unmount(&point);
    assert!(closed && euid.trim() == "1", "a program of alice's directory ran as {euid}");
    limited(["mount", "--extension", "nullfs", "-o", "suid"], &[&lower, &point]).ok();
    let (suid, nodev) = (has("nosuid"), has("nodev"));
    unmount(&point);
    assert!(!suid && nodev, "root may say so, for each");
}

fn options(point: &Path) -> Vec<String> {
    let run = Run::new("findmnt").args(["-n", "-o", "VFS-OPTIONS"]).arg(point);
    run.ok().trim().split(',').map(str::to_owned).collect()
}

/// A store in another one, either way round, also through a bind mount.
fn overlaps(dir: &Path) {
    machine::need_root();
    hsci_tests::sys::own_mounts();
    for name in ["store/sub/deeper", "bound", "one", "two", "beside"] {
        fs::create_dir_all(dir.join(name)).expect("directory");
    }
    let at = |name: &str| dir.join(name);
    Run::new("mount").arg("--bind").args([at("store/sub"), at("bound")]).ok();
    let parts = ["store", "store/sub", "bound", "store/sub/deeper", "bound/deeper"];
    for served in parts {
        limited(["mount"], &[&at(served), &at("one")]).ok();
        for other in parts {
            let same = at(served).canonicalize().ok() == at(other).canonicalize().ok();
            let done = limited(["mount"], &[&at(other), &at("two")]);
            ended(&format!("{other} beside {served}"), &done, &at("two"));
            if !same {
                assert_eq!(done.code, 5, "{other} beside {served}: {}", done.err);
            }
        }
        limited(["mount"], &[&at("beside"), &at("two")]).ok();
        unmount(&at("two"));
        unmount(&at("one"));
        Run::new("rm").arg("-rf").arg(at(served).join(".hsci")).ok();
    }
}

/// A file system of root's on which `.HSCI` is `.hsci`.
fn cases(dir: &Path) {
    machine::need_root();
    let (server, point) = (dir.join("server"), dir.join("point"));
    for place in [&server, &point] {
        fs::create_dir(place).expect("directory");
    }
    let empty = dir.join("journal");
    fs::write(&empty, "").expect("write");
    let serve = |more: &[&str]| {
        let program = Run::new(machine::programs().join("hsci-lying-server"));
        let process = program.arg(&server).arg(dir).arg(&empty).args(more).start();
        let begun = std::time::Instant::now();
        while !server.join(".hsci").exists() {
            assert!(begun.elapsed().as_secs() < 20, "nothing is mounted");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        process
    };
    let mut said = Vec::new();
    for more in [&[][..], &["any-case"]] {
        let mut process = serve(more);
        let done = limited(["mount", "-o", "ro"], &[&server, &point]);
        let is_found = point.join(".HSCI").exists();
        let is_there = is_mounted(&point);
        unmount(&point);
        Run::new("umount").arg("-l").arg(&server).ok();
        let _ = process.wait();
        assert!(!is_found, "{more:?}: the private directory is found by another name");
        assert_eq!(is_there, more.is_empty(), "{more:?}: {done:?}");
        said.push(done);
    }
    assert_eq!(said[1].code, 3, "{:?}", said[1]);
    assert!(said[1].err.contains("ignores the case of names"), "{}", said[1].err);
}
