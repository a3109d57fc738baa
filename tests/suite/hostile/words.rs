//! What root reads and starts is not what somebody else has put where root stands.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use hsci_tests::{Mount, Run, Test, machine};

use super::{alice, alices, limited};

pub(super) const TESTS: &[Test] = &[
    Test { name: "hostile::names_forge_no_lines", seconds: 120, body: names },
    Test { name: "hostile::a_directory_names_no_cargo_for_doctor", seconds: 120, body: doctor },
];

const FORGED: &str = "x\nnotice: forged\n  forged      yes\u{1b}[8m\u{1b}]0;title\u{7}";

/// Each line of what commands print is theirs, whatever a file or a directory is called.
fn names(dir: &Path) {
    machine::need_root();
    let (lower, point) = (dir.join(format!("lower{FORGED}")), dir.join(format!("mount{FORGED}")));
    for path in [&lower, &point] {
        fs::create_dir(path).expect("directory");
    }
    let mut mount = Mount::at(&lower, &point, "compressfs", "");
    let numbers = (0..20_000_u64).map(|number| format!("{}\n", number * 7919 % 100_003));
    fs::write(mount.path(FORGED), numbers.collect::<String>()).expect("write");
    mount.hsci(["settle"]).ok();
    let status = limited(["status"], &[mount.dir()]);
    mount.unmount();
    let stored = fs::File::options().read(true).write(true).open(lower.join(FORGED)).expect("open");
    let middle = stored.metadata().expect("its length").len() / 2;
    stored.write_all_at(&[0x55; 64], middle).expect("damage");
    let checked = limited(["check"], &[&lower]);
    assert_eq!(checked.code, 1, "{checked:?}");
    let exported = limited(["export"], &[&lower, &dir.join("copy")]);
    assert_eq!(exported.code, 1, "{exported:?}");
    for text in [&status.out, &checked.out, &checked.err, &exported.err] {
        println!("{text}");
        assert!(text.contains("forged"), "the name is shown: {text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
        for line in text.lines() {
            assert!(!line.trim_start().starts_with("notice: forged"), "{text}");
            assert!(!line.trim_start().starts_with("forged"), "{text}");
        }
    }
}

/// `rustup` looks where it is started for the toolchain to start, which may lie there as well.
fn doctor(dir: &Path) {
    machine::need_root();
    let (own, programs) = (alices(&dir.join("alices")), dir.join("programs"));
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("mode");
    alice(&format!("echo evil > '{}'", own.join("rust-toolchain.toml").display()));
    fs::create_dir(&programs).expect("directory");
    let cargo = programs.join("cargo");
    fs::write(&cargo, "#!/bin/sh\necho \"cargo 1.999.0 ($(ls))\"; pwd > \"${0%/*}/place\"\n")
        .expect("write");
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let _ = Run::new(machine::hsci()).arg("doctor").dir(&own).env("PATH", path).done();
    let place = fs::read_to_string(programs.join("place")).expect("cargo was asked");
    assert_eq!(place, "/\n", "cargo is asked where a user says which one it is");
}
