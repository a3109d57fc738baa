//! The inode table: what the kernel knows, and how each inode is reached again.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use foldhash::fast::RandomState;
use hsci_extension::{Errno, Ino, Result};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::accounts::{Accounts, Surplus};
use super::descriptors::Access;
use super::listings::UNLISTED;
use super::shares::Share;
use crate::name::Name;
use crate::sys::handle::Handle;
use crate::takeover::Notes;

/// A lower inode that somebody above knows.
pub(super) struct Inode {
    pub(super) ino: Ino,
    /// Number and device on the lower file system.
    pub(super) number: u64,
    pub(super) device: u64,
    /// Absent where the lower file system makes none.
    pub(super) handle: Option<Handle>,
    /// The name by which it was last met; `None` for the root, and once that name is gone.
    name: Mutex<Option<(Ino, Box<OsStr>)>>,
    lookups: AtomicU64,
    /// Those of the lookups that are the kernel's, as far as it is written down for the next worker.
    told: AtomicU64,
    /// The user who has made the kernel know it, and one more; zero before.
    asker: AtomicU32,
    /// The second, since some start, in which a caller's read was last counted.
    pub(super) read_in: AtomicU32,
    /// Of a directory whose listing the kernel has: one more than how many times of access in it may be outdated before
    /// the listing is as well; one from then on. Zero before it had one.
    pub(super) listed_for: AtomicU32,
    /// What is known of its capabilities.
    capability: AtomicU8,
    rare: OnceLock<Box<Rare>>,
}

/// What [`Inode::capability`] says.
const UNKNOWN: u8 = 0;
const NONE: u8 = 1;
const POSSIBLE: u8 = 2;

/// What few inodes have, apart, so that the others take no memory for it.
#[derive(Default)]
struct Rare {
    /// What an extension would have to know of the file if this worker died.
    notes: Mutex<Notes>,
    /// The capabilities of the file, while the host changes its stored form.
    kept_capability: Mutex<Option<Box<[u8]>>>,
    /// Held from before the last name goes until the inode is forgotten, so that the content stays
    /// and the number cannot be used again.
    pin: Mutex<Option<Pin>>,
    /// A descriptor on the content, of an inode that is not in the table: the cache of descriptors
    /// goes by numbers, and this one's number may belong to another inode by now.
    own: Mutex<Option<Arc<OwnedFd>>>,
}

/// A descriptor that keeps an inode.
struct Pin {
    descriptor: Arc<OwnedFd>,
    access: Access,
    /// Of its owner, where it keeps what a caller has taken the last name of; not of what the host has open itself.
    share: Option<Share>,
}

impl Inode {
    pub(super) fn new(ino: Ino, device: u64, number: u64, handle: Option<Handle>) -> Self {
        Self {
            ino,
            number,
            device,
            handle,
            name: Mutex::new(None),
            lookups: AtomicU64::new(0),
            told: AtomicU64::new(0),
            asker: AtomicU32::new(0),
            read_in: AtomicU32::new(0),
            listed_for: AtomicU32::new(UNLISTED),
            capability: AtomicU8::new(UNKNOWN),
            rare: OnceLock::new(),
        }
    }

    /// The kernel has had its listing.
    pub(super) fn was_listed(&self) -> bool {
        self.listed_for.load(Ordering::Relaxed) != UNLISTED
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// `None` where nothing was ever noted.
    pub(super) fn notes(&self) -> Option<MutexGuard<'_, Notes>> {
        self.rare.get().map(|rare| rare.notes.lock())
    }

    pub(super) fn notes_to_change(&self) -> MutexGuard<'_, Notes> {
        self.rare().notes.lock()
    }

    /// True if there are no capabilities for certain. The kernel asks before a first write and a change of owner.
    pub(super) fn has_no_capability(&self) -> bool {
        self.capability.load(Ordering::Relaxed) == NONE
    }

    /// The file was made here just now, so that it has none but what somebody may have given it at once.
    pub(super) fn note_made(&self) {
        let relaxed = Ordering::Relaxed;
        let _ = self.capability.compare_exchange(UNKNOWN, NONE, relaxed, relaxed);
    }

    /// Capabilities are about to be set.
    pub(super) fn note_capability(&self) {
        self.capability.store(POSSIBLE, Ordering::Relaxed);
    }

    /// The capabilities that are kept; `None` where none were ever kept, which may change at once.
    pub(super) fn kept_capability(&self) -> Option<&Mutex<Option<Box<[u8]>>>> {
        self.rare.get().map(|rare| &rare.kept_capability)
    }

    /// The place for capabilities that are to be kept.
    pub(super) fn capability_to_keep(&self) -> &Mutex<Option<Box<[u8]>>> {
        &self.rare().kept_capability
    }

    pub(super) fn name(&self) -> Option<(Ino, Name)> {
        self.name.lock().as_ref().map(|(parent, name)| (*parent, Name::new(name)))
    }

    /// The directory of the name by which it was last met.
    pub(super) fn parent(&self) -> Option<Ino> {
        self.name.lock().as_ref().map(|(parent, _)| *parent)
    }

    /// True if this is the name by which it was last met.
    pub(super) fn has_name(&self, parent: Ino, name: &OsStr) -> bool {
        self.name.lock().as_ref().is_some_and(|known| known.0 == parent && &*known.1 == name)
    }

    /// True if it was not pinned before.
    pub(super) fn pin(&self, descriptor: Arc<OwnedFd>, share: Option<Share>) -> bool {
        let mut pin = self.rare().pin.lock();
        let is_new = pin.is_none();
        if is_new {
            *pin = Some(Pin { access: Access::of(&descriptor), descriptor, share });
        }
        is_new
    }

    /// A name leads to it. True if it was pinned.
    pub(super) fn unpin(&self) -> bool {
        self.rare.get().is_some_and(|rare| rare.pin.lock().take().is_some())
    }

    /// The kernel is told of it so many times more; true if it knew it before.
    pub(super) fn told(&self, times: u64) -> bool {
        self.told.fetch_add(times, Ordering::Relaxed) > 0
    }

    /// The user on whose account it is.
    pub(super) fn asker(&self) -> Option<u32> {
        self.asker.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(super) fn untold(&self, times: u64) {
        let left = |told: u64| Some(told.saturating_sub(times));
        let before = self.told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        if before.is_ok_and(|told| told <= times) {
            // Its listing is forgotten with it.
            self.listed_for.store(UNLISTED, Ordering::Relaxed);
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.times_told() > 0
    }

    pub(super) fn times_told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    pub(super) fn keep(&self, content: &Arc<OwnedFd>) {
        *self.rare().own.lock() = Some(Arc::clone(content));
    }

    pub(super) fn kept(&self) -> Option<Arc<OwnedFd>> {
        self.rare.get()?.own.lock().clone()
    }

    /// The descriptor that keeps it alive.
    pub(super) fn pinned(&self) -> Option<(Access, Arc<OwnedFd>)> {
        self.rare.get()?.pin.lock().as_ref().map(|pin| (pin.access, Arc::clone(&pin.descriptor)))
    }

    /// True if it has lost its last name, or is losing it.
    pub(super) fn is_nameless(&self) -> bool {
        let has_share = |pin: &Pin| pin.share.is_some();
        self.rare.get().is_some_and(|rare| rare.pin.lock().as_ref().is_some_and(has_share))
    }

    pub(super) fn generation(&self) -> u64 {
        self.handle.as_ref().map_or(0, Handle::generation)
    }
}

/// All inodes that are known above, by number.
pub(super) struct Inodes {
    known: DashMap<Ino, Arc<Inode>, RandomState>,
    /// Device of the root: inodes on others get numbers that are ours.
    device: u64,
    /// The root's is an overlay, whose files bear devices of its layers. Nothing else is reached from the host's own
    /// mount of the lower directory.
    is_layered: bool,
    accounts: Accounts,
    foreign: DashMap<(u64, u64), Ino>,
    next_foreign: AtomicU64,
}

/// Inodes that are not known any more: mostly one, for a directory stays with what is in it.
pub(super) type Gone = SmallVec<[Ino; 4]>;

/// Numbers for inodes on other devices than the root's: above what file systems hand out, below
/// those that extensions make up.
const FOREIGN: u64 = 1 << 62;

impl Inodes {
    pub(super) fn new(root: Inode, is_layered: bool, memory: u64) -> Self {
        let device = root.device;
        let known = DashMap::default();
        known.insert(Ino::ROOT, Arc::new(root));
        let (foreign, next_foreign) = (DashMap::new(), AtomicU64::new(FOREIGN));
        let accounts = Accounts::new(memory);
        Self { known, device, is_layered, accounts, foreign, next_foreign }
    }

    /// The number by which an inode of the lower file system is known above.
    pub(super) fn number(&self, device: u64, number: u64) -> Ino {
        if device == self.device && number != Ino::ROOT.0 && number < FOREIGN {
            return Ino(number);
        }
        *self
            .foreign
            .entry((device, number))
            .or_insert_with(|| Ino(self.next_foreign.fetch_add(1, Ordering::Relaxed)))
    }

    pub(super) fn get(&self, ino: Ino) -> Result<Arc<Inode>> {
        let inode = self.known.get(&ino).map(|inode| Arc::clone(&inode));
        inode.ok_or_else(|| Errno::STALE.into())
    }

    pub(super) fn find(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.known.get(&ino).map(|inode| Arc::clone(&inode))
    }

    /// Counts a lookup of an inode, which is made by `make` if it is not known.
    pub(super) fn found(
        &self,
        ino: Ino,
        make: impl FnOnce() -> Result<Inode>,
    ) -> Result<Arc<Inode>> {
        // Counted under the entry's lock, so that a forget at the same time sees it.
        let inode = match self.known.entry(ino) {
            Slot::Occupied(slot) => slot.into_ref(),
            Slot::Vacant(slot) => slot.insert(Arc::new(make()?)),
        };
        inode.lookups.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::clone(&inode))
    }

    /// Puts an inode into the table that the worker before has told the kernel of.
    pub(super) fn restore(&self, inode: Inode, lookups: u64) {
        if inode.ino.0 & FOREIGN != 0 {
            self.foreign.insert((inode.device, inode.number), inode.ino);
            self.next_foreign.fetch_max(inode.ino.0 + 1, Ordering::Relaxed);
        }
        inode.lookups.store(lookups, Ordering::Relaxed);
        inode.told.store(lookups, Ordering::Relaxed);
        self.known.insert(inode.ino, Arc::new(inode));
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(&Inode)) {
        for inode in &self.known {
            visit(&inode);
        }
    }

    pub(super) fn retain(&self, ino: Ino) -> Result<()> {
        let inode = self.known.get(&ino).ok_or(Errno::STALE)?;
        inode.lookups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// True if a device is that of the root's file system, or of a layer of it.
    pub(super) fn is_home(&self, device: u64) -> bool {
        self.is_layered || device == self.device
    }

    /// True if a device is that of the root: numbers of inodes on it are those by which they are known above.
    pub(super) fn is_own(&self, device: u64) -> bool {
        device == self.device
    }

    /// True if it is on the file system of the root.
    pub(super) fn is_at_home(&self, inode: &Inode) -> bool {
        self.is_home(inode.device)
    }

    /// True if this very inode is in the table, not another one of the same number.
    pub(super) fn has(&self, inode: &Inode) -> bool {
        self.known.get(&inode.ino).is_some_and(|known| std::ptr::eq(&**known, inode))
    }

    /// An inode was met by a name. Its directory stays known for as long as it is, as in the
    /// kernel, so that the way up is always open.
    ///
    /// Returns the inodes that are not known any more, as [`Inodes::forget`] does.
    pub(super) fn set_name(&self, inode: &Inode, parent: Ino, name: &OsStr) -> Gone {
        // Most lookups find the name that is known.
        if inode.has_name(parent, name) || self.retain(parent).is_err() {
            return Gone::new();
        }
        let before = inode.name.lock().replace((parent, name.into()));
        before.map_or_else(Gone::new, |(parent, _)| self.forget(parent, 1))
    }

    /// A name is gone; another one may be known since. Returns what [`Inodes::set_name`] does.
    pub(super) fn drop_name(&self, inode: &Inode, parent: Ino, name: &OsStr) -> Gone {
        let before = {
            let mut known = inode.name.lock();
            known.take_if(|known| known.0 == parent && &*known.1 == name)
        };
        before.map_or_else(Gone::new, |(parent, _)| self.forget(parent, 1))
    }

    /// Takes lookups back; returns all inodes that are not known any more: this one, and then the
    /// directories that only it has kept.
    pub(super) fn forget(&self, ino: Ino, lookups: u64) -> Gone {
        let mut gone = Gone::new();
        let (mut ino, mut lookups) = (ino, lookups);
        while ino != Ino::ROOT {
            let removed = self.known.remove_if(&ino, |_, inode| {
                let left = inode.lookups.load(Ordering::Relaxed).saturating_sub(lookups);
                inode.lookups.store(left, Ordering::Relaxed);
                left == 0
            });
            let Some((_, inode)) = removed else { break };
            if inode.ino.0 & FOREIGN != 0 {
                self.foreign.remove(&(inode.device, inode.number));
            }
            if let Some(user) = inode.asker() {
                self.accounts.remove(user);
            }
            gone.push(ino);
            let Some((parent, _)) = inode.name.lock().take() else { break };
            (ino, lookups) = (parent, 1);
        }
        gone
    }

    /// Puts an inode on the account of who has made the kernel know it; true if that user is to give some back.
    pub(super) fn charge(&self, inode: &Inode, user: u32) -> bool {
        // No user has the highest number.
        let asker = user.wrapping_add(1);
        let before = inode.asker.compare_exchange(0, asker, Ordering::Relaxed, Ordering::Relaxed);
        before.is_ok() && self.accounts.add(user)
    }

    /// What a user is to give back: each time others, for some may be in use.
    pub(super) fn surplus_of(&self, user: u32) -> Vec<Ino> {
        let Some(Surplus { after, count }) = self.accounts.surplus(user) else { return Vec::new() };
        let known = self.known.iter();
        let own = known.filter(|inode| inode.asker() == Some(user)).map(|inode| inode.ino);
        let own: Vec<_> = own.collect();
        let first = after % own.len().max(1);
        own[first..].iter().chain(&own[..first]).take(count).copied().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_forgotten_with_its_directory() {
        let inode = Inode::new(Ino(2), 0, 2, None);
        inode.told(2);
        inode.listed_for.store(7, Ordering::Relaxed);
        inode.untold(1);
        assert!(inode.was_listed());
        inode.untold(1);
        assert!(!inode.was_listed());
    }
}
