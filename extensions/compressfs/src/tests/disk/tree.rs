//! Names and attributes of the disk's files.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use hsci_extension::{
    Attr, Call, DirEntry, Entry, Errno, Error, FileKind, Ino, Layer, LowerFile, Nothing,
    RenameFlags, Result, SetAttr, SetTime, Stack, XattrFlags,
};

use super::{Change, Covers, Disk, Event, ROOT, STORE, clock};

impl Disk {
    fn entry(&self, ino: u64) -> Result<Entry> {
        Ok(Entry::new(Ino(ino), self.attr(Ino(ino))?))
    }

    fn make(&self, call: &Call, parent: Ino, name: &OsStr, kind: FileKind) -> Result<Entry> {
        let ino = {
            let mut state = self.0.lock();
            state.begin()?;
            state.create(parent.0, name.to_owned(), kind, call.uid)?
        };
        self.entry(ino)
    }
}

impl Layer for Disk {
    fn lower(&self) -> &Stack {
        &Nothing
    }

    fn lookup(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        let found = {
            let mut state = self.0.lock();
            state.look()?;
            state.find(parent.0, &name.to_owned())?
        };
        self.entry(found)
    }

    fn retain(&self, _: Ino) -> Result<()> {
        Ok(())
    }

    fn forget(&self, _: Ino, _: u64) -> bool {
        false
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        let state = self.0.lock();
        let name = state.names.iter().find(|(_, known)| **known == ino.0);
        let ((dir, name), _) = name.ok_or(Error::Lower(Errno::NOENT))?;
        Ok((Ino(*dir), name.clone()))
    }

    fn getattr(&self, _: &Call, ino: Ino) -> Result<Attr> {
        self.0.lock().look()?;
        self.attr(ino)
    }

    fn setattr(&self, _: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        let mut state = self.0.lock();
        state.begin()?;
        let now = state.clock;
        let clock_of = |set| match set {
            SetTime::Now => now,
            SetTime::At(time) => clock(time),
        };
        let inode = state.inode(ino.0)?;
        let modified = changes.mtime.map_or(inode.modified, clock_of);
        let accessed = changes.atime.map_or(inode.accessed, clock_of);
        state.apply(Change::Times { ino: ino.0, accessed, modified })?;
        drop(state);
        self.attr(ino)
    }

    fn drop_privileges(&self, _: Ino) -> Result<()> {
        Ok(())
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, _: u32, _: u64) -> Result<Entry> {
        self.make(call, parent, name, FileKind::Regular)
    }

    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, _: u32) -> Result<Entry> {
        self.make(call, parent, name, FileKind::Directory)
    }

    fn unlink(&self, _: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        state.find(parent.0, &name.to_owned())?;
        let entries = vec![((parent.0, name.to_owned()), None)];
        state.apply(Change::Names { new: None, entries })
    }

    fn rename(
        &self,
        _: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        _: RenameFlags,
    ) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        let (from, to) = ((from.0.0, from.1.to_owned()), (to.0.0, to.1.to_owned()));
        let ino = state.find(from.0, &from.1)?;
        // Of two names of one file, none goes.
        if state.find(to.0, &to.1) == Ok(ino) {
            return Ok(());
        }
        state.apply(Change::Names { new: None, entries: vec![(from, None), (to, Some(ino))] })
    }

    fn link(&self, _: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        let mut state = self.0.lock();
        state.begin()?;
        if state.links(ino.0) == 0 {
            return Err(Error::Lower(Errno::NOENT));
        }
        if state.find(parent.0, &name.to_owned()).is_ok() {
            return Err(Error::Lower(Errno::EXIST));
        }
        let entries = vec![((parent.0, name.to_owned()), Some(ino.0))];
        state.apply(Change::Names { new: None, entries })?;
        drop(state);
        self.entry(ino.0)
    }

    fn fsyncdir(&self, _: &Call, ino: Ino, _: bool) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        state.record(Event::Sync(Covers::Names(ino.0)));
        Ok(())
    }

    fn readdir(&self, _: &Call, dir: Ino, cookie: u64, _: usize) -> Result<Vec<DirEntry>> {
        let mut state = self.0.lock();
        state.look()?;
        debug_assert!(dir.0 != STORE, "nobody walks through the store");
        let entry = |(next, (name, ino)): (u64, (&OsString, u64))| {
            DirEntry::new(name, ino, Some(state.inodes[&ino].kind), next)
        };
        Ok((1..).zip(state.names_in(dir.0)).skip(cookie as usize).map(entry).collect())
    }

    fn getxattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        let mut state = self.0.lock();
        state.look()?;
        state.inode(ino.0)?.xattrs.get(name).cloned().ok_or(Error::NoAttribute)
    }

    fn listxattr(&self, _: &Call, ino: Ino) -> Result<Vec<OsString>> {
        Ok(self.0.lock().inode(ino.0)?.xattrs.keys().cloned().collect())
    }

    fn setxattr(
        &self,
        _: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        _: XattrFlags,
    ) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        let (name, value) = (name.to_owned(), Some(value.to_vec()));
        state.apply(Change::Attribute { ino: ino.0, name, value })
    }

    fn removexattr(&self, _: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        if !state.inode(ino.0)?.xattrs.contains_key(name) {
            return Err(Error::NoAttribute);
        }
        state.apply(Change::Attribute { ino: ino.0, name: name.to_owned(), value: None })
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        Ok(self.lower(ino))
    }

    fn shutdown(&self) {
        debug_assert!(self.0.lock().inodes.contains_key(&ROOT), "the root is always there");
    }
}
