//! What can be done to a disk, and what a sync makes durable.

use std::ffi::OsString;
use std::sync::Arc;

use super::{Inode, Name, State};

/// One call that changes something.
#[derive(Clone)]
pub(in crate::tests) enum Change {
    Write {
        ino: u64,
        offset: u64,
        data: Arc<[u8]>,
    },
    SetLen {
        ino: u64,
        len: u64,
    },
    Punch {
        ino: u64,
        offset: u64,
        len: u64,
    },
    Reserve {
        ino: u64,
        offset: u64,
        len: u64,
    },
    Times {
        ino: u64,
        accessed: u64,
        modified: u64,
    },
    Attribute {
        ino: u64,
        name: OsString,
        value: Option<Vec<u8>>,
    },
    /// What names lead to from now on, all at once; with a new inode, if one of them is its first.
    Names {
        new: Option<(u64, Box<Inode>)>,
        entries: Vec<(Name, Option<u64>)>,
    },
}

/// A step in the life of a disk.
#[derive(Clone)]
pub(in crate::tests) enum Event {
    Change { clock: u64, change: Change },
    Sync(Covers),
}

/// Which changes a sync waits for.
#[derive(Clone, Copy, Debug)]
pub(in crate::tests) enum Covers {
    /// Content and length of a file.
    Data(u64),
    /// Everything about a file but its names.
    File(u64),
    /// The names in a directory.
    Names(u64),
    All,
}

impl Change {
    /// The file whose content changes.
    pub(super) fn content_of(&self) -> Option<u64> {
        match self {
            Self::Write { ino, .. }
            | Self::SetLen { ino, .. }
            | Self::Punch { ino, .. }
            | Self::Reserve { ino, .. } => Some(*ino),
            Self::Times { .. } | Self::Attribute { .. } | Self::Names { .. } => None,
        }
    }

    /// The file that must be there.
    pub(super) fn file(&self) -> Option<u64> {
        match self {
            Self::Times { ino, .. } | Self::Attribute { ino, .. } => Some(*ino),
            _ => self.content_of(),
        }
    }

    pub(super) fn apply(&self, state: &mut State, clock: u64) {
        if let Some(ino) = self.content_of() {
            let inode = state.inodes.get_mut(&ino).expect("inodes outlive their changes");
            inode.modified = clock;
        }
        match self {
            Self::Write { ino, offset, data } => state.write(*ino, *offset, data),
            Self::SetLen { ino, len } => state.file(*ino).now.set_len(*len),
            Self::Punch { ino, offset, len } => state.file(*ino).now.punch(*offset, *len),
            Self::Reserve { ino, offset, len } => state.file(*ino).now.reserve(*offset, *len),
            Self::Times { ino, accessed, modified } => {
                let inode = state.file(*ino);
                (inode.accessed, inode.modified) = (*accessed, *modified);
            }
            Self::Attribute { ino, name, value } => {
                let xattrs = &mut state.file(*ino).xattrs;
                match value {
                    Some(value) => drop(xattrs.insert(name.clone(), value.clone())),
                    None => drop(xattrs.remove(name)),
                }
            }
            Self::Names { new, entries } => {
                if let Some((ino, inode)) = new {
                    state.inodes.entry(*ino).or_insert_with(|| (**inode).clone());
                }
                for (name, ino) in entries {
                    match ino {
                        Some(ino) => drop(state.names.insert(name.clone(), *ino)),
                        None => drop(state.names.remove(name)),
                    }
                }
            }
        }
    }
}

impl Covers {
    pub(super) fn covers(self, change: &Change) -> bool {
        match self {
            Self::All => true,
            Self::Data(ino) => change.content_of() == Some(ino),
            Self::File(ino) => change.file() == Some(ino),
            // Moving a name from one directory to another is one step: it lasts as a whole.
            Self::Names(dir) => {
                matches!(change, Change::Names { entries, .. }
                    if entries.iter().any(|((of, _), _)| *of == dir))
            }
        }
    }
}

impl State {
    pub(super) fn file(&mut self, ino: u64) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("inodes outlive their changes")
    }

    pub(super) fn write(&mut self, ino: u64, offset: u64, data: &[u8]) {
        self.file(ino).now.write_long(offset, data);
    }
}
