//! A store that is asked for by messages, beside the same store.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use hsci_extension::{Credentials, LowerFile, Result, Times, Whence};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::lower::LowerTree;

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair of sockets")
}

/// Runs `work` with the store of a new directory, once by messages and once without; `asked` counts questions.
fn by_messages<T: Send>(
    read_only: bool,
    work: impl Fn(&dyn Store, &AtomicUsize) -> T + Sync,
) -> (T, T) {
    let dir = tempfile::tempdir().expect("a directory");
    let asked = AtomicUsize::new(0);
    let store = |name: &str| -> Arc<dyn Store> {
        std::fs::create_dir(dir.path().join(name)).expect("a directory");
        let root = File::open(dir.path().join(name)).expect("open");
        LowerTree::open(root.into()).expect("a tree").store("test", true).expect("a store")
    };
    let here = work(&*store("here"), &AtomicUsize::new(0));
    let kept = store("there");
    let ((asking, counted), (counting, answering)) = (pair(), pair());
    let there = thread::scope(|scope| {
        let keeper = scope.spawn(|| Keeper::new(&answering, &kept, read_only).serve());
        scope.spawn(|| forward(&counted, &counting, Some(&asked)));
        scope.spawn(|| forward(&counting, &counted, None));
        let remote = scope.spawn(|| {
            let link = Arc::new(Link::new(asking));
            let done = work(&RemoteStore::new(Arc::clone(&link), 0), &asked);
            link.tell(&Ask::Done(Ok(())));
            rustix::net::shutdown(link.socket(), rustix::net::Shutdown::Both).expect("an end");
            done
        });
        let there = remote.join().expect("no panic");
        keeper.join().expect("no panic").expect("its socket").expect("done");
        rustix::net::shutdown(&answering, rustix::net::Shutdown::Both).expect("an end");
        there
    });
    (here, there)
}

fn forward(from: &OwnedFd, to: &OwnedFd, count: Option<&AtomicUsize>) {
    let mut buffer = vec![0; MOST];
    while let Ok((len @ 1.., _)) = receive(from, &mut buffer) {
        let (head, bytes) = parse::<serde_json::Value>(&buffer[..len]).expect("a message");
        if let Some(count) = count {
            count.fetch_add(1, Ordering::SeqCst);
        }
        if send(to, &head, bytes, &[]).is_err() {
            return;
        }
    }
}

/// Everything that is said of a file.
fn facts(file: &dyn LowerFile) -> (u64, u64, SystemTimes, Vec<u8>, Option<u64>) {
    let len = file.len().expect("a length");
    let mut content = vec![0; len as usize];
    file.read_exact_at(0, &mut content).expect("read");
    let times = file.times().expect("times");
    let data = file.seek(0, Whence::Data).ok();
    (len, file.blocks().expect("blocks"), (times.accessed, times.modified), content, data)
}

type SystemTimes = (std::time::SystemTime, std::time::SystemTime);

#[test]
fn what_is_known_of_a_file_is_what_its_last_change_has_left() {
    let work = |store: &dyn Store, _: &AtomicUsize| {
        let file = store.create("file").expect("a file");
        let (early, late) =
            (UNIX_EPOCH + Duration::from_nanos(7), UNIX_EPOCH + Duration::new(1 << 31, 1));
        let by = Credentials::HOST;
        let changes: [&dyn Fn() -> Result<()>; 6] = [
            &|| file.write_at(by, 8192, &[7; 70_000]),
            &|| file.set_len(100_000),
            &|| file.punch(12_288, 8192),
            &|| file.write_at(by, 3, b"text"),
            &|| file.set_len(9000),
            &|| file.set_len(0),
        ];
        let mut said = Vec::new();
        for change in changes {
            change().expect("changed");
            file.set_times(&Times::new(early, late)).expect("times");
            said.push(facts(&*file));
        }
        assert!(matches!(file.remove_attribute("user.none"), Err(Error::NoAttribute)));
        said
    };
    let (here, there) = by_messages(false, work);
    assert_eq!(here, there);
}

#[test]
fn an_image_is_installed_with_few_questions() {
    let work = |store: &dyn Store, asked: &AtomicUsize| {
        let (journal, file) =
            (store.create("journal").expect("a file"), store.create("file").expect("a file"));
        journal.write_at(Credentials::HOST, 0, &[1; 60_000]).expect("written");
        file.write_at(Credentials::HOST, 0, &[2; 60_000]).expect("written");
        let mut image = [0; 1000];
        journal.read_exact_at(0, &mut image).expect("read");
        journal.seek(0, Whence::Data).expect("data");
        let before = asked.load(Ordering::SeqCst);
        for place in 0..10 {
            file.keep_privileges(true).expect("kept");
            let times = file.times().expect("times");
            assert!(file.len().expect("a length") > 0 && journal.blocks().expect("blocks") > 0);
            journal.seek(place * 1000, Whence::Data).expect("data");
            journal.read_exact_at(place * 1000, &mut image).expect("read");
            file.write_at(Credentials::HOST, place * 1000, &image).expect("written");
            file.set_len(file.len().expect("a length") - 1).expect("cut");
            file.restore_privileges();
            file.set_times(&times).expect("times");
            let _ = (file.lifetime(), file.len().expect("a length"));
        }
        asked.load(Ordering::SeqCst) - before
    };
    let (_, questions) = by_messages(false, work);
    assert!(questions <= 51, "{questions} for 10 images");
}

#[test]
fn nothing_is_changed_where_nothing_may_be() {
    let work = |store: &dyn Store, _: &AtomicUsize| store.create("file").map(drop).is_ok();
    assert_eq!(by_messages(true, work), (true, false));
}
