//! A layer without a mount.

use std::ffi::OsStr;

use super::subject::{Stat, Subject};
use crate::{
    Attr, Call, FallocateFlags, FileSystem, Ino, RenameFlags, Result, SetAttr, SetTime, Times,
    Whence,
};

const REGULAR: u32 = 0o100_000;

pub(super) struct Layer<'a> {
    top: &'a dyn FileSystem,
    disturb: &'a (dyn Fn() + Sync),
    call: Call,
    directory: Ino,
    name: String,
}

/// One lookup.
pub(super) struct Known<'a> {
    top: &'a dyn FileSystem,
    ino: Ino,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.top.forget(self.ino, 1);
    }
}

impl<'a> Layer<'a> {
    pub(super) fn start(
        top: &'a dyn FileSystem,
        name: &str,
        disturb: &'a (dyn Fn() + Sync),
    ) -> Result<Self> {
        let call = Call::new(0, 0, 0);
        let directory = top.mkdir(&call, Ino::ROOT, OsStr::new(name), 0o755)?.ino;
        Ok(Self { top, disturb, call, directory, name: name.to_owned() })
    }
}

fn stat(attr: &Attr) -> Stat {
    Stat {
        ino: attr.ino,
        size: attr.size,
        nlink: attr.nlink.into(),
        mode: attr.mode,
        modified: attr.mtime,
    }
}

impl<'a> Subject for Layer<'a> {
    type File = Known<'a>;

    fn create(&self, name: &str) -> Result<Known<'a>> {
        let mode = REGULAR | 0o644;
        let entry = self.top.mknod(&self.call, self.directory, OsStr::new(name), mode, 0)?;
        Ok(Known { top: self.top, ino: entry.ino })
    }

    fn open(&self, name: &str) -> Result<Known<'a>> {
        let entry = self.top.lookup(&self.call, self.directory, OsStr::new(name))?;
        Ok(Known { top: self.top, ino: entry.ino })
    }

    fn read(&self, file: &Known<'a>, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xee; len];
        let read = self.top.read(&self.call, file.ino, offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn write(&self, file: &Known<'a>, offset: u64, data: &[u8]) -> Result<()> {
        self.top.write(&self.call, file.ino, offset, data)
    }

    fn set_len(&self, file: &Known<'a>, len: u64) -> Result<()> {
        let changes = SetAttr::of_size(len);
        self.top.setattr(&self.call, file.ino, &changes).map(drop)
    }

    fn set_times(&self, file: &Known<'a>, times: &Times) -> Result<()> {
        let at = |time| Some(SetTime::At(time));
        let changes = SetAttr::of_times(at(times.accessed), at(times.modified));
        self.top.setattr(&self.call, file.ino, &changes).map(drop)
    }

    fn sync(&self, file: &Known<'a>) -> Result<()> {
        self.top.fsync(&self.call, file.ino, false)
    }

    fn allocate(
        &self,
        file: &Known<'a>,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.top.fallocate(&self.call, file.ino, mode, offset, len)
    }

    fn seek(&self, file: &Known<'a>, offset: u64, whence: Whence) -> Result<u64> {
        self.top.lseek(&self.call, file.ino, offset, whence)
    }

    fn copy(&self, from: (&Known<'a>, u64), to: (&Known<'a>, u64), len: u64) -> Result<u64> {
        self.top.copy_file_range(&self.call, (from.0.ino, from.1), (to.0.ino, to.1), len)
    }

    fn stat(&self, file: &Known<'a>) -> Result<Stat> {
        Ok(stat(&self.top.getattr(&self.call, file.ino)?))
    }

    fn stat_name(&self, name: &str) -> Result<Stat> {
        let entry = self.top.lookup(&self.call, self.directory, OsStr::new(name))?;
        self.top.forget(entry.ino, 1);
        Ok(stat(&entry.attr))
    }

    fn link(&self, from: &str, to: &str) -> Result<()> {
        let known = self.open(from)?;
        let entry = self.top.link(&self.call, known.ino, self.directory, OsStr::new(to))?;
        self.top.forget(entry.ino, 1);
        Ok(())
    }

    fn unlink(&self, name: &str) -> Result<()> {
        self.top.unlink(&self.call, self.directory, OsStr::new(name))
    }

    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        self.top.rename(
            &self.call,
            (self.directory, OsStr::new(from)),
            (self.directory, OsStr::new(to)),
            flags,
        )
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut cookie = 0;
        loop {
            let entries = self.top.readdir(&self.call, self.directory, cookie, 512)?;
            let Some(last) = entries.last() else { break };
            cookie = last.next;
            names.extend(entries.iter().map(|entry| entry.name.to_string_lossy().into_owned()));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    fn disturb(&self) {
        (self.disturb)();
    }

    fn clean(self) -> Result<()> {
        for name in self.list()? {
            self.unlink(&name)?;
        }
        self.top.rmdir(&self.call, Ino::ROOT, OsStr::new(&self.name))?;
        self.top.forget(self.directory, 1);
        Ok(())
    }
}
