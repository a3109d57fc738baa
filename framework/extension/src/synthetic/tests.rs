//! A synthetic tree over a tree in memory.

use std::collections::BTreeSet;

use super::*;
use crate::testkit::{MemoryKernel, MemoryTree, conformance};

fn call() -> Call {
    Call::new(1000, 1000, 0)
}

/// Makes a file below the tree.
fn store(stored: &MemoryTree, name: &str) -> Ino {
    let made = crate::FileSystem::mknod(stored, &call(), Ino::ROOT, name.as_ref(), 0o100_644, 0);
    made.expect("a file").ino
}

fn tree(stored: &Arc<MemoryTree>) -> (Tree, Arc<MemoryKernel>) {
    let kernel = Arc::new(MemoryKernel::default());
    let tree = Tree::new(Arc::clone(stored) as _, Arc::clone(&kernel) as _);
    tree.file("about/version", 0o444, || b"1.0\n".to_vec()).expect("a file");
    tree.directory("about/empty").expect("a directory");
    (tree, kernel)
}

fn find(tree: &Tree, path: &str) -> Result<Ino> {
    let mut ino = Ino::ROOT;
    for name in path.split('/') {
        ino = tree.lookup(&call(), ino, OsStr::new(name))?.ino;
    }
    Ok(ino)
}

fn read(tree: &Tree, ino: Ino) -> Vec<u8> {
    let mut bytes = vec![0; 100];
    let read = tree.read(&call(), ino, 0, &mut bytes).expect("a read");
    bytes.truncate(read);
    bytes
}

/// All names, read with so much room at a time.
fn list(tree: &Tree, dir: Ino, budget: usize) -> Vec<String> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let entries = tree.readdir(&call(), dir, cookie, budget).expect("a listing");
        let Some(last) = entries.last() else { return names };
        cookie = last.next;
        names.extend(entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()));
    }
}

#[test]
fn what_is_stored_behaves_as_without_it() {
    let stored = MemoryTree::new();
    assert_eq!(conformance::check(&tree(&stored).0), []);
    assert_eq!(stored.known_inodes(), 0, "inodes that are kept for nothing");
}

#[test]
fn files_have_what_their_providers_say() {
    let (tree, kernel) = tree(&MemoryTree::new());
    let ino = find(&tree, "about/version").expect("it is there");
    assert_eq!(read(&tree, ino), b"1.0\n");
    let attr = tree.getattr(&call(), ino).expect("attributes");
    assert_eq!((attr.size, attr.mode, attr.kind), (4, 0o444, FileKind::Regular));
    assert_eq!(tree.parent(ino).expect("a parent").1, "version");
    let mut bytes = [0; 10];
    assert_eq!(tree.read(&call(), ino, 3, &mut bytes), Ok(1));
    assert_eq!(tree.read(&call(), ino, u64::MAX, &mut bytes), Ok(0));
    assert_eq!(tree.write(&call(), ino, 0, b"2"), Err(Errno::ROFS.into()));
    tree.changed("about/version").expect("it is there");
    assert_eq!(kernel.contents(), [ino]);
}

#[test]
fn listings_have_each_name_once_however_little_fits() {
    let stored = MemoryTree::new();
    let (tree, _) = tree(&stored);
    for name in ["notes", "stored"] {
        tree.file(name, 0o444, Vec::new).expect("a file");
    }
    // What is stored hides the synthetic file of its name, and is listed once.
    let hiding = store(&stored, "stored");
    store(&stored, "zebra");
    assert_eq!(find(&tree, "stored"), Ok(hiding));
    for budget in [40, 80, 1 << 16] {
        let names = list(&tree, Ino::ROOT, budget);
        let unique: BTreeSet<_> = names.iter().map(String::as_str).collect();
        let expected = BTreeSet::from([".", "..", "about", "notes", "stored", "zebra"]);
        assert_eq!((unique, names.len()), (expected, 6), "{budget}: {names:?}");
        let about = find(&tree, "about").expect("it is there");
        assert_eq!(list(&tree, about, budget), [".", "..", "empty", "version"]);
    }
}

#[test]
fn the_next_worker_gives_the_same_numbers() {
    let (first, _) = tree(&MemoryTree::new());
    let next = Tree::new(MemoryTree::new(), Arc::new(MemoryKernel::default()));
    // In another order, beside others.
    next.directory("about/empty").expect("a directory");
    next.file("about/more", 0o444, Vec::new).expect("a file");
    next.file("about/version", 0o444, Vec::new).expect("a file");
    for path in ["about", "about/empty", "about/version"] {
        assert_eq!(find(&first, path), find(&next, path), "{path}");
    }
}

#[test]
fn names_are_refused_while_they_are_shown() {
    let stored = MemoryTree::new();
    let (tree, kernel) = tree(&stored);
    let name = OsStr::new;
    let about = find(&tree, "about").expect("it is there");
    let read_only = Err(Errno::ROFS.into());
    let made = tree.mknod(&call(), about, name("new"), 0o100_644, 0);
    assert_eq!(made.map(drop), Err(Errno::ROFS.into()));
    let made = tree.mkdir(&call(), Ino::ROOT, name("about"), 0o755);
    assert_eq!(made.map(drop), Err(Errno::EXIST.into()));
    assert_eq!(tree.rmdir(&call(), Ino::ROOT, name("about")), read_only);
    assert_eq!(tree.unlink(&call(), about, name("version")), read_only);
    store(&stored, "file");
    let rename = |from: (Ino, &str), to: (Ino, &str)| {
        let (from, to) = ((from.0, name(from.1)), (to.0, name(to.1)));
        tree.rename(&call(), from, to, RenameFlags::empty())
    };
    assert_eq!(rename((Ino::ROOT, "file"), (Ino::ROOT, "about")), read_only);
    assert_eq!(rename((Ino::ROOT, "file"), (about, "file")), read_only);
    assert_eq!(rename((about, "version"), (Ino::ROOT, "version")), read_only);
    let version = find(&tree, "about/version").expect("it is there");
    tree.remove("about").expect("it is there");
    assert_eq!(kernel.entries().last(), Some(&(Ino::ROOT, "about".into())));
    assert_eq!(find(&tree, "about"), Err(Errno::NOENT.into()));
    assert_eq!(tree.getattr(&call(), version).map(drop), Err(Errno::STALE.into()));
    assert_eq!(rename((Ino::ROOT, "file"), (Ino::ROOT, "about")), Ok(()));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let (tree, _) = tree(&MemoryTree::new());
    for path in ["", "/etc", "../x", "a/../b"] {
        assert!(matches!(tree.directory(path), Err(Error::Invalid(_))), "{path}");
    }
    let again = tree.file("about/version", 0o444, Vec::new);
    assert_eq!(again, Err(Errno::EXIST.into()));
    let below = tree.file("about/version/below", 0o444, Vec::new);
    assert_eq!(below, Err(Errno::NOTDIR.into()));
}
