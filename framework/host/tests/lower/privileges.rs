use std::ffi::OsStr;

use hsci_extension::{Credentials, Error, FileSystem, Ino, XattrFlags};

use super::{ROOT, Rig, me};

const CAPABILITY: &str = "security.capability";
const KEPT: &str = "security.hsci.capability";
/// `cap_net_raw+ep`, as the kernel stores it.
const PING: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Runs a test as root with a file that has capabilities, in a thread of its own.
fn with_capable(test: fn(&Rig, Ino)) {
    let run = move || {
        let rig = Rig::new(true);
        let ino = rig.file(ROOT, "ping", b"a program").ino;
        let none = XattrFlags::empty();
        match rig.tree.setxattr(&me(), ino, OsStr::new(CAPABILITY), &PING, none) {
            // Not root, or a file system without attributes.
            Err(Error::Lower(_) | Error::Unsupported) => {}
            set => {
                set.expect("set");
                test(&rig, ino);
            }
        }
    };
    std::thread::spawn(run).join().expect("the test passes");
}

fn capability(rig: &Rig, ino: Ino) -> Option<Vec<u8>> {
    rig.tree.getxattr(&me(), ino, OsStr::new(CAPABILITY)).ok()
}

/// What another process finds.
fn below(rig: &Rig, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let len = rustix::fs::getxattr(rig.path().join("ping"), name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

#[test]
fn what_the_kernel_takes_meanwhile_is_shown_and_given_back() {
    with_capable(|rig, ino| {
        let file = rig.tree.file(ino).expect("a file");
        file.keep_privileges(false).expect("kept");
        file.write_at(Credentials::HOST, 0, b"another form").expect("written");
        assert_eq!(below(rig, CAPABILITY), None, "the kernel has taken it");
        assert_eq!(capability(rig, ino).as_deref(), Some(&PING[..]), "and nobody notices");
        let names = rig.tree.listxattr(&me(), ino).expect("names");
        assert!(names.iter().any(|name| name == CAPABILITY), "{names:?}");
        assert!(!names.iter().any(|name| name == KEPT), "{names:?}");
        file.restore_privileges();
        assert_eq!(below(rig, CAPABILITY).as_deref(), Some(&PING[..]));
        assert_eq!(below(rig, KEPT), None);
    });
}

#[test]
fn a_change_by_a_caller_takes_them_for_good() {
    with_capable(|rig, ino| {
        let file = rig.tree.file(ino).expect("a file");
        for end in ["write", "remove", "chown"] {
            let none = XattrFlags::empty();
            rig.tree.setxattr(&me(), ino, OsStr::new(CAPABILITY), &PING, none).expect("set");
            file.keep_privileges(false).expect("kept");
            file.write_at(Credentials::HOST, 0, b"another form").expect("written");
            match end {
                "write" => file.drop_privileges().expect("dropped"),
                "remove" => {
                    rig.tree.removexattr(&me(), ino, OsStr::new(CAPABILITY)).expect("removed");
                }
                _ => {
                    let mut owner = hsci_extension::SetAttr::default();
                    owner.uid = Some(me().uid);
                    rig.tree.setattr(&me(), ino, &owner).expect("owned");
                }
            }
            file.restore_privileges();
            assert_eq!(capability(rig, ino), None, "{end}");
            assert_eq!((below(rig, CAPABILITY), below(rig, KEPT)), (None, None), "{end}");
        }
    });
}

#[test]
fn one_that_is_set_meanwhile_is_the_one_that_stays() {
    with_capable(|rig, ino| {
        let file = rig.tree.file(ino).expect("a file");
        file.keep_privileges(false).expect("kept");
        let mut other = PING;
        other[5] = 0x04;
        let none = XattrFlags::empty();
        rig.tree.setxattr(&me(), ino, OsStr::new(CAPABILITY), &other, none).expect("set");
        file.write_at(Credentials::HOST, 0, b"another form").expect("written");
        assert_eq!(capability(rig, ino).as_deref(), Some(&other[..]));
        file.restore_privileges();
        assert_eq!(below(rig, CAPABILITY).as_deref(), Some(&other[..]));
    });
}

/// Only recovery knows that a file is as its host left it.
#[test]
fn what_a_dead_process_has_kept_counts_for_recovery_alone() {
    with_capable(|rig, ino| {
        let file = rig.tree.file(ino).expect("a file");
        file.keep_privileges(false).expect("kept");
        file.write_at(Credentials::HOST, 0, b"another form").expect("written");
        for again in [true, false] {
            let root = std::fs::File::open(rig.path()).expect("opened");
            let next = hsci_host::lower::LowerTree::open(root.into()).expect("served");
            let ino = next.lookup(&me(), ROOT, OsStr::new("ping")).expect("found").ino;
            assert!(next.getxattr(&me(), ino, OsStr::new(CAPABILITY)).is_err());
            let file = next.file(ino).expect("a file");
            if again {
                file.keep_privileges(true).expect("found again");
                file.write_at(Credentials::HOST, 0, b"another form").expect("written");
                file.restore_privileges();
                assert_eq!(below(rig, CAPABILITY).as_deref(), Some(&PING[..]));
                file.keep_privileges(false).expect("kept");
                file.write_at(Credentials::HOST, 0, b"one more form").expect("written");
            } else {
                file.keep_privileges(false).expect("a copy of nothing");
                file.restore_privileges();
                assert_eq!((below(rig, CAPABILITY), below(rig, KEPT)), (None, None));
            }
        }
    });
}
