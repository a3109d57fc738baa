//! One inode.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::SystemTime;

use crate::testkit::{Change, Forgetful, Kept, MemoryFile};
use crate::{
    Attr, Call, DirEntry, Errno, FileKind, Ino, LowerFile, Result, SetAttr, SetTime, Times,
};

const SET_GROUP: u32 = 0o2000;
const SET_USER: u32 = 0o4000;
const GROUP_EXECUTE: u32 = 0o0010;

#[derive(Clone)]
pub(super) struct Node {
    pub(super) kind: FileKind,
    pub(super) mode: u32,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u64,
    /// Times of everything but the content of regular files.
    pub(super) times: Times,
    pub(super) ctime: SystemTime,
    pub(super) xattrs: BTreeMap<OsString, Vec<u8>>,
    pub(super) lookups: u64,
    /// The name by which it was last met.
    pub(super) name: Option<(Ino, OsString)>,
    pub(super) body: Body,
}

#[derive(Clone)]
pub(super) enum Body {
    File(Arc<Forgetful>),
    /// With the directory above.
    Directory(Ino, Entries),
    Symlink(OsString),
    Special,
}

/// The names of a directory, with cookies that stay good while others come and go.
#[derive(Clone, Default)]
pub(super) struct Entries {
    by_cookie: BTreeMap<u64, (OsString, Ino)>,
}

/// The cookies of `.` and `..` come first.
const DOTS: u64 = 2;

impl Entries {
    pub(super) fn find(&self, name: &OsStr) -> Option<Ino> {
        self.by_cookie.values().find(|entry| entry.0 == name).map(|entry| entry.1)
    }

    pub(super) fn insert(&mut self, name: &OsStr, ino: Ino) {
        let cookie = self.by_cookie.last_key_value().map_or(DOTS, |(cookie, _)| *cookie) + 1;
        self.by_cookie.insert(cookie, (name.to_owned(), ino));
    }

    /// Makes a name that is there lead elsewhere.
    pub(super) fn replace(&mut self, name: &OsStr, ino: Ino) {
        for entry in self.by_cookie.values_mut().filter(|entry| entry.0 == name) {
            entry.1 = ino;
        }
    }

    pub(super) fn remove(&mut self, name: &OsStr) {
        self.by_cookie.retain(|_, entry| entry.0 != name);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_cookie.is_empty()
    }

    /// The entries behind `cookie`, without dots; types are left out, as some file systems do.
    pub(super) fn after(&self, cookie: u64) -> impl Iterator<Item = DirEntry> + '_ {
        let behind = self.by_cookie.range(cookie.max(DOTS) + 1..);
        behind.map(|(cookie, (name, ino))| DirEntry {
            name: name.clone(),
            ino: ino.0,
            kind: None,
            next: *cookie,
        })
    }
}

impl Node {
    pub(super) fn new(call: &Call, kind: FileKind, mode: u32, body: Body) -> Self {
        let now = SystemTime::now();
        Self {
            kind,
            mode: mode & 0o7777 & !call.umask,
            nlink: 1,
            uid: call.uid,
            gid: call.gid,
            rdev: 0,
            times: Times { accessed: now, modified: now },
            ctime: now,
            xattrs: BTreeMap::new(),
            lookups: 0,
            name: None,
            body,
        }
    }

    pub(super) fn file(call: &Call, mode: u32, ino: Ino) -> Self {
        let content = Arc::new(Forgetful::new(MemoryFile::new(ino.0)));
        Self::new(call, FileKind::Regular, mode, Body::File(content))
    }

    pub(super) fn directory(call: &Call, mode: u32, above: Ino) -> Self {
        let body = Body::Directory(above, Entries::default());
        Self { nlink: 2, ..Self::new(call, FileKind::Directory, mode, body) }
    }

    /// The node as a crash leaves it.
    pub(super) fn crash(&self, keep: &mut dyn FnMut(&Change) -> Kept) -> Self {
        let body = match &self.body {
            Body::File(file) => Body::File(Arc::new(Forgetful::new(file.crash(keep)))),
            other => other.clone(),
        };
        Self { body, lookups: 0, name: None, ..self.clone() }
    }

    pub(super) fn content(&self) -> Result<Arc<Forgetful>> {
        match &self.body {
            Body::File(file) => Ok(Arc::clone(file)),
            Body::Directory(..) => Err(Errno::ISDIR.into()),
            Body::Symlink(_) | Body::Special => Err(Errno::INVAL.into()),
        }
    }

    pub(super) fn entries(&self) -> Result<(Ino, &Entries)> {
        match &self.body {
            Body::Directory(above, entries) => Ok((*above, entries)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// The entries, about to be changed.
    pub(super) fn entries_mut(&mut self) -> Result<&mut Entries> {
        self.times.modified = SystemTime::now();
        self.ctime = self.times.modified;
        match &mut self.body {
            Body::Directory(_, entries) => Ok(entries),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn attr(&self, ino: Ino) -> Result<Attr> {
        let (size, blocks, times) = match &self.body {
            Body::File(file) => (file.len()?, file.blocks()?, file.times()?),
            Body::Directory(..) => (4096, 8, self.times),
            Body::Symlink(target) => (target.len() as u64, 0, self.times),
            Body::Special => (0, 0, self.times),
        };
        Ok(Attr {
            ino: ino.0,
            kind: self.kind,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size,
            blocks,
            block_size: 4096,
            atime: times.accessed,
            mtime: times.modified,
            ctime: self.ctime.max(times.modified.min(SystemTime::now())),
        })
    }

    pub(super) fn clear_privileges(&mut self) {
        self.mode &= !SET_USER;
        if self.mode & GROUP_EXECUTE != 0 {
            self.mode &= !SET_GROUP;
        }
    }

    /// Everything but the size.
    pub(super) fn change(&mut self, changes: &SetAttr) -> Result<()> {
        if changes.uid.is_some() || changes.gid.is_some() {
            self.uid = changes.uid.unwrap_or(self.uid);
            self.gid = changes.gid.unwrap_or(self.gid);
            self.clear_privileges();
        }
        self.mode = changes.mode.unwrap_or(self.mode);
        let now = SystemTime::now();
        let time = |set: Option<SetTime>, old| match set {
            None => old,
            Some(SetTime::Now) => now,
            Some(SetTime::At(time)) => time,
        };
        if changes.atime.is_some() || changes.mtime.is_some() {
            let old = match &self.body {
                Body::File(file) => file.times()?,
                _ => self.times,
            };
            self.times = Times {
                accessed: time(changes.atime, old.accessed),
                modified: time(changes.mtime, old.modified),
            };
            if let Body::File(file) = &self.body {
                file.set_times(&self.times)?;
            }
        }
        self.ctime = now;
        Ok(())
    }

    /// Group and mode of what is made in this directory.
    pub(super) fn inherit(&self, child: &mut Self) {
        if self.mode & SET_GROUP != 0 {
            child.gid = self.gid;
            if child.kind == FileKind::Directory {
                child.mode |= SET_GROUP;
            }
        }
    }
}
