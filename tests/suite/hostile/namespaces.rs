//! Alice as root of a user namespace: there she has all capabilities, and `hsci` takes her for root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::command::{ALICE, BOB, Done};
use hsci_tests::{Mount, Run, Test, machine};

use super::{Victim, alices, is_mounted};

pub(super) const TESTS: &[Test] = &[Test {
    name: "hostile::root_of_a_user_namespace_is_a_user_like_others",
    seconds: 240,
    body: fake_root,
}];

/// A line of the shell, by Alice with all capabilities of a namespace of hers.
fn inside(line: &str) -> Done {
    let inside =
        ["-k", "5", "40", "unshare", "--user", "--map-root-user", "--mount", "--", "bash", "-c"];
    Run::as_user(ALICE, "timeout").args(inside).arg(line).done()
}

fn fake_root(dir: &Path) {
    machine::need_root();
    machine::need("unshare");
    if inside("true").code != 0 {
        hsci_tests::skip("users may not make namespaces here");
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    let mount = Mount::new(dir, "mount", "compressfs", "settle=1h,suid,dev");
    fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o755)).expect("mode");
    let own = alices(&mount.path("alice"));
    let victim = Victim::new(mount.dir());
    fs::copy("/bin/true", mount.path("program")).expect("a program of root's");
    attempts(&mount, &own);
    victim.check("as root of a user namespace");
    assert!(is_mounted(mount.dir()), "root's mount was taken off");
    fs::write(mount.path("alive"), "alive").expect("it is served");
    assert_eq!(mount.status()["workers"], 1, "it was asked, and goes on");
    for entry in fs::read_dir(&own).expect("list").flatten() {
        let stat = fs::symlink_metadata(entry.path()).expect("stat");
        assert_eq!(stat.uid(), ALICE, "{:?} belongs to somebody else", entry.path());
        assert!(stat.file_type().is_file() || stat.file_type().is_dir(), "{:?}", entry.path());
    }
    let capable = own.join("capable");
    if capable.exists() {
        let told = Run::as_user(BOB, &capable).arg("/proc/self/status").ok();
        assert!(told.contains("CapEff:\t0000000000000000"), "others gain rights: {told}");
    }
}

/// What she tries, and whether it may succeed: on files of her own, or not at all.
fn attempts(mount: &Mount, own: &Path) {
    let hsci = machine::hsci().display().to_string();
    let (point, lower, own) = (mount.dir().display(), mount.lower().display(), own.display());
    let forbidden = [
        format!("mknod {own}/device c 1 1"),
        format!("touch {own}/given && chown 1:1 {own}/given"),
        format!("chown 0:0 {point}/program"),
        format!("chmod 4755 {point}/program"),
        format!("setfattr -n trusted.hsci -v x {own}"),
        format!("setfattr -n security.other -v x {point}/program"),
        format!("setcap cap_net_raw+ep {point}/program"),
        format!("setfattr -n user.hsci.algorithm -v lz4 {point}/program"),
        format!("cat {lower}/.hsci/store"),
        format!("rm {point}/outside/victim"),
        format!("umount {point}"),
        format!("{hsci} unmount {point}"),
        format!("{hsci} unmount --force {point}"),
        format!("{hsci} upgrade {point}"),
        format!("{hsci} mount {lower} {own}"),
        format!("{hsci} mount -x nullfs {own} {point}"),
        format!("mkdir {own}/place; {hsci} mount {own}/place {own}/place"),
        format!(
            "echo 'deny open \"/x\"' > {own}/policy; {hsci} policy load --allow-partial {own}/policy"
        ),
        format!("{hsci} policy unload; false"),
        format!("{hsci} export --privileged {lower} {own}/copy"),
        format!("{hsci} check {lower}"),
    ];
    for line in &forbidden {
        let begun = Instant::now();
        let done = inside(line);
        println!("{} {line}", done.code);
        assert_ne!(done.code, 0, "{line}: {done:?}");
        assert!(begun.elapsed() < Duration::from_secs(40), "{line}: hangs");
    }
    // On what is hers they work or not, as on the file system below.
    for line in [
        format!("cp /bin/cat {own}/capable; setcap cap_net_raw+ep {own}/capable"),
        format!("cp /bin/cat {own}/bits; chmod 6755 {own}/bits"),
        format!("{hsci} settle {point}"),
        format!("{hsci} status"),
    ] {
        let done = inside(&line);
        println!("{} {line}", done.code);
        assert!(done.code != 124 && done.code != 137, "{line}: hangs");
    }
    assert!(is_mounted(mount.dir()));
}
