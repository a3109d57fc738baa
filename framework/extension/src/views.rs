//! Files that exist in no directory: each is a view of one that does, beside it under a name of its own.
//!
//! A view can be read and nothing else, by those who may read the file. Its inode has the number of the file's with one
//! bit more, and holds the file's lookups: the next worker knows it without having been told. A real file of
//! the same name hides it.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Attr, Call, DirEntry, Entry, Errno, Error, FallocateFlags, FileKind, Ino, Kernel, Layer,
    LowerFile, OpenFlags, Opened, RenameFlags, Result, SetAttr, Stack, StatFs, Whence, XattrFlags,
};

/// Tells views from files: numbers of files, whatever file system they are on, are smaller.
const VIEW: u64 = 1 << 63;

/// What is shown, and under which names.
pub trait View: Send + Sync + 'static {
    /// The name of the view of a file of this name.
    fn name(&self, file: &OsStr) -> Option<OsString>;

    /// The name of the file of which one of this name would be the view.
    fn file_name(&self, view: &OsStr) -> Option<OsString>;

    /// False if the file has none after all.
    fn is_there(&self, file: &File<'_>) -> Result<bool>;

    /// Its length. Asked for with each `stat`.
    fn len(&self, file: &File<'_>) -> Result<u64>;

    /// Reads from it at `offset`; returns fewer bytes than asked for only at the end.
    fn read(&self, file: &File<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize>;
}

/// The file that a view is of.
pub struct File<'a> {
    lower: &'a Stack,
    attr: &'a Attr,
    ino: Ino,
}

impl File<'_> {
    /// Its attributes.
    #[must_use]
    pub fn attr(&self) -> &Attr {
        self.attr
    }

    /// Its inode.
    #[must_use]
    pub fn ino(&self) -> Ino {
        self.ino
    }

    /// Reads from it; returns fewer bytes than asked for only at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.lower.read(&Call::internal(), self.ino, offset, buffer)
    }
}

/// A layer with views of the files below.
pub struct Views<V> {
    view: V,
    lower: Arc<Stack>,
    kernel: Arc<dyn Kernel>,
}

fn is_view(ino: Ino) -> bool {
    ino.0 & VIEW != 0
}

/// The file that is stored.
fn stored(ino: Ino) -> Ino {
    Ino(ino.0 & !VIEW)
}

/// A notice reaches the kernel after the answer to the call that it is about, which may be too late for the next call
/// of the same program. So whether there is a view is asked each time.
const UNREMEMBERED: Option<Duration> = Some(Duration::ZERO);

fn refuse(ino: Ino) -> Result<()> {
    if is_view(ino) { Err(Errno::ROFS.into()) } else { Ok(()) }
}

impl<V: View> Views<V> {
    /// Shows views of what is in `lower`.
    pub fn new(view: V, lower: Arc<Stack>, kernel: Arc<dyn Kernel>) -> Self {
        Self { view, lower, kernel }
    }

    fn source<'a>(&'a self, ino: Ino, attr: &'a Attr) -> File<'a> {
        File { lower: &*self.lower, attr, ino }
    }

    /// The attributes of the view of a file.
    fn attr(&self, ino: Ino, of: &Attr) -> Result<Attr> {
        let size = self.view.len(&self.source(ino, of))?;
        Ok(Attr { ino: of.ino | VIEW, mode: of.mode & 0o444, nlink: 1, size, ..of.clone() })
    }

    /// The file of which a name is the view, with one lookup of it.
    fn find(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        let missing = || Error::from(Errno::NOENT);
        let file = self.view.file_name(name).ok_or_else(missing)?;
        let entry = self.lower.lookup(call, parent, &file)?;
        let is_there = entry.attr.kind == FileKind::Regular
            && self.view.is_there(&self.source(entry.ino, &entry.attr)).unwrap_or(false);
        if is_there {
            return Ok(entry);
        }
        self.lower.forget(entry.ino, 1);
        Err(missing())
    }

    /// What is said of a name that was not found below: no view can be removed or renamed. Another one is gone, which is
    /// what those want to know who send a request again.
    fn missing(&self, call: &Call, parent: Ino, name: &OsStr) -> Error {
        match self.find(call, parent, name) {
            Ok(file) => {
                self.lower.forget(file.ino, 1);
                Errno::ROFS.into()
            }
            Err(_) => Errno::NOENT.into(),
        }
    }

    /// A file has changed, and its view with it.
    fn changed(&self, ino: Ino) {
        if self.lower.parent(ino).is_ok_and(|(_, name)| self.view.name(&name).is_some()) {
            self.kernel.invalidate_content(Ino(ino.0 | VIEW));
        }
    }

    /// A name came or went, and a view with it.
    fn moved(&self, parent: Ino, name: &OsStr) {
        if let Some(view) = self.view.name(name) {
            self.kernel.invalidate_entry(parent, &view);
        }
    }
}

/// Operations that are the same for a view as for its file.
macro_rules! same {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, call: &Call, ino: Ino, $($argument: $type),*) -> Result<$answer> {
            self.lower.$name(call, stored(ino), $($argument),*)
        })*
    };
}

/// Operations that change a file. A view is not changed.
macro_rules! changing {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, call: &Call, ino: Ino, $($argument: $type),*) -> Result<$answer> {
            refuse(ino)?;
            let done = self.lower.$name(call, ino, $($argument),*)?;
            self.changed(ino);
            Ok(done)
        })*
    };
}

impl<V: View> Layer for Views<V> {
    fn lower(&self) -> &Stack {
        &*self.lower
    }

    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        match self.lower.lookup(call, parent, name) {
            Err(Error::Lower(Errno::NOENT)) => {}
            found => return found,
        }
        let Entry { ino, attr, .. } = self.find(call, parent, name)?;
        match self.attr(ino, &attr) {
            Ok(attr) => {
                let view = Entry::new(Ino(ino.0 | VIEW), attr);
                Ok(Entry { ttl: UNREMEMBERED, ..view })
            }
            Err(error) => {
                self.lower.forget(ino, 1);
                Err(error)
            }
        }
    }

    fn absent_ttl(&self, call: &Call, parent: Ino, name: &OsStr) -> Option<Duration> {
        match self.view.file_name(name) {
            Some(_) => UNREMEMBERED,
            None => self.lower.absent_ttl(call, parent, name),
        }
    }

    fn readdir(&self, call: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        let is_taken = |name: &OsStr| {
            let found = self.lower.lookup(call, ino, name);
            found.map(|entry| self.lower.forget(entry.ino, 1)).is_ok()
        };
        let is_there = |name: &OsStr| {
            let found = self.find(call, ino, name);
            found.map(|file| self.lower.forget(file.ino, 1)).is_ok()
        };
        let size = |entry: &DirEntry| entry.name.len() + 24;
        let mut all = Vec::new();
        let mut left = budget;
        // A listing goes on after a file and its view, so both are in it or none.
        for entry in self.lower.readdir(call, ino, cookie, budget)? {
            let may_have = entry.kind.is_none_or(|kind| kind == FileKind::Regular);
            let name = self.view.name(&entry.name).filter(|_| may_have);
            let name = name.filter(|name| !is_taken(name) && is_there(name));
            let kind = Some(FileKind::Regular);
            let view = name.map(|name| DirEntry::new(name, entry.ino | VIEW, kind, entry.next));
            let taken = size(&entry) + view.as_ref().map_or(0, size);
            if taken > left && !all.is_empty() {
                break;
            }
            left = left.saturating_sub(taken);
            all.push(entry);
            all.extend(view);
        }
        Ok(all)
    }

    fn retain(&self, ino: Ino) -> Result<()> {
        self.lower.retain(stored(ino))
    }

    fn forget(&self, ino: Ino, lookups: u64) -> bool {
        self.lower.forget(stored(ino), lookups)
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        let (parent, name) = self.lower.parent(stored(ino))?;
        let view = if is_view(ino) { self.view.name(&name) } else { None };
        Ok((parent, view.unwrap_or(name)))
    }

    fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr> {
        let attr = self.lower.getattr(call, stored(ino))?;
        if is_view(ino) { self.attr(stored(ino), &attr) } else { Ok(attr) }
    }

    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if !is_view(ino) {
            return self.lower.read(call, ino, offset, buffer);
        }
        let attr = self.lower.getattr(call, stored(ino))?;
        self.view.read(&self.source(stored(ino), &attr), offset, buffer)
    }

    fn lseek(&self, call: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        if !is_view(ino) {
            return self.lower.lseek(call, ino, offset, whence);
        }
        let len = self.getattr(call, ino)?.size;
        match whence {
            _ if offset >= len => Err(Errno::NXIO.into()),
            Whence::Data => Ok(offset),
            Whence::Hole => Ok(len),
        }
    }

    same! {
        fn open(flags: OpenFlags) -> Opened;
        fn flush() -> ();
        fn fsync(data_only: bool) -> ();
        fn statfs() -> StatFs;
        fn getxattr(name: &OsStr) -> Vec<u8>;
        fn listxattr() -> Vec<OsString>;
        fn control_get(name: &str) -> Vec<u8>;
    }

    changing! {
        fn setattr(changes: &SetAttr) -> Attr;
        fn write(offset: u64, data: &[u8]) -> ();
        fn fallocate(mode: FallocateFlags, offset: u64, len: u64) -> ();
        fn setxattr(name: &OsStr, value: &[u8], flags: XattrFlags) -> ();
        fn removexattr(name: &OsStr) -> ();
        fn control_set(name: &str, value: &[u8]) -> ();
    }

    fn release(&self, ino: Ino, handle: u64) -> Result<()> {
        self.lower.release(stored(ino), handle)
    }

    fn drop_privileges(&self, ino: Ino) -> Result<()> {
        self.lower.drop_privileges(stored(ino))
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        if is_view(ino) { Err(Error::Unsupported) } else { self.lower.file(ino) }
    }

    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        refuse(to.0)?;
        // The kernel copies by reading and writing then.
        refuse(from.0).map_err(|_| Errno::XDEV)?;
        let copied = self.lower.copy_file_range(call, from, to, len)?;
        self.changed(to.0);
        Ok(copied)
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        let made = self.lower.mknod(call, parent, name, mode, rdev)?;
        self.moved(parent, name);
        Ok(made)
    }

    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        refuse(ino)?;
        let made = self.lower.link(call, ino, parent, name)?;
        self.moved(parent, name);
        Ok(made)
    }

    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        match self.lower.unlink(call, parent, name) {
            Err(Error::Lower(Errno::NOENT)) => Err(self.missing(call, parent, name)),
            done => done.map(|()| self.moved(parent, name)),
        }
    }

    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        match self.lower.rename(call, from, to, flags) {
            Err(Error::Lower(Errno::NOENT)) => return Err(self.missing(call, from.0, from.1)),
            done => done?,
        }
        self.moved(from.0, from.1);
        self.moved(to.0, to.1);
        Ok(())
    }
}
