use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use hsci_extension::{Call, Credentials, Errno, FileSystem, Store};

use super::{REGULAR, ROOT, Rig, both, errno, me};

#[test]
fn files_are_found_again_by_their_lasting_name() {
    both(|rig| {
        let dir = rig.dir(ROOT, "dir");
        let entry = rig.file(dir, "file", b"content");
        let id = rig.tree.file(entry.ino).expect("a file").id().expect("its lasting name");
        std::fs::rename(rig.path().join("dir/file"), rig.path().join("moved")).expect("rename");
        rig.tree.forget(entry.ino, 1);

        let store = rig.tree.store("test", true).expect("a store");
        let again = store.reopen_one(&id).expect("found");
        let mut buffer = [0; 7];
        again.read_exact_at(0, &mut buffer).expect("read");
        assert_eq!((&buffer, again.id().expect("its name")), (b"content", id.clone()));
        drop(again);
        std::fs::remove_file(rig.path().join("moved")).expect("remove");
        assert_eq!(errno(store.reopen_one(&id)), Some(Errno::STALE));
    });
}

/// On ext4, a few in 100,000 calls of the kernel end with ENOMEM here; every other run meets one.
#[test]
fn a_deleted_file_is_stale_while_its_number_is_given_to_another() {
    let rig = Rig::new(true);
    let entry = rig.file(ROOT, "file", b"content");
    let id = rig.tree.file(entry.ino).expect("a file").id().expect("its lasting name");
    let store = rig.tree.store("test", true).expect("a store");
    std::fs::remove_file(rig.path().join("file")).expect("remove");
    rig.tree.forget(entry.ino, 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names = ["a", "b", "c", "d"].map(|name| rig.path().join(name));
            while !stop.load(Ordering::Relaxed) {
                names.iter().for_each(|name| std::fs::write(name, "").expect("create"));
                names.iter().for_each(|name| std::fs::remove_file(name).expect("remove"));
            }
        });
        let wrong = (0..100_000)
            .map(|_| errno(store.reopen_one(&id)))
            .find(|got| *got != Some(Errno::STALE));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
    });
}

#[test]
fn a_store_holds_files_of_the_hosts_own() {
    both(|rig| {
        assert_eq!(errno(rig.tree.store("test", false)), Some(Errno::NOENT));
        let store = rig.tree.store("test", true).expect("a store");
        if rig.privileged && super::is_root() {
            // Whoever made a file last on this thread does not own the store's.
            let user = Call::new(1234, 1234, 0);
            rig.tree.mknod(&user, ROOT, OsStr::new("theirs"), REGULAR | 0o600, 0).expect("mknod");
        }
        assert_eq!(errno(store.open("journal", false)), Some(Errno::NOENT));
        let journal = store.open("journal", true).expect("a file");
        journal.write_at(hsci_extension::Credentials::HOST, 0, b"entry").expect("write");
        let metadata = std::fs::metadata(rig.path().join(".hsci/test/journal")).expect("stat");
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (me().uid, 0o600));
        store.rename("journal", "done").expect("rename");
        assert_eq!(store.names().expect("names"), ["done"]);
        store.remove("done").expect("remove");
        assert_eq!(journal.len().expect("still open"), 5);
        assert_eq!(store.names().expect("names"), [""; 0]);
    });
}

#[test]
fn the_store_is_no_subdirectory_that_the_root_counts() {
    both(|rig| {
        let links = || rig.tree.getattr(&me(), ROOT).expect("attributes").nlink;
        let before = links();
        drop(rig.tree.store("test", true).expect("a store"));
        assert_eq!(links(), before);
        rig.dir(ROOT, "dir");
        let metadata = std::fs::metadata(rig.path()).expect("stat");
        // Where the file system counts subdirectories at all, it counts the store as well.
        let counted = u64::from(links());
        assert_eq!(metadata.nlink(), if counted > 2 { counted + 1 } else { counted });
    });
}

#[test]
fn a_file_is_found_again_below_the_root_only() {
    both(|rig| {
        let outside = Rig::new(rig.privileged);
        let victim = outside.file(ROOT, "victim", b"content");
        let id = outside.tree.file(victim.ino).expect("a file").id().expect("its lasting name");
        let store = rig.tree.store("test", true).expect("a store");
        let root = std::fs::File::open(rig.path()).expect("open");
        let missing = match hsci_host::lower::opens_by_handle(root) {
            true => Errno::XDEV,
            false => Errno::STALE,
        };
        assert_eq!(errno(store.reopen_one(&id)), Some(missing));
        // A directory below the root leads nowhere else, and a link is none.
        std::os::unix::fs::symlink(outside.path(), rig.path().join("link")).expect("link");
        assert_eq!(errno(store.reopen_one(&id)), Some(missing));
        std::fs::create_dir(rig.path().join("dir")).expect("directory");
        let name = |rig: &Rig, name| rig.path().join(name);
        std::fs::rename(name(&outside, "victim"), name(rig, "dir/here")).expect("rename");
        assert!(store.reopen_one(&id).is_ok());
    });
}

#[test]
fn only_regular_files_are_found_again() {
    both(|rig| {
        let store = rig.tree.store("test", true).expect("a store");
        let directory = rig.tree.file(rig.dir(ROOT, "dir"));
        let Ok(id) = directory.and_then(|directory| directory.id()) else { return };
        assert!(store.reopen_one(&id).is_err());
    });
}

#[test]
fn a_file_of_the_store_is_made_once() {
    both(|rig| {
        let store = rig.tree.store("test", true).expect("a store");
        store
            .create("journal")
            .expect("made")
            .write_at(Credentials::HOST, 0, b"entry")
            .expect("write");
        assert_eq!(errno(store.create("journal")), Some(Errno::EXIST));
        assert_eq!(store.open("journal", false).expect("it stays").len().expect("length"), 5);
    });
}
