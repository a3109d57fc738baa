//! What the automaton comes to after the paths of directories: judging a call far down costs what judging one at
//! the top does.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_extension::{FileKind, FileSystem, Ino, Result};
use parking_lot::RwLock;
use smallvec::SmallVec;

/// Directories that are known at once; with more of them, all are found again.
const MOST: usize = 1 << 14;

#[derive(Clone, Copy)]
struct Known {
    /// When it was found.
    epoch: u64,
    state: u32,
    /// Of its name and the directory above.
    place: u64,
}

/// States of the directories of a mount, under one policy.
#[derive(Default)]
pub(super) struct Directories(RwLock<HashMap<Ino, Known>>);

/// Which states still hold. An epoch ends when a directory gets another name or goes; a state bears the one in which it
/// was begun to be looked for.
#[derive(Default)]
pub(super) struct Epoch {
    now: AtomicU64,
    places: RandomState,
}

impl Epoch {
    /// Names of directories have changed.
    pub(super) fn end(&self) {
        self.now.fetch_add(1, Ordering::AcqRel);
    }

    fn place(&self, parent: Ino, name: &OsStr) -> u64 {
        self.places.hash_one((parent, name))
    }
}

impl Directories {
    /// The state at a name in a directory, or at an inode; an error if no path leads there.
    pub(super) fn state(
        &self,
        tree: &dyn FileSystem,
        epoch: &Epoch,
        (at, name): (Ino, Option<&OsStr>),
        (root, step): (u32, impl Fn(u32, &[u8]) -> u32),
    ) -> Result<u32> {
        let now = epoch.now.load(Ordering::Acquire);
        let mut unknown: SmallVec<[(Ino, Ino, OsString); 2]> = SmallVec::new();
        let (mut above, mut state) = (at, root);
        while above != Ino::ROOT {
            if let Some(known) = self.known(above, now) {
                state = known;
                break;
            }
            // An unlinked file has no path; its descriptors keep their rights.
            let (parent, name) = tree.parent(above)?;
            unknown.push((above, parent, name));
            above = parent;
        }
        let mut found = Vec::new();
        for (ino, parent, called) in unknown.iter().rev() {
            state = step(step(state, b"/"), called.as_encoded_bytes());
            // What nothing is said to lie in may be a file, which may have other names.
            if *ino != at || name.is_some() {
                let place = epoch.place(*parent, called);
                found.push((*ino, Known { epoch: now, state, place }));
            }
        }
        if !found.is_empty() {
            self.keep(found);
        }
        Ok(name.map_or(state, |name| step(step(state, b"/"), name.as_encoded_bytes())))
    }

    fn known(&self, ino: Ino, now: u64) -> Option<u32> {
        let known = *self.0.read().get(&ino)?;
        (known.epoch == now).then_some(known.state)
    }

    fn keep(&self, found: Vec<(Ino, Known)>) {
        let mut all = self.0.write();
        if all.len() + found.len() > MOST {
            all.clear();
        }
        all.extend(found);
    }

    /// An object was met at a name. A directory that was met elsewhere before has moved, whoever moved it.
    pub(super) fn meet(
        &self,
        epoch: &Epoch,
        (parent, name): (Ino, &OsStr),
        (ino, kind): (Ino, FileKind),
    ) {
        if kind != FileKind::Directory {
            return;
        }
        let known = self.0.read().get(&ino).copied();
        if known.is_some_and(|known| known.place != epoch.place(parent, name)) {
            epoch.end();
        }
    }
}

/// The path of a name in a directory, or of an inode, from the root of a mount; empty if none leads there.
pub(super) fn path(tree: &dyn FileSystem, (at, name): (Ino, Option<&OsStr>)) -> Vec<u8> {
    let mut names: Vec<OsString> = name.map(OsStr::to_owned).into_iter().collect();
    let mut above = at;
    while above != Ino::ROOT {
        let Ok((parent, name)) = tree.parent(above) else { return Vec::new() };
        names.push(name);
        above = parent;
    }
    let names = names.iter().rev();
    names.flat_map(|name| [b"/", name.as_encoded_bytes()].concat()).collect()
}
