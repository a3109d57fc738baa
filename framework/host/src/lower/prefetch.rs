//! What a listing will ask of each name, read before its turn comes: the handle of its inode, and the attribute that an
//! extension keeps with it.
//!
//! A name leads to the inode that it led to, and an attribute is what it was, while no name of the store is taken or
//! moved and no attribute changed, which all happens here. What is prefetched counts only as long, and only for an inode
//! whose time of change is the same.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use hsci_extension::{Ino, RESERVED_NAME};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::by_name::Moves;
use super::{LowerTree, device_of};
use crate::name::Name;
use crate::sys::handle::Handle;
use crate::sys::xattr;

/// Entries that are kept, as many as a table of 4,096 takes: with more, the listings are not as expected.
const MOST: usize = 3584;
/// Directories that are remembered as looked at.
const MOST_LOOKED: usize = 1024;
/// Names, and directories below the first one, that are looked at in one go.
const MOST_NAMES: usize = 4096;
const MOST_BELOW: usize = 8;
/// Bytes of names that are listed at a time.
const NAMES: usize = 16 << 10;
/// Names whose entries are kept at a time.
const TOGETHER: usize = 32;
/// What a name leads to, without any other file system.
const HERE: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);
/// The longest value that is kept.
const VALUE: usize = 64;

thread_local! {
    static LISTING: RefCell<Option<Making>> = const { RefCell::new(None) };
}

#[derive(Default)]
pub(super) struct Prefetched {
    /// What was found out of inodes on the root's own file system, by number.
    of: Mutex<HashMap<u64, Seen>>,
    /// How often attributes were changed.
    attributes: Moves,
    /// The attribute that is asked for in listings.
    asked: OnceLock<Box<str>>,
    /// Directories whose names were found out, by number, until they are listed.
    looked: Mutex<HashSet<u64>>,
}

/// How far to look.
struct Room {
    names: usize,
    directories: usize,
}

struct Seen {
    /// When the inode was last changed, in nanoseconds since 1970.
    changed: i64,
    state: State,
    handle: Option<Handle>,
    attribute: Option<Value>,
}

/// `None` where the inode has no such attribute.
type Value = Option<Vec<u8>>;

/// How often names were moved and attributes changed, together: neither ever becomes less.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

/// The thread makes a listing.
#[derive(Default)]
struct Making {
    /// What was prefetched of the name that it has looked up.
    attribute: Option<(Ino, State, Value)>,
}

/// Until it is dropped, this thread makes a listing.
pub(crate) struct Listing(());

impl Listing {
    pub(crate) fn begin() -> Self {
        LISTING.set(Some(Making::default()));
        Self(())
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        LISTING.set(None);
    }
}

impl Prefetched {
    /// An attribute is being changed.
    pub(super) fn change(&self) -> super::by_name::Moving<'_> {
        self.attributes.begin()
    }

    /// The kernel has a directory's listing.
    pub(super) fn was_listed(&self, directory: u64) {
        self.looked.lock().remove(&directory);
    }

    /// True if a directory is to be looked at: it was not before.
    fn begins_with(&self, directory: u64) -> bool {
        let mut looked = self.looked.lock();
        if looked.len() >= MOST_LOOKED && !looked.contains(&directory) {
            looked.clear();
        }
        looked.insert(directory)
    }

    fn keep(&self, seen: &mut Vec<(u64, Seen)>) {
        let mut of = self.of.lock();
        if of.len() + seen.len() > MOST {
            of.clear();
        }
        of.extend(seen.drain(..));
    }
}

impl LowerTree {
    /// `None` while something changes.
    fn state(&self) -> Option<State> {
        Some(State(self.moves.count()? + self.prefetched.attributes.count()?))
    }

    /// A directory will be listed soon, and those below it in their order: has the lower file system bring the inodes of
    /// their names into memory, and finds out what will be asked of these.
    pub(crate) fn look_ahead(&self, directory: Ino) {
        let Some(inode) = self.inodes.find(directory) else { return };
        let is_due = !inode.was_listed() && self.inodes.is_at_home(&inode);
        if is_due
            && self.prefetched.begins_with(inode.number)
            && let Ok(opened) = self.reopen_quietly(&inode, OFlags::RDONLY | OFlags::DIRECTORY)
        {
            let mut room = Room { names: MOST_NAMES, directories: MOST_BELOW };
            self.look_into(&opened, directory == Ino::ROOT, &mut room);
        }
    }

    fn look_into(&self, directory: &OwnedFd, is_root: bool, room: &mut Room) {
        let mut below = Vec::new();
        let mut prefetched = Vec::with_capacity(TOGETHER);
        let mut buffer = [MaybeUninit::uninit(); NAMES];
        let mut raw = RawDir::new(directory, &mut buffer);
        while let Some(Ok(entry)) = raw.next()
            && let Some(left) = room.names.checked_sub(1)
        {
            let (name, state) = (entry.file_name(), self.state());
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            room.names = left;
            let Ok(stat) = statx(directory, name, HERE, StatxFlags::BASIC_STATS) else { continue };
            if let Some(state) = state {
                prefetched.extend(self.prefetch(directory.as_fd(), name, &stat, state));
            }
            let kind = FileType::from_raw_mode(stat.stx_mode.into());
            let is_own = kind == FileType::Directory && self.inodes.is_own(device_of(&stat));
            let is_reserved = is_root && name.to_bytes() == RESERVED_NAME.as_bytes();
            if is_own && !is_reserved && below.len() < room.directories {
                below.push((name.to_owned(), stat.stx_ino));
            }
            if prefetched.len() == TOGETHER {
                self.prefetched.keep(&mut prefetched);
            }
        }
        self.prefetched.keep(&mut prefetched);
        self.look_below(directory, &below, room);
    }

    fn look_below(&self, directory: &OwnedFd, below: &[(CString, u64)], room: &mut Room) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (name, number) in below {
            let Some(left) = room.directories.checked_sub(1) else { return };
            room.directories = left;
            if self.inodes.find(Ino(*number)).is_some_and(|inode| inode.was_listed())
                || !self.prefetched.begins_with(*number)
            {
                continue;
            }
            // Where its time of access would be changed, it has to wait for its turn.
            let opened = openat(directory, name, flags | OFlags::NOATIME, Mode::empty());
            if let Ok(opened) = opened {
                self.look_into(&opened, false, room);
            }
        }
    }

    /// Finds out what will be asked of a name in a directory.
    fn prefetch(
        &self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        stat: &Statx,
        state: State,
    ) -> Option<(u64, Seen)> {
        let number = stat.stx_ino;
        let known = self.inodes.find(Ino(number));
        // What the kernel knows was listed before this came to it.
        if !self.inodes.is_own(device_of(stat)) || known.as_ref().is_some_and(|it| it.is_told()) {
            return None;
        }
        let handle = if known.is_some() { None } else { Handle::of(directory, name).ok() };
        let is_regular = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
        let read = |attribute: &str| {
            let mut value = [0; VALUE];
            let attribute = Name::new(attribute);
            match xattr::get_at(directory, name, attribute.c_str().ok()?, &mut value) {
                Ok(len) => Some(Some(value[..len].to_vec())),
                Err(Errno::NODATA) => Some(None),
                Err(_) => None,
            }
        };
        let attribute = self.prefetched.asked.get().filter(|_| is_regular).and_then(|it| read(it));
        Some((number, Seen { changed: changed(stat), state, handle, attribute }))
    }

    /// The handle of an inode that this thread has met in a listing, if it was prefetched. The attribute is asked for
    /// next.
    pub(super) fn prefetched_handle(&self, stat: &Statx) -> Option<Handle> {
        LISTING.with_borrow_mut(|listing| {
            let listing = listing.as_mut()?;
            listing.attribute = None;
            if !self.inodes.is_own(device_of(stat)) {
                return None;
            }
            let seen = self.prefetched.of.lock().remove(&stat.stx_ino)?;
            if seen.changed != changed(stat) || self.state() != Some(seen.state) {
                return None;
            }
            listing.attribute = seen.attribute.map(|value| (Ino(stat.stx_ino), seen.state, value));
            seen.handle
        })
    }

    /// The attribute of an inode that this thread has just met in a listing, if it was prefetched.
    pub(super) fn prefetched_attribute(&self, ino: Ino, name: &str) -> Option<Value> {
        LISTING.with_borrow_mut(|listing| {
            let listing = listing.as_mut()?;
            let asked = self.prefetched.asked.get_or_init(|| name.into());
            let (of, state, value) = listing.attribute.take()?;
            let holds = of == ino && **asked == *name && self.state() == Some(state);
            holds.then_some(value)
        })
    }
}

fn changed(stat: &Statx) -> i64 {
    let seconds = stat.stx_ctime.tv_sec.wrapping_mul(1_000_000_000);
    seconds.wrapping_add(stat.stx_ctime.tv_nsec.into())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::sync::Arc;

    use hsci_extension::{Call, FileSystem as _, RenameFlags, XattrFlags};
    use rustix::process::{getgid, getuid};

    use super::*;

    const ATTRIBUTE: &str = "user.prefetched";

    /// `top/a` has the attribute, `top/b` and `top/below/c` have not.
    struct Rig {
        tree: Arc<LowerTree>,
        directory: tempfile::TempDir,
        top: Ino,
    }

    impl Rig {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let top = directory.path().join("top");
            fs::create_dir_all(top.join("below")).expect("directories");
            for name in ["a", "b", "below/c"] {
                fs::write(top.join(name), name).expect("a file");
            }
            rustix::fs::setxattr(top.join("a"), ATTRIBUTE, b"x", rustix::fs::XattrFlags::empty())
                .expect("an attribute");
            let root = fs::File::open(directory.path()).expect("open it");
            let tree = LowerTree::open(root.into()).expect("serve it");
            let top = tree.lookup(&me(), Ino::ROOT, OsStr::new("top")).expect("it is there").ino;
            tree.prefetched.asked.set(ATTRIBUTE.into()).expect("nothing was asked for before");
            tree.look_ahead(top);
            Self { tree, directory, top }
        }

        /// What was prefetched of a name's attribute, in a listing of a directory.
        fn attribute(&self, directory: Ino, name: &str) -> Option<Value> {
            let _listing = Listing::begin();
            self.in_listing(directory, name)
        }

        fn in_listing(&self, directory: Ino, name: &str) -> Option<Value> {
            let entry = self.tree.lookup(&me(), directory, OsStr::new(name)).expect("it is there");
            self.tree.prefetched_attribute(entry.ino, ATTRIBUTE)
        }

        fn has_handle(&self, name: &str) -> bool {
            let top = self.directory.path().join("top");
            let stat = statx(rustix::fs::CWD, top.join(name), HERE, StatxFlags::BASIC_STATS);
            let _listing = Listing::begin();
            let prefetched = self.tree.prefetched_handle(&stat.expect("it is there"));
            let top = fs::File::open(top).expect("open it");
            let handle = Handle::of(top.as_fd(), Name::new(name).c_str().expect("a name"));
            prefetched.is_some() && prefetched == handle.ok()
        }
    }

    fn me() -> Call {
        Call::new(getuid().as_raw(), getgid().as_raw(), 0)
    }

    #[test]
    fn a_listing_finds_what_was_prefetched_once() {
        let rig = Rig::new();
        assert_eq!(rig.attribute(rig.top, "a"), Some(Some(b"x".to_vec())));
        assert_eq!(rig.attribute(rig.top, "a"), None);
        assert!(rig.has_handle("b"));
        let below = rig.tree.lookup(&me(), rig.top, OsStr::new("below")).expect("it is there").ino;
        assert_eq!(rig.attribute(below, "c"), Some(None));
    }

    #[test]
    fn nothing_counts_outside_of_a_listing_or_of_another_inode() {
        let rig = Rig::new();
        assert_eq!(rig.in_listing(rig.top, "a"), None);
        let _listing = Listing::begin();
        let b = rig.tree.lookup(&me(), rig.top, OsStr::new("b")).expect("it is there").ino;
        let a = rig.tree.lookup(&me(), rig.top, OsStr::new("a")).expect("it is there").ino;
        assert_eq!(rig.tree.prefetched_attribute(b, ATTRIBUTE), None);
        assert_eq!(rig.tree.prefetched_attribute(a, ATTRIBUTE), None);
    }

    #[test]
    fn what_changes_is_not_prefetched() {
        let rig = Rig::new();
        let (a, b) = (OsStr::new("a"), OsStr::new("b"));
        rig.tree
            .rename(&me(), (rig.top, b), (rig.top, OsStr::new("d")), RenameFlags::empty())
            .expect("moved");
        assert!(!rig.has_handle("a"));

        let rig = Rig::new();
        let ino = rig.tree.lookup(&me(), rig.top, b).expect("it is there").ino;
        let none = XattrFlags::empty();
        rig.tree.setxattr(&me(), ino, OsStr::new(ATTRIBUTE), b"y", none).expect("set");
        assert_eq!(rig.attribute(rig.top, "a"), None);

        // By somebody else.
        let rig = Rig::new();
        let path = rig.directory.path().join("top").join(a);
        rustix::fs::setxattr(path, ATTRIBUTE, b"z", rustix::fs::XattrFlags::empty()).expect("set");
        assert_eq!(rig.attribute(rig.top, "a"), None);

        // Between the look-up and the question.
        let rig = Rig::new();
        let _listing = Listing::begin();
        let ino = rig.tree.lookup(&me(), rig.top, a).expect("it is there").ino;
        rig.tree.setxattr(&me(), ino, OsStr::new(ATTRIBUTE), b"y", none).expect("set");
        assert_eq!(rig.tree.prefetched_attribute(ino, ATTRIBUTE), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let prefetched = Prefetched::default();
        let state = State(0);
        for number in 0..3 * MOST as u64 {
            let seen = Seen { changed: 0, state, handle: None, attribute: None };
            prefetched.keep(&mut vec![(number, seen)]);
            assert!(prefetched.begins_with(number) && !prefetched.begins_with(number));
        }
        assert!(
            prefetched.of.lock().len() <= MOST && prefetched.looked.lock().len() <= MOST_LOOKED
        );
        prefetched.was_listed(3 * MOST as u64 - 1);
        assert!(prefetched.begins_with(3 * MOST as u64 - 1));
    }
}
