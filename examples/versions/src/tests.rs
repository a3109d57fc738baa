//! The extension on a tree in memory.

use hsci_extension::testkit::{self, MemoryTree, conformance};

use super::*;

fn start(tree: &Arc<MemoryTree>, rest: &str) -> Arc<Stack> {
    testkit::start::<Versions>(tree, &[("rest", rest), ("keep", "3")]).expect("start")
}

/// An inode, which stays known.
fn find(layer: &Stack, path: &str) -> Result<Ino> {
    path.split('/').try_fold(Ino::ROOT, |ino, name| {
        Ok(layer.lookup(&Call::internal(), ino, OsStr::new(name))?.ino)
    })
}

fn content(layer: &Stack, path: &str) -> Result<String> {
    let mut bytes = vec![0; 1000];
    let read = layer.read(&Call::internal(), find(layer, path)?, 0, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

fn listed(layer: &Stack, path: &str) -> Vec<String> {
    let entries = layer.readdir(&Call::internal(), find(layer, path).expect("there"), 0, 10_000);
    let names = entries.expect("a listing").into_iter().map(|entry| entry.name.into_string());
    let mut names: Vec<_> = names.map(|name| name.expect("UTF-8")).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

#[test]
fn it_conforms() {
    for rest in ["0", "10"] {
        let tree = MemoryTree::new();
        let layer = start(&tree, rest);
        assert_eq!(conformance::check(&*layer), []);
        assert_eq!(tree.known_inodes(), 0, "inodes that are kept for nothing");
    }
}

#[test]
fn the_last_contents_are_kept_for_those_who_could_read_them() {
    let tree = MemoryTree::new();
    let layer = start(&tree, "0");
    let user = Call::new(1000, 1000, 0);
    let dir = layer.mkdir(&Call::internal(), Ino::ROOT, "dir".as_ref(), 0o777).expect("made").ino;
    let file = layer.mknod(&user, dir, "plan".as_ref(), 0o100_664, 0).expect("a file").ino;
    for number in 0..6 {
        layer.write(&user, file, 0, format!("content {number}").as_bytes()).expect("written");
    }
    assert_eq!(listed(&*layer, ".versions/dir/plan~"), ["3", "4", "5"]);
    assert_eq!(content(&*layer, ".versions/dir/plan~/5").as_deref(), Ok("content 4"));
    assert_eq!(content(&*layer, "dir/plan").as_deref(), Ok("content 5"));
    let version = find(&*layer, ".versions/dir/plan~/5").expect("there");
    let attr = layer.getattr(&user, version).expect("attributes");
    assert_eq!((attr.uid, attr.gid, attr.mode), (1000, 1000, 0o444));
    // What takes its name, or its bytes away.
    layer.setattr(&user, file, &SetAttr::of_size(0)).expect("truncated");
    layer.write(&user, file, 0, b"the end").expect("written");
    layer.unlink(&user, dir, "plan".as_ref()).expect("removed");
    assert_eq!(content(&*layer, ".versions/dir/plan~/6").as_deref(), Ok("content 5"));
    assert_eq!(content(&*layer, ".versions/dir/plan~/7").as_deref(), Ok("the end"));
}

#[test]
fn a_file_that_does_not_rest_has_one_version_and_a_new_one_none() {
    let layer = start(&MemoryTree::new(), "1h");
    let call = Call::internal();
    let file = layer.mknod(&call, Ino::ROOT, "log".as_ref(), 0o100_644, 0).expect("a file").ino;
    layer.write(&call, file, 0, b"first").expect("written");
    layer.write(&call, file, 0, b"later").expect("written");
    layer.unlink(&call, Ino::ROOT, "log".as_ref()).expect("removed");
    assert_eq!(find(&*layer, PLACE).map(drop), Err(Errno::NOENT.into()));
}

#[test]
fn versions_have_no_versions_and_stay_where_they_are() {
    let layer = start(&MemoryTree::new(), "0");
    let call = Call::internal();
    let file = layer.mknod(&call, Ino::ROOT, "a".as_ref(), 0o100_644, 0).expect("a file").ino;
    layer.write(&call, file, 0, b"one").expect("written");
    layer.write(&call, file, 0, b"two").expect("written");
    let version = find(&*layer, ".versions/a~/1").expect("there");
    layer.write(&call, version, 0, b"changed").expect("root may");
    assert_eq!(listed(&*layer, PLACE), ["a~"]);
    let (from, to) = ((Ino::ROOT, OsStr::new(PLACE)), (Ino::ROOT, OsStr::new("b")));
    let moved = layer.rename(&call, from, to, RenameFlags::empty());
    assert!(matches!(moved, Err(Error::NotPermitted(_))), "{moved:?}");
}
