use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;

use hsci_extension::{Errno, FileSystem, RenameFlags};

use super::{REGULAR, ROOT, Rig, both, errno, me};

fn rename(
    rig: &Rig,
    from: &str,
    to: &str,
    flags: RenameFlags,
) -> Result<(), hsci_extension::Error> {
    rig.tree.rename(&me(), (ROOT, OsStr::new(from)), (ROOT, OsStr::new(to)), flags)
}

#[test]
fn hard_links_are_one_inode() {
    both(|rig| {
        let first = rig.file(ROOT, "first", b"one");
        let second = rig.tree.link(&me(), first.ino, ROOT, OsStr::new("second")).expect("link");
        assert_eq!((second.ino, second.attr.nlink), (first.ino, 2));
        assert_eq!(rig.lookup(ROOT, "first").expect("found").ino, first.ino);
        assert!(!rig.tree.forget(first.ino, 2), "three lookups were counted");
        assert!(rig.tree.forget(first.ino, 1));
        assert_eq!(errno(rig.tree.getattr(&me(), first.ino)), Some(Errno::STALE));
    });
}

#[test]
fn attributes_are_not_those_of_another_inode_that_has_the_name_now() {
    both(|rig| {
        let path = |name: &str| rig.path().join(name);
        std::fs::write(path("file"), "one").expect("write");
        let file = rig.lookup(ROOT, "file").expect("found");
        assert_eq!(rig.tree.getattr(&me(), file.ino).expect("stat").size, 3);
        assert_eq!(rig.tree.counts().1, 1, "it was not opened for that");
        // Past the tree, which would know.
        std::fs::rename(path("file"), path("moved")).expect("rename");
        std::fs::write(path("file"), "another").expect("write");
        let seen = rig.tree.getattr(&me(), file.ino);
        match rig.privileged {
            true => assert_eq!(seen.expect("found by its handle").size, 3),
            false => assert_eq!(errno(seen), Some(Errno::STALE)),
        }
    });
}

#[test]
fn unlinked_inodes_live_until_they_are_forgotten() {
    both(|rig| {
        let file = rig.file(ROOT, "file", b"still here");
        let dir = rig.dir(ROOT, "dir");
        rig.tree.unlink(&me(), ROOT, OsStr::new("file")).expect("unlink");
        rig.tree.rmdir(&me(), ROOT, OsStr::new("dir")).expect("rmdir");
        rig.tree.write(&me(), file.ino, 6, b"there").expect("write");
        assert_eq!(rig.content(file.ino), b"still there");
        assert_eq!(rig.tree.getattr(&me(), file.ino).expect("file").nlink, 0);
        assert_eq!(rig.tree.getattr(&me(), dir).expect("directory").nlink, 0);
        assert!(rig.tree.forget(file.ino, 1) && rig.tree.forget(dir, 1));
        assert_eq!(rig.tree.counts(), (1, 1), "the root, and its descriptor");
    });
}

#[test]
fn what_a_rename_replaces_lives_until_it_is_forgotten() {
    both(|rig| {
        let (old, new) = (rig.file(ROOT, "old", b"old"), rig.file(ROOT, "new", b"new"));
        let refused = rename(rig, "new", "old", RenameFlags::NOREPLACE);
        assert_eq!(errno(refused), Some(Errno::EXIST));
        rename(rig, "new", "old", RenameFlags::empty()).expect("rename");
        assert_eq!((rig.content(old.ino), rig.content(new.ino)), (b"old".into(), b"new".into()));
        assert_eq!(rig.tree.parent(new.ino).expect("named").1, "old");
        assert_eq!(errno(rig.tree.parent(old.ino)), Some(Errno::NOENT));
    });
}

#[test]
fn an_exchange_changes_both_names() {
    both(|rig| {
        let (dir, file) = (rig.dir(ROOT, "a"), rig.file(ROOT, "b", b"b"));
        let below = rig.file(dir, "below", b"below");
        rename(rig, "a", "b", RenameFlags::EXCHANGE).expect("exchange");
        assert_eq!(rig.tree.parent(dir).expect("named").1, "b");
        assert_eq!(rig.tree.parent(file.ino).expect("named").1, "a");
        assert_eq!(rig.content(below.ino), b"below");
    });
}

#[test]
fn names_of_255_and_paths_of_4095_bytes_work() {
    both(|rig| {
        let mut parent = ROOT;
        // 15 directories of 255 bytes and a slash each, and a file that fills up to 4095.
        for _ in 0..15 {
            parent = rig.dir(parent, &"d".repeat(255));
        }
        let file = rig.file(parent, &"f".repeat(255), b"deep");
        assert_eq!(15 * 256 + 255, 4095);
        rig.tree.unlink(&me(), parent, OsStr::new(&"f".repeat(255))).expect("unlink");
        assert_eq!(rig.content(file.ino), b"deep");
        let long = "n".repeat(256);
        assert_eq!(errno(rig.lookup(ROOT, &long)), Some(Errno::NAMETOOLONG));
    });
}

#[test]
fn the_reserved_name_is_hidden_and_refused() {
    both(|rig| {
        std::fs::create_dir(rig.path().join(".hsci")).expect("the store's own");
        let sub = rig.dir(ROOT, "sub");
        rig.dir(sub, ".hsci");
        assert_eq!(errno(rig.lookup(ROOT, ".hsci")), Some(Errno::NOENT));
        let made = rig.tree.mknod(&me(), ROOT, OsStr::new(".hsci"), REGULAR, 0);
        assert_eq!(errno(made), Some(Errno::PERM));
        assert_eq!(errno(rename(rig, "sub", ".hsci", RenameFlags::empty())), Some(Errno::PERM));
        assert_eq!(errno(rename(rig, ".hsci", "x", RenameFlags::empty())), Some(Errno::NOENT));
        let listed = rig.tree.readdir(&me(), ROOT, 0, 4096).expect("list");
        assert!(listed.iter().any(|entry| entry.name == "sub"));
        assert!(listed.iter().all(|entry| entry.name != ".hsci"));
    });
}

#[test]
fn a_listing_in_small_steps_names_everything_once() {
    both(|rig| {
        let mut expected: Vec<_> = (0..300).map(|number| format!("name-{number}")).collect();
        for name in &expected {
            std::fs::write(rig.path().join(name), "").expect("a file");
        }
        let (mut found, mut cookie) = (Vec::new(), 0);
        loop {
            let step = rig.tree.readdir(&me(), ROOT, cookie, 200).expect("list");
            let Some(last) = step.last() else { break };
            cookie = last.next;
            found.extend(step.into_iter().map(|entry| entry.name.into_string().expect("ASCII")));
        }
        expected.extend([".".to_owned(), "..".to_owned()]);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    });
}

/// The kernel asks once more at a listing's end, by when the descriptor may be closed. A new one that ext4 first lists
/// from there has no names afterwards, from the start neither.
#[test]
fn a_listing_that_goes_on_by_a_new_descriptor_spoils_no_later_one() {
    both(|rig| {
        let dir = rig.dir(ROOT, "dir");
        rig.file(dir, "inside", b"");
        let listed = rig.tree.readdir(&me(), dir, 0, 4096).expect("list");
        let end = listed.last().expect("names").next;
        let root = std::fs::File::open(rig.path()).expect("the directory");
        let other = hsci_host::lower::LowerTree::open(root.into()).expect("a tree");
        let dir = other.lookup(&me(), ROOT, OsStr::new("dir")).expect("there").ino;
        assert_eq!(other.readdir(&me(), dir, end, 4096).expect("the end").len(), 0);
        assert_eq!(other.readdir(&me(), dir, 0, 4096).expect("list").len(), listed.len());
    });
}

#[test]
fn a_directory_that_may_be_read_but_not_searched_is_listed() {
    both(|rig| {
        let dir = rig.dir(ROOT, "dir");
        rig.file(dir, "inside", b"");
        let changes = hsci_extension::SetAttr::of_mode(0o400);
        rig.tree.setattr(&me(), dir, &changes).expect("chmod");
        let listed = rig.tree.readdir(&me(), dir, 0, 4096).expect("list");
        assert!(listed.iter().any(|entry| entry.name == "inside"));
    });
}

/// Handles mean nothing outside of their file system; numbers may be taken there twice.
#[test]
fn what_is_mounted_below_is_served_and_not_confused_with_the_root() {
    if !super::is_root() {
        eprintln!("not run: mounting takes root");
        return;
    }
    both(|rig| {
        let point = rig.path().join("point");
        std::fs::create_dir(&point).expect("a mount point");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", &point, "tmpfs", flags, None).expect("mount");
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::fs::write(point.join("file"), "elsewhere").expect("a file");
            let dir = rig.lookup(ROOT, "point").expect("the mount point").ino;
            let file = rig.lookup(dir, "file").expect("the file").ino;
            let number = std::fs::metadata(point.join("file")).expect("stat").ino();
            assert_ne!(file.0, number, "the number may be the root's");
            assert_eq!(rig.tree.getattr(&me(), file).expect("stat").ino, file.0);
            assert_eq!(rig.content(file), b"elsewhere");
        }));
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH).expect("unmount");
        served.expect("served");
    });
}
