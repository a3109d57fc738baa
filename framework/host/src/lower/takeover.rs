//! What the tree writes down for the worker after this one, and takes over from the one before.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use hsci_extension::Ino;

use super::LowerTree;
use super::inodes::Inode;
use super::opens::{OPENS, Opens};
use crate::name::Name;
use crate::sys::handle::Handle;
use crate::takeover::{DescriptorSender, Entries, Inherited, KnownInode, TakeoverState};

/// The ways to what outlives this worker.
pub(crate) struct Takeover {
    pub(crate) state: Arc<TakeoverState>,
    pub(crate) descriptors: DescriptorSender,
}

impl LowerTree {
    /// Before the kernel is told of an inode once more, for a user; true if that user is to give some back. Inodes
    /// that an extension makes up are its own business.
    pub(crate) fn tell(&self, ino: Ino, user: u32) -> bool {
        let Some(inode) = self.takeover.as_ref().and_then(|_| self.inodes.find(ino)) else {
            return false;
        };
        self.log(|entries| {
            if inode.told(1) {
                entries.told(ino.0);
            } else {
                add_inode(entries, &inode, 1);
            }
        });
        self.inodes.charge(&inode, user)
    }

    /// Inodes of which the kernel is to forget what it does not use, for a user has made it know too many.
    pub(crate) fn surplus_of(&self, user: u32) -> Vec<Ino> {
        self.inodes.surplus_of(user)
    }

    /// The kernel has forgotten lookups of an inode. To be written down before anything is done about
    /// it: afterwards the number may belong to another inode, of which the kernel is told.
    pub(crate) fn forgotten(&self, ino: Ino, lookups: u64) {
        let Some(inode) = self.takeover.as_ref().and_then(|_| self.inodes.find(ino)) else {
            return;
        };
        self.log(|entries| {
            inode.untold(lookups);
            entries.forgotten(ino.0, lookups);
            if !inode.is_told() {
                let name = inode.name();
                entries.gone(handle_bytes(&inode), name_of(name.as_ref()));
            }
        });
    }

    /// A request is about to swap two names, the first of which leads to an inode.
    pub(crate) fn swapping(&self, unique: u64, ino: Ino) {
        self.log(|entries| entries.swap(unique, ino.0));
    }

    /// Where the first of two names led before the last worker swapped them for a request.
    pub(crate) fn swapped(&self, unique: u64) -> Option<Ino> {
        self.takeover.as_ref()?.state.swapped(unique).map(Ino)
    }

    /// Another name leads to an inode now, or none.
    pub(super) fn log_name(&self, inode: &Inode) {
        if inode.is_told() {
            self.log(|entries| add_inode(entries, inode, 0));
        }
    }

    pub(super) fn note(&self, inode: &Inode, about: u64, note: &[u8]) {
        self.log(|entries| {
            inode.notes_to_change().entry(about).or_default().extend_from_slice(note);
            entries.note(inode.ino.0, about, note);
        });
    }

    /// What the host itself has noted of the opens of a file.
    pub(crate) fn opens(&self, ino: Ino) -> Opens {
        let inode = self.inodes.find(ino);
        inode
            .and_then(|inode| inode.notes()?.get(&OPENS).map(|notes| Opens::read(notes)))
            .unwrap_or_default()
    }

    /// The files of which opens are noted.
    pub(crate) fn with_opens(&self) -> Vec<Ino> {
        let mut found = Vec::new();
        self.inodes.for_each(|inode| {
            if inode.notes().is_some_and(|notes| notes.contains_key(&OPENS)) {
                found.push(inode.ino);
            }
        });
        found
    }

    /// Notes the opens of a file, in place of those that were noted before. The caller keeps the inode as long as
    /// there are any.
    pub(crate) fn set_opens(&self, ino: Ino, opens: &Opens) {
        let Some(inode) = self.inodes.find(ino) else { return };
        if opens.is_none() {
            return self.drop_notes(&inode, OPENS);
        }
        let note = opens.to_note();
        self.log(|entries| {
            let mut notes = inode.notes_to_change();
            let kept = notes.entry(OPENS).or_default();
            kept.clear();
            kept.extend_from_slice(&note);
            entries.note(ino.0, OPENS, &note);
        });
    }

    pub(super) fn drop_notes(&self, inode: &Inode, about: u64) {
        if inode.notes().is_some_and(|notes| notes.contains_key(&about)) {
            self.log(|entries| {
                inode.notes_to_change().remove(&about);
                entries.written(inode.ino.0, about);
            });
        }
    }

    /// Keeps an inode alive that is about to lose its last name, beyond this worker's death.
    pub(super) fn keep_beyond_worker(&self, inode: &Inode, descriptor: &OwnedFd) {
        if let Some(takeover) = self.takeover.as_ref().filter(|_| inode.is_told())
            && let Err(errno) = takeover.descriptors.keep(inode.ino.0, descriptor.as_fd())
        {
            log::warn!("inode {} would not survive this worker: {errno}", inode.ino.0);
        }
    }

    /// True if it was kept alive.
    pub(super) fn release_kept(&self, ino: Ino) -> bool {
        self.takeover.as_ref().is_some_and(|takeover| takeover.descriptors.release(ino.0))
    }

    fn log(&self, add: impl FnOnce(&mut Entries<'_>)) {
        let Some(takeover) = &self.takeover else { return };
        takeover.state.log(add, |entries| {
            self.inodes.for_each(|inode| {
                let notes = inode.notes();
                let notes = notes.as_deref();
                if inode.is_told() || notes.is_some_and(|notes| !notes.is_empty()) {
                    add_inode(entries, inode, inode.times_told());
                }
                for (about, note) in notes.into_iter().flatten() {
                    entries.note(inode.ino.0, *about, note);
                }
            });
        });
    }

    /// Takes over what the worker before knew. `pins` are the descriptors of unlinked files.
    pub(super) fn take_over(&self, inherited: &Inherited, mut pins: HashMap<u64, OwnedFd>) {
        for (number, known) in &inherited.inodes {
            let handle = (!known.handle.is_empty()).then(|| Handle::from_bytes(&known.handle));
            let inode = Inode::new(Ino(*number), known.device, known.number, handle);
            if !known.notes.is_empty() {
                *inode.notes_to_change() = known.notes.clone();
            }
            if let Some(pin) = pins.remove(number) {
                let owner = super::attributes::stat_of(&pin).map_or(0, |stat| stat.stx_uid);
                inode.pin(Arc::new(pin), Some(self.shares.inherit(owner)));
            }
            self.inodes.restore(inode, known.lookups);
        }
        // The worker before has forgotten the others, and did not come to let go of them.
        for ino in pins.into_keys() {
            self.release_kept(Ino(ino));
        }
        for (number, KnownInode { name, .. }) in &inherited.inodes {
            if let Some((parent, name)) = name
                && let Some(inode) = self.inodes.find(Ino(*number))
            {
                let gone = self.inodes.set_name(&inode, Ino(*parent), name);
                debug_assert!(gone.is_empty(), "it had no name before");
            }
        }
    }
}

fn add_inode(entries: &mut Entries<'_>, inode: &Inode, lookups: u64) {
    let name = inode.name();
    let place = (inode.device, inode.number);
    entries.inode(inode.ino.0, place, lookups, handle_bytes(inode), name_of(name.as_ref()));
}

/// Empty where the lower file system makes none.
fn handle_bytes(inode: &Inode) -> &[u8] {
    inode.handle.as_ref().map_or(&[], Handle::bytes)
}

fn name_of(name: Option<&(Ino, Name)>) -> Option<(u64, &OsStr)> {
    name.map(|(parent, name)| (parent.0, &**name))
}
