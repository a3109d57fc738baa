//! An extension's corner of a store, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::tree::MemoryTree;
use super::{Change, Failing, Forgetful, Kept, MemoryFile};
use crate::{Errno, FileId, LowerFile, Reopened, Result, Store};

type Names = BTreeMap<String, Arc<Forgetful>>;

/// The store of a [`MemoryTree`], with the tree's faults; names, too, are lost in a crash unless
/// they were synced.
pub struct MemoryStore {
    tree: Weak<MemoryTree>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: Names,
    /// The states that a crash may go back to: the durable one, then one for each later change.
    history: Vec<Names>,
    next_id: u64,
}

impl State {
    fn change(&mut self, change: impl FnOnce(&mut Names) -> Result<()>) -> Result<()> {
        change(&mut self.names)?;
        self.history.push(self.names.clone());
        Ok(())
    }
}

impl MemoryStore {
    pub(super) fn new(tree: Weak<MemoryTree>, names: Names) -> Self {
        let history = vec![names.clone()];
        // Numbers of a tree's inodes are small.
        let next_id = (1 << 32) + names.len() as u64;
        Self { tree, state: Mutex::new(State { names, history, next_id }) }
    }

    /// The names and files after a crash.
    pub(super) fn crash(&self, keep: &mut dyn FnMut(&Change) -> Kept) -> Names {
        let state = self.state.lock();
        let later = state.history.iter().skip(1);
        let survived = later.take_while(|_| keep(&Change::Name) == Kept::Whole).count();
        let names = state.history[survived].iter();
        names
            .map(|(name, file)| (name.clone(), Arc::new(Forgetful::new(file.crash(keep)))))
            .collect()
    }

    fn tree(&self) -> Result<Arc<MemoryTree>> {
        self.tree.upgrade().ok_or_else(|| Errno::IO.into())
    }
}

impl Store for MemoryStore {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>> {
        let mut state = self.state.lock();
        let file = match state.names.get(name) {
            Some(file) => Arc::clone(file),
            None if create => {
                state.next_id += 1;
                let file = Arc::new(Forgetful::new(MemoryFile::new(state.next_id)));
                state.change(|names| {
                    names.insert(name.to_owned(), Arc::clone(&file));
                    Ok(())
                })?;
                file
            }
            None => return Err(Errno::NOENT.into()),
        };
        Ok(Arc::new(Failing { inner: file, faults: Arc::clone(self.tree()?.faults()) }))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn LowerFile>> {
        if self.state.lock().names.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        self.open(name, true)
    }

    fn names(&self) -> Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.state.lock().change(|names| {
            let file = names.remove(from).ok_or(Errno::NOENT)?;
            names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.state.lock().change(|names| {
            names.remove(name).ok_or(Errno::NOENT)?;
            Ok(())
        })
    }

    fn sync_names(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.history = vec![state.names.clone()];
        Ok(())
    }

    fn sync_all(&self) -> Result<()> {
        self.tree()?.sync_all()?;
        self.state.lock().names.values().try_for_each(|file| file.sync(false))?;
        self.sync_names()
    }

    fn free_space(&self) -> Result<u64> {
        Ok(1 << 40)
    }

    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>) {
        for (place, id) in ids.iter().enumerate() {
            visit(place, self.tree().and_then(|tree| tree.reopen(id)));
        }
    }

    /// Nothing can tell a crash of the program from one of the machine here.
    fn epoch(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}
