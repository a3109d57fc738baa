//! A whole file system in memory.

mod names;
mod node;
mod operations;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use self::node::{Body, Node};
use super::store::MemoryStore;
use super::{Change, Failing, Faults, Forgetful, Kept};
use crate::{Call, Errno, FileId, Ino, LowerFile, Result};

/// A lower layer in memory, with every operation, to run stacks of extensions in unit tests.
///
/// As strict as a real one about lookups: an inode is known while it is looked up, and ESTALE
/// otherwise. Names and attributes are durable at once, contents when they are synced. Faults are
/// those of the content of all files together.
pub struct MemoryTree {
    nodes: Mutex<Nodes>,
    faults: Arc<Faults>,
    store: Arc<MemoryStore>,
}

struct Nodes {
    known: HashMap<Ino, Node>,
    last: u64,
}

impl MemoryTree {
    /// An empty tree: a root directory that belongs to root.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let root = Node::directory(&Call::internal(), 0o755, Ino::ROOT);
        let known = HashMap::from([(Ino::ROOT, root)]);
        let nodes = Nodes { known, last: Ino::ROOT.0 };
        Self::build(nodes, |tree| MemoryStore::new(tree, Default::default()))
    }

    fn build(nodes: Nodes, store: impl FnOnce(Weak<Self>) -> MemoryStore) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            nodes: Mutex::new(nodes),
            faults: Arc::default(),
            store: Arc::new(store(Weak::clone(itself))),
        })
    }

    /// The store that belongs to this tree.
    #[must_use]
    pub fn store(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.store)
    }

    /// The faults of all files of the tree and of its store.
    #[must_use]
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Tree and store as they are after a crash: what was synced, and what `keep` says of each
    /// change since. Nothing is looked up in the new tree, and nothing fails there. This one goes
    /// on as if nothing had happened.
    #[must_use]
    pub fn crash(&self, keep: &mut dyn FnMut(&Change) -> Kept) -> Arc<Self> {
        let nodes = self.nodes.lock();
        let survivors = nodes.known.iter().filter(|(_, node)| node.nlink > 0);
        let known = survivors.map(|(ino, node)| (*ino, node.crash(keep))).collect();
        let left = Nodes { known, last: nodes.last };
        let names = self.store.crash(keep);
        Self::build(left, |tree| MemoryStore::new(tree, names))
    }

    /// Number of inodes that are looked up, without the root.
    #[must_use]
    pub fn known_inodes(&self) -> usize {
        let nodes = self.nodes.lock();
        nodes.known.iter().filter(|(ino, node)| **ino != Ino::ROOT && node.lookups > 0).count()
    }

    /// The content of a regular file, found by its path below the root, without counting a lookup.
    pub fn file_at(&self, path: &str) -> Result<Arc<Forgetful>> {
        let nodes = self.nodes.lock();
        let mut ino = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let (_, entries) = nodes.known[&ino].entries()?;
            ino = entries.find(name.as_ref()).ok_or(Errno::NOENT)?;
        }
        nodes.known[&ino].content()
    }

    pub(super) fn sync_all(&self) -> Result<()> {
        let nodes = self.nodes.lock();
        for node in nodes.known.values() {
            if let Body::File(file) = &node.body {
                file.sync(false)?;
            }
        }
        Ok(())
    }

    pub(super) fn reopen(&self, id: &FileId) -> Result<Arc<dyn LowerFile>> {
        let number = id.0.as_slice().try_into().map(u64::from_le_bytes);
        let ino = Ino(number.map_err(|_| Errno::STALE)?);
        let nodes = self.nodes.lock();
        let node = nodes.known.get(&ino).ok_or(Errno::STALE)?;
        Ok(self.with_faults(node.content()?))
    }

    fn with_faults(&self, inner: Arc<Forgetful>) -> Arc<dyn LowerFile> {
        Arc::new(Failing { inner, faults: Arc::clone(&self.faults) })
    }

    /// The content of a known inode.
    fn content(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        Ok(self.with_faults(self.nodes.lock().get(ino)?.content()?))
    }
}

impl Nodes {
    fn get(&mut self, ino: Ino) -> Result<&mut Node> {
        let node = self.known.get_mut(&ino);
        let known = node.filter(|node| ino == Ino::ROOT || node.lookups > 0);
        known.ok_or_else(|| Errno::STALE.into())
    }

    /// A node that is known, or has a name.
    fn named(&mut self, ino: Ino) -> Result<&mut Node> {
        self.known.get_mut(&ino).ok_or_else(|| Errno::STALE.into())
    }

    fn add(&mut self, make: impl FnOnce(Ino) -> Node) -> Ino {
        self.last += 1;
        let ino = Ino(self.last);
        self.known.insert(ino, make(ino));
        ino
    }

    /// Drops a node that has neither name nor lookup.
    fn drop_unused(&mut self, ino: Ino) {
        let unused = |node: &Node| node.nlink == 0 && node.lookups == 0;
        if self.known.get(&ino).is_some_and(unused) {
            self.known.remove(&ino);
        }
    }
}
