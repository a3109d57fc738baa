//! The extension on a tree in memory, also through crashes.

use hsci_extension::testkit::{self, Change as Lost, Fault, Kept, MemoryTree, conformance};
use hsci_extension::{Errno, Ino};

use super::*;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn start(tree: &Arc<MemoryTree>) -> Result<Arc<Stack>> {
    testkit::start::<Crypt>(tree, &[("key", KEY)])
}

#[test]
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

fn user() -> Call {
    Call::new(1000, 1000, 0)
}

/// A file of a tree that has content which is durable, and the extension that serves it.
fn with_file(content: &[u8]) -> (Arc<MemoryTree>, Arc<Stack>, Ino) {
    let tree = MemoryTree::new();
    let layer = start(&tree).expect("start");
    let file = layer.mknod(&user(), Ino::ROOT, "file".as_ref(), 0o100_600, 0);
    let ino = file.expect("a file").ino;
    layer.write(&user(), ino, 0, content).expect("write");
    layer.fsync(&user(), ino, false).expect("sync");
    (tree, layer, ino)
}

fn content(layer: &Stack) -> Vec<u8> {
    let ino = layer.lookup(&user(), Ino::ROOT, "file".as_ref()).expect("the file").ino;
    let mut found = vec![0; 20_000];
    let read = layer.read(&user(), ino, 0, &mut found).expect("readable");
    found.truncate(read);
    found
}

/// Writes `new` over `old`, the power goes at each call, and of what was not durable each of `cuts` bytes are left.
/// Returns how often the new content was there, of how many times.
fn cut(old: &[u8], new: &[u8], cuts: &[usize]) -> (usize, usize) {
    let (mut changed, mut times) = (0, 0);
    for calls in 0..14 {
        for &cut in cuts {
            let (tree, layer, ino) = with_file(old);
            tree.faults().plan(Some(Fault { lasting: true, ..Fault::once(calls, Errno::IO) }));
            let done = layer.write(&user(), ino, 0, new);
            let after = tree.crash(&mut |_: &Lost| match cut {
                usize::MAX => Kept::Whole,
                cut => Kept::Torn(cut),
            });
            let reading = testkit::start_read_only::<Crypt>(&after, &[("key", KEY)]);
            let shown = content(&*reading.expect("a start that writes nothing"));
            let found = content(&*start(&after).expect("recovered"));
            assert_eq!(shown, found, "{calls} calls, {cut} bytes: without writing");
            assert!(found == old || found == new, "{calls} calls, {cut} bytes");
            assert!(done.is_err() || found == new, "what is acknowledged is there");
            changed += usize::from(found == new);
            times += 1;
        }
    }
    (changed, times)
}

#[test]
fn a_write_that_is_torn_anywhere_leaves_the_old_or_the_new_block() {
    // Longer than the record in the journal and the stored block.
    let cuts: Vec<_> = (0..300).chain([usize::MAX]).collect();
    let (changed, times) = cut(&[b'o'; 100], &[b'n'; 100], &cuts);
    println!(
        "{times} cuts, at every byte of every write: {changed} left the new block, the others the old one"
    );
    assert!(changed > 300 && changed < times, "{changed} of {times} writes were carried out");
}

#[test]
fn a_write_of_several_blocks_is_whole_or_undone() {
    let cuts = [0, 1, 15, 16, 17, 39, 40, 41, 4135, 4136, 4137, 5000, 9000, usize::MAX];
    let (changed, times) = cut(&[b'o'; 9000], &[b'n'; 10_000], &cuts);
    assert!(changed > 13 && changed < times, "{changed} of {times} writes were carried out");
}

#[test]
fn what_was_truncated_does_not_come_back_in_part() {
    let (tree, layer, ino) = with_file(b"old");
    layer.shutdown();
    // A write to a file that has its identity already: the journal holds the block alone.
    let layer = start(&tree).expect("start");
    layer.write(&user(), ino, 0, b"new").expect("write");
    layer.setattr(&user(), ino, &hsci_extension::SetAttr::of_size(0)).expect("truncated");
    let after = tree.crash(&mut |_: &Lost| Kept::Whole);
    let recovered = start(&after).expect("recovered");
    assert_eq!(content(&*recovered), b"");
}
