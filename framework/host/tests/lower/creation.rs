use std::ffi::OsStr;

use hsci_extension::{Call, Entry, FileSystem, Ino, SetAttr, XattrFlags};

use super::{REGULAR, ROOT, Rig, is_root};

const USER: u32 = 1234;
const GROUP: u32 = 2345;

fn make(rig: &Rig, parent: Ino, name: &str, umask: u32) -> Entry {
    let call = Call::new(USER, USER, 0).with_umask(umask);
    rig.tree.mknod(&call, parent, OsStr::new(name), REGULAR | 0o666, 0).expect("make a file")
}

fn owner(entry: &Entry) -> (u32, u32, u32) {
    (entry.attr.uid, entry.attr.gid, entry.attr.mode)
}

/// Runs a test in a thread, whose credentials end with it.
fn as_root(test: fn(&Rig)) {
    if !is_root() {
        eprintln!("not run: only root makes files of others");
        return;
    }
    std::thread::spawn(move || test(&Rig::new(true))).join().expect("the test passes");
}

#[test]
fn files_belong_to_their_maker() {
    as_root(|rig| {
        assert_eq!(owner(&make(rig, ROOT, "own", 0o027)), (USER, USER, 0o640));
        let root = Call::new(0, 0, 0).with_umask(0o022);
        let dir = rig.tree.mkdir(&root, ROOT, OsStr::new("dir"), 0o777).expect("mkdir");
        assert_eq!(owner(&dir), (0, 0, 0o755));
        let call = Call::new(USER, GROUP, 0);
        let link = rig.tree.symlink(&call, ROOT, OsStr::new("link"), OsStr::new("to"));
        let link = link.expect("symlink");
        assert_eq!((link.attr.uid, link.attr.gid), (USER, GROUP));
        assert_eq!(rig.tree.readlink(&call, link.ino).expect("readlink"), "to");
    });
}

#[test]
fn a_set_group_id_directory_gives_its_group() {
    as_root(|rig| {
        let dir = rig.dir(ROOT, "shared");
        let root = Call::new(0, 0, 0);
        let changes = {
            let mut changes = SetAttr::of_mode(0o2777);
            changes.gid = Some(GROUP);
            changes
        };
        rig.tree.setattr(&root, dir, &changes).expect("set the group");
        assert_eq!(owner(&make(rig, dir, "file", 0o022)), (USER, GROUP, 0o644));
        let call = Call::new(USER, USER, 0);
        let below = rig.tree.mkdir(&call, dir, OsStr::new("below"), 0o755).expect("mkdir");
        assert_eq!(owner(&below), (USER, GROUP, 0o2755));
    });
}

/// A default ACL takes the place of the umask.
#[test]
fn a_default_acl_is_inherited() {
    const NAME: &str = "system.posix_acl_default";
    // Version 2, then tag, permissions and id: owner rwx, USER rwx, group r-x, mask rwx, others.
    let entries = [(1, 7, !0), (2, 7, USER), (4, 5, !0), (0x10, 7, !0), (0x20, 0, !0_u32)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(u16::to_le_bytes(tag));
        acl.extend(u16::to_le_bytes(permissions));
        acl.extend(u32::to_le_bytes(id));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if !is_root() {
                eprintln!("not run: only root makes files of others");
                return;
            }
            let rig = Rig::new(true);
            let dir = rig.dir(ROOT, "dir");
            let root = Call::new(0, 0, 0);
            rig.tree
                .setxattr(&root, dir, OsStr::new(NAME), &acl, XattrFlags::empty())
                .expect("set the ACL");
            assert_eq!(rig.tree.getxattr(&root, dir, OsStr::new(NAME)).expect("get"), acl);
            assert_eq!(owner(&make(&rig, dir, "file", 0o077)), (USER, USER, 0o660));
            assert_eq!(owner(&make(&rig, ROOT, "without", 0o077)), (USER, USER, 0o600));
        });
    });
}
