use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use hsci_extension::{Call, FileSystem, SetAttr, SetTime, Whence};

use super::{REGULAR, ROOT, both, me};

#[test]
fn a_file_in_use_outlives_its_lookups_and_its_names() {
    both(|rig| {
        let entry = rig.file(ROOT, "file", b"kept");
        let file = rig.tree.file(entry.ino).expect("a file");
        assert!(!rig.tree.forget(entry.ino, 1), "the file still uses it");
        rig.tree.unlink(&me(), ROOT, OsStr::new("file")).expect("unlink");
        let mut buffer = [0; 8];
        assert_eq!(file.read_at(0, &mut buffer).expect("read"), 4);
        file.write_at(hsci_extension::Credentials::HOST, 4, b" on").expect("write");
        assert_eq!(file.len().expect("length"), 7);
        drop(file);
        assert_eq!(rig.tree.counts(), (1, 1), "the root, and its descriptor");
    });
}

/// As `git` does with its objects.
#[test]
fn a_file_made_read_only_is_written_by_who_made_it() {
    both(|rig| {
        let made = rig.tree.mknod(&me(), ROOT, OsStr::new("object"), REGULAR | 0o444, 0);
        let ino = made.expect("make it").ino;
        rig.tree.write(&me(), ino, 0, b"object").expect("write");
        assert_eq!(rig.tree.getattr(&me(), ino).expect("stat").mode, 0o444);
        // The same once no descriptor is open any more.
        rig.tree.forget(ino, 1);
        let again = rig.lookup(ROOT, "object").expect("found").ino;
        rig.tree.write(&me(), again, 6, b"s").expect("write again");
        assert_eq!(rig.content(again), b"objects");
        assert_eq!(rig.tree.getattr(&me(), again).expect("stat").mode, 0o444);
    });
}

#[test]
fn reads_end_at_the_end_of_the_file_wherever_it_lies() {
    both(|rig| {
        for len in [0, 1, 511, 512, 513, 4096, 9000] {
            let name = len.to_string();
            let entry = rig.file(ROOT, &name, &vec![7; len]);
            let mut buffer = vec![0; 16 << 10];
            let read = rig.tree.read(&me(), entry.ino, 0, &mut buffer).expect("read");
            assert_eq!(read, len);
            assert!(buffer[..read].iter().all(|byte| *byte == 7));
            assert_eq!(rig.tree.read(&me(), entry.ino, len as u64, &mut buffer).expect("end"), 0);
        }
    });
}

#[test]
fn holes_are_found_and_truncation_by_a_user_clears_set_user_id() {
    both(|rig| {
        let entry = rig.file(ROOT, "file", b"");
        rig.tree.write(&me(), entry.ino, 1 << 20, b"end").expect("write");
        let data = rig.tree.lseek(&me(), entry.ino, 0, Whence::Data).expect("data");
        assert!((1..=1 << 20).contains(&data), "data found at {data}");
        let mode = SetAttr::of_mode(0o6755);
        assert_eq!(rig.tree.setattr(&me(), entry.ino, &mode).expect("chmod").mode, 0o6755);
        let user = Call::new(1000, 1000, 0);
        let size = SetAttr::of_size(3);
        let attr = rig.tree.setattr(&user, entry.ino, &size).expect("truncate");
        assert_eq!((attr.size, attr.mode), (3, 0o755));
    });
}

#[test]
fn times_are_set_one_by_one_to_the_nanosecond() {
    both(|rig| {
        let entry = rig.file(ROOT, "file", b"");
        let time = SystemTime::UNIX_EPOCH - Duration::new(1, 999_999_999);
        let changes = SetAttr::of_times(None, Some(SetTime::At(time)));
        let attr = rig.tree.setattr(&me(), entry.ino, &changes).expect("set a time");
        assert_eq!((attr.mtime, attr.atime), (time, entry.attr.atime));
    });
}
