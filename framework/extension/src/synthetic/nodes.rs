//! The names of a synthetic tree, and the numbers that follow from them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::SystemTime;

use super::Provider;
use crate::{Errno, Error, Ino, Result};

/// Tells synthetic inodes from stored ones: numbers of files, whatever file system they are on, are smaller.
const SYNTHETIC: u64 = 1 << 62;
/// Positions in a listing that follow all of those of stored names.
pub(super) const AFTER: u64 = 1 << 63;

/// A synthetic directory or file.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) parent: Ino,
    pub(super) name: OsString,
    pub(super) mode: u32,
    pub(super) made: SystemTime,
    /// `None` for a directory.
    pub(super) provider: Option<Arc<dyn Provider>>,
}

#[derive(Default)]
pub(super) struct Nodes {
    pub(super) by_ino: HashMap<Ino, Node>,
    /// What is in each directory that has something.
    pub(super) children: HashMap<Ino, BTreeMap<OsString, Ino>>,
}

pub(super) fn is_synthetic(ino: Ino) -> bool {
    ino.0 & (SYNTHETIC | AFTER) == SYNTHETIC
}

/// The number of a name in a directory: FNV-1a, so that every worker gives it.
fn number(parent: Ino, name: &OsStr) -> Ino {
    let bytes = parent.0.to_le_bytes().into_iter().chain(name.as_bytes().iter().copied());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    Ino(hash & (SYNTHETIC - 1) | SYNTHETIC)
}

/// The names on the way to a path below the root, of which there is at least one.
pub(super) fn names(path: &Path) -> Result<Vec<&OsStr>> {
    let names = path.components().map(|component| match component {
        Component::Normal(name) => Ok(name),
        _ => Err(Error::Invalid(format!("{}: not a path below the root", path.display()))),
    });
    let names = names.collect::<Result<Vec<_>>>()?;
    if names.is_empty() { Err(Error::Invalid("an empty path".to_owned())) } else { Ok(names) }
}

impl Nodes {
    pub(super) fn child(&self, parent: Ino, name: &OsStr) -> Option<Ino> {
        self.children.get(&parent)?.get(name).copied()
    }

    pub(super) fn node(&self, ino: Ino) -> Result<&Node> {
        self.by_ino.get(&ino).ok_or(Error::Lower(Errno::STALE))
    }

    pub(super) fn find(&self, path: &Path) -> Result<Ino> {
        names(path)?.into_iter().try_fold(Ino::ROOT, |parent, name| {
            self.child(parent, name).ok_or(Error::Lower(Errno::NOENT))
        })
    }

    /// Adds a name. Two names with one number, which nobody will see, are refused.
    pub(super) fn add(&mut self, node: Node) -> Result<Ino> {
        let ino = number(node.parent, &node.name);
        if self.by_ino.contains_key(&ino) {
            return Err(Errno::EXIST.into());
        }
        self.children.entry(node.parent).or_default().insert(node.name.clone(), ino);
        self.by_ino.insert(ino, node);
        Ok(ino)
    }

    pub(super) fn remove(&mut self, ino: Ino) -> Option<Node> {
        let below = self.children.remove(&ino).unwrap_or_default();
        below.into_values().for_each(|child| drop(self.remove(child)));
        let node = self.by_ino.remove(&ino)?;
        if let Some(siblings) = self.children.get_mut(&node.parent) {
            siblings.remove(&node.name);
        }
        Some(node)
    }
}
