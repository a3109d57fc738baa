//! Files on their way to their final form.

use super::*;
use crate::Errno;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

fn all(answer: Settled) -> impl Fn(&[Arc<OpenFile<Fake>>]) -> Vec<Settled> {
    move |files| vec![answer.clone(); files.len()]
}

/// Both counts of bytes are the same when all is done.
fn assert_progress(rig: &Rig, begin: &str) {
    let progress = rig.progress();
    let bytes = progress.strip_prefix(begin).unwrap_or_else(|| panic!("{progress}"));
    let (done, total) = bytes.split_once(",\"total_bytes\":").expect("two counts");
    assert_eq!(done.strip_prefix("\"bytes\":"), total.strip_suffix('}'), "{progress}");
}

#[test]
fn a_quiet_file_is_settled_once_and_the_kernel_is_told() {
    let rig = Rig::new(Fake::settling(SHORT, all(Settled::Changed)));
    let ino = rig.create("name");
    rig.write(ino, b"text");
    wait_until("the kernel is told", || !rig.kernel.attributes().is_empty());
    std::thread::sleep(3 * SHORT);
    assert_eq!(rig.told(), ["name"]);
    assert_eq!(rig.kernel.attributes(), [ino]);
    rig.write(ino, b"new text");
    wait_until("it is settled again", || rig.told().len() == 2);
}

#[test]
fn a_file_that_is_written_again_and_again_is_left_alone() {
    let quiet = Duration::from_millis(400);
    let rig = Rig::new(Fake::settling(quiet, all(Settled::Changed)));
    let ino = rig.create("name");
    let begun = Instant::now();
    let mut last = begun;
    while begun.elapsed() < 2 * quiet {
        // A slow machine may make the file quiet after all; then this proves nothing.
        if last.elapsed() > quiet / 2 {
            return;
        }
        last = Instant::now();
        rig.write(ino, b"text");
        assert_eq!(rig.told(), [""; 0]);
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_until("it is settled when it is quiet", || rig.told() == ["name"]);
}

#[test]
fn a_busy_file_is_tried_again() {
    let calls = AtomicUsize::new(0);
    let settle = move |files: &[Arc<OpenFile<Fake>>]| match calls.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => vec![Settled::Busy; files.len()],
        _ => vec![Settled::Changed; files.len()],
    };
    let rig = Rig::new(Fake::settling(SHORT, settle));
    let ino = rig.create("name");
    rig.write(ino, b"text");
    wait_until("the third answer", || !rig.kernel.attributes().is_empty());
    assert_eq!(rig.told(), ["name"; 3]);
}

#[test]
fn a_file_that_fails_waits_longer_and_a_panic_is_a_failure() {
    let failed = Settled::Failed(Error::Lower(Errno::NOSPC));
    let panic = |_: &[Arc<OpenFile<Fake>>]| -> Vec<Settled> { panic!("on purpose") };
    let fails = [
        (Fake::settling(SHORT, all(failed)), "No space left on device"),
        (Fake::settling(SHORT, panic), "panic while files were settled"),
    ];
    for (fake, why) in fails {
        let rig = Rig::new(fake);
        let ino = rig.create("name");
        rig.write(ino, b"text");
        wait_until("it is tried", || rig.told() == ["name"]);
        std::thread::sleep(5 * SHORT);
        assert_eq!(rig.told(), ["name"]);
        rig.settle_all();
        assert_progress(&rig, r#"{"done":0,"total":1,"running":false,"failed":1,"#);
        let named = rig.layer.control_get(&Call::internal(), Ino::ROOT, "unsettled");
        let named = String::from_utf8(named.expect("an answer")).expect("text");
        assert!(named.starts_with("name: ") && named.contains(why), "{named}");
        assert_eq!(rig.told(), ["name"; 2]);
    }
}

#[test]
fn a_file_deleted_while_it_fails_gives_its_space_back_at_once() {
    let go_on = Arc::new(AtomicBool::new(false));
    let settle = {
        let go_on = Arc::clone(&go_on);
        move |files: &[Arc<OpenFile<Fake>>]| {
            wait_until("the file is deleted", || go_on.load(Ordering::Relaxed));
            vec![Settled::Failed(Error::Lower(Errno::NOSPC)); files.len()]
        }
    };
    let rig = Rig::new(Fake::settling(SHORT, settle));
    let ino = rig.create("name");
    rig.write(ino, b"text");
    wait_until("it is tried", || rig.told() == ["name"]);
    rig.layer.unlink(&Call::internal(), Ino::ROOT, OsStr::new("name")).expect("unlink");
    rig.layer.forget(ino, 1);
    assert!(rig.tree.getattr(&Call::internal(), ino).is_ok(), "it is being settled");
    go_on.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    wait_until("the file is gone", || rig.tree.getattr(&Call::internal(), ino).is_err());
    assert!(begun.elapsed() < Duration::from_secs(5), "sooner than it would be tried again");
}

#[test]
fn an_order_settles_the_whole_tree_at_once() {
    let rig = Rig::new(Fake::settling(LONG, all(Settled::Changed)));
    let mut directory = Ino::ROOT;
    for level in 0..3 {
        let name = format!("directory-{level}");
        let made = rig.layer.mkdir(&Call::internal(), directory, OsStr::new(&name), 0o755);
        directory = made.expect("a directory").ino;
        for number in 0..200 {
            let ino = make(&*rig.layer, directory, &format!("file-{number}"));
            rig.write(ino, b"text");
            rig.layer.forget(ino, 1);
        }
    }
    assert_eq!(rig.told(), [""; 0]);
    rig.settle_all();
    assert_progress(&rig, r#"{"done":600,"total":600,"running":false,"failed":0,"#);
    let told = rig.told();
    assert_eq!(told.len(), 600);
    assert!(told.contains(&"directory-0/directory-1/directory-2/file-199".to_owned()));
    assert_eq!(rig.layer.open_files_in_use(), 0, "files that were only settled go out of use");
}

#[test]
fn files_that_were_there_before_are_settled_where_that_is_wanted() {
    let tree = MemoryTree::new();
    let ino = make(&*tree, Ino::ROOT, "old");
    tree.write(&Call::internal(), ino, 0, b"text").expect("write");
    make(&*tree, Ino::ROOT, "empty");
    let start = |scan, read_only| {
        let fake = Fake::settling(SHORT, all(Settled::Unchanged));
        Rig::over(Arc::clone(&tree), fake, scan, read_only)
    };
    let rig = start(Scan::AtStart, false);
    wait_until("the old file is settled", || rig.told() == ["old"]);
    let others = [start(Scan::OnRequest, false), start(Scan::AtStart, true)];
    std::thread::sleep(3 * SHORT);
    assert_eq!(rig.told(), ["old"], "once is enough");
    for rig in others {
        assert_eq!(rig.told(), [""; 0]);
    }
}

#[test]
fn an_unlinked_file_is_neither_settled_nor_kept() {
    let rig = Rig::new(Fake::settling(LONG, all(Settled::Changed)));
    let ino = rig.create("name");
    rig.write(ino, b"text");
    rig.layer.unlink(&Call::internal(), Ino::ROOT, "name".as_ref()).expect("unlink");
    assert!(rig.layer.forget(ino, 1), "nothing keeps the inode");
    assert_eq!(rig.tree.known_inodes(), 0);

    // Still in use when its time comes.
    let quiet = Duration::from_millis(300);
    let rig = Rig::new(Fake::settling(quiet, all(Settled::Changed)));
    let ino = rig.create("name");
    rig.write(ino, b"text");
    rig.layer.unlink(&Call::internal(), Ino::ROOT, "name".as_ref()).expect("unlink");
    std::thread::sleep(quiet + 4 * SHORT);
    rig.settle_all();
    assert_eq!(rig.told(), [""; 0]);
}

#[test]
fn a_file_that_is_unlinked_while_it_is_settled_is_not_kept() {
    let going_on = Arc::new(AtomicBool::new(true));
    let rig = {
        let going_on = Arc::clone(&going_on);
        let settle = move |files: &[Arc<OpenFile<Fake>>]| {
            while going_on.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            vec![Settled::Unchanged; files.len()]
        };
        Rig::new(Fake::settling(SHORT, settle))
    };
    let ino = rig.create("name");
    rig.write(ino, b"text");
    wait_until("a batch is under way", || rig.told() == ["name"]);
    rig.layer.unlink(&Call::internal(), Ino::ROOT, "name".as_ref()).expect("unlink");
    assert!(!rig.layer.forget(ino, 1), "it is being settled");
    going_on.store(false, Ordering::Relaxed);
    wait_until("nothing keeps the inode", || rig.tree.known_inodes() == 0);
}

#[test]
fn a_file_that_waits_stays_known_until_it_is_settled() {
    let rig = Rig::new(Fake::settling(SHORT, all(Settled::Unchanged)));
    let ino = rig.create("name");
    rig.write(ino, b"text");
    assert!(!rig.layer.forget(ino, 1), "it waits to be settled");
    wait_until("it is settled", || rig.told() == ["name"]);
    wait_until("nothing keeps the inode", || rig.tree.known_inodes() == 0);
}

#[test]
fn the_end_of_the_mount_ends_a_batch_that_is_under_way() {
    let batches = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&batches);
    let settle = move |files: &[Arc<OpenFile<Fake>>]| {
        counter.fetch_add(1, Ordering::Relaxed);
        // As long as a large file may take, unless the extension is told to stop.
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end && !files[0].is_wanted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        vec![Settled::Busy; files.len()]
    };
    // Only the order settles, or quiet files would be a batch of their own beside it.
    let rig = Rig::new(Fake::settling(LONG, settle));
    // More than the two batches hold that are under way at a time.
    for number in 0..5000 {
        let ino = rig.create(&format!("file-{number}"));
        rig.write(ino, b"text");
    }
    rig.layer.control_set(&Call::internal(), Ino::ROOT, "settle", b"").expect("an order");
    wait_until("two batches are under way", || batches.load(Ordering::Relaxed) == 2);
    let begun = Instant::now();
    rig.layer.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    assert_eq!(batches.load(Ordering::Relaxed), 2, "no batch begins when the mount ends");
    assert!(rig.told().last().is_some_and(|told| told.starts_with("shutdown")));
}

fn own(rig: &Rig, user: u32, name: &str) -> Ino {
    let ino = rig.create(name);
    rig.write(ino, b"text");
    let changes = crate::SetAttr { uid: Some(user), ..crate::SetAttr::default() };
    rig.layer.setattr(&Call::internal(), ino, &changes).expect("an owner");
    ino
}

#[test]
fn a_file_that_takes_long_does_not_keep_the_files_of_others_waiting() {
    let go_on = Arc::new(AtomicBool::new(false));
    let settle = {
        let go_on = Arc::clone(&go_on);
        move |files: &[Arc<OpenFile<Fake>>]| {
            if files.iter().any(|file| file.path().starts_with("large")) {
                wait_until("it is done", || go_on.load(Ordering::Relaxed));
            }
            vec![Settled::Changed; files.len()]
        }
    };
    let rig = Rig::new(Fake::settling(SHORT, settle));
    own(&rig, 1, "large");
    wait_until("it is begun", || rig.told() == ["large"]);
    let (next, other) = (own(&rig, 1, "next"), own(&rig, 2, "other"));
    wait_until("the other user's is settled", || rig.kernel.attributes() == [other]);
    assert!(!rig.told().contains(&"next".to_owned()), "files of one user go one after the other");
    go_on.store(true, Ordering::Relaxed);
    wait_until("the next one is settled", || rig.kernel.attributes().contains(&next));
}

#[test]
fn an_order_is_for_the_files_of_who_gives_it_and_one_waits_at_most() {
    let rig = Rig::new(Fake::settling(LONG, all(Settled::Changed)));
    for (user, name) in [(1, "one"), (2, "two"), (3, "three")] {
        own(&rig, user, name);
    }
    let order = |user| {
        let call = Call::new(user, user, 1);
        rig.layer.control_set(&call, Ino::ROOT, "settle", b"").expect("an order");
    };
    let is_done = |user| {
        let answer = rig.layer.control_get(&Call::new(user, user, 1), Ino::ROOT, "settle");
        String::from_utf8(answer.expect("an answer")).expect("text").contains(r#""running":false"#)
    };
    (0..10_000).for_each(|_| order(2));
    wait_until("it is carried out", || is_done(2));
    let told = rig.told();
    assert!(!told.is_empty() && told.iter().all(|name| name == "two"), "{told:?}");
    assert!(told.len() < 1000, "{} orders were carried out", told.len());
    order(0);
    wait_until("root's is carried out", || is_done(0));
    let told = rig.told();
    assert!(["one", "two", "three"].iter().all(|name| told.iter().any(|one| one == name)));
}
