//! The extension on a tree in memory, also through crashes.

use hsci_extension::testkit::{self, Change as Lost, Fault, Kept, MemoryTree, conformance};
use hsci_extension::{Errno, Ino};

use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn start(tree: &Arc<MemoryTree>) -> Result<Arc<Stack>> {
    testkit::start::<Crypt>(tree, &[("key", KEY)])
}

#[test]
#[ignore = "minutes without optimisation; the suite runs it on a mount"]
fn it_conforms() {
    let tree = MemoryTree::new();
    let layer = start(&tree).expect("start");
    assert_eq!(conformance::check(&*layer), []);
    layer.shutdown();
    assert_eq!(tree.known_inodes(), 0, "inodes that are kept for nothing");
}

#[test]
fn another_key_is_refused_and_shown_to_nobody() {
    let tree = MemoryTree::new();
    start(&tree).expect("start");
    let other = KEY.replace("00", "ff");
    let refused = testkit::start::<Crypt>(&tree, &[("key", &other)]).err().expect("refused");
    assert_eq!(refused.to_string(), "invalid: option `key`: not the key of this store");
    assert!(testkit::start::<Crypt>(&tree, &[]).is_err(), "no key at all");
}

#[test]
fn a_torn_write_leaves_the_old_or_the_new_block() {
    let (old, new) = (vec![b'o'; 5000], vec![b'n'; 5000]);
    let call = Call::new(1000, 1000, 0);
    let mut changed = 0;
    for calls in 0..14 {
        for torn in [0, 1, 15, 16, 17, 39, 40, 41, 4135, 4136, 4137, 5000, usize::MAX] {
            let tree = MemoryTree::new();
            let layer = start(&tree).expect("start");
            let file = layer.mknod(&call, Ino::ROOT, "file".as_ref(), 0o100_600, 0);
            let ino = file.expect("a file").ino;
            layer.write(&call, ino, 0, &old).expect("write");
            layer.fsync(&call, ino, false).expect("sync");
            let fault = Fault { lasting: true, ..Fault::once(calls, Errno::IO) };
            tree.faults().plan(Some(fault));
            let done = layer.write(&call, ino, 0, &new);
            let mut keep = |_: &Lost| match torn {
                usize::MAX => Kept::Whole,
                torn => Kept::Torn(torn),
            };
            let after = tree.crash(&mut keep);
            let layer = start(&after).expect("recovered");
            let ino = layer.lookup(&call, Ino::ROOT, "file".as_ref()).expect("the file").ino;
            let mut found = vec![0; 6000];
            let read = layer.read(&call, ino, 0, &mut found).expect("readable");
            found.truncate(read);
            assert!(found == old || found == new, "{calls} calls, {torn} bytes");
            assert!(done.is_err() || found == new, "what is acknowledged is there");
            changed += u32::from(found == new);
        }
    }
    assert!(changed > 13, "writes that were carried out: {changed}");
}
