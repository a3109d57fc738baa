//! One file of the disk.

use std::ffi::OsStr;
use std::sync::Arc;

use hsci_extension::{
    Credentials, Errno, Error, FileId, Ino, Lifetime, LowerFile, Result, Times, Whence,
};

use super::{Carried, Change, Covers, Disk, Event, PAGE, clock, time};

pub(super) struct DiskFile {
    pub(super) disk: Disk,
    pub(super) ino: u64,
}

impl DiskFile {
    fn change(&self, change: Change) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        state.apply(change)
    }
}

impl LowerFile for DiskFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut state = self.disk.0.lock();
        state.reads += 1;
        let failed = state.look().err();
        // A read that fails may have filled a part of the buffer.
        let usable = if failed.is_some() { buffer.len() / 2 } else { buffer.len() };
        let read = state.inode(self.ino)?.now.read(offset, &mut buffer[..usable]);
        failed.map_or(Ok(read), Err)
    }

    fn write_at(&self, _: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.disk.0.lock();
        let failed = state.begin().err();
        let mut usable = match (&failed, state.fate.carried) {
            (None, _) | (_, Carried::All) => data.len(),
            (_, Carried::Half) => data.len() / 2,
            (_, Carried::Nothing) => 0,
        };
        let mut full = None;
        if state.fate.capacity > 0 {
            // A full disk takes what fits.
            let mut at = 0;
            while at < usable && full.is_none() {
                let part = (usable - at).min(PAGE - (offset as usize + at) % PAGE);
                full = state.check_room(self.ino, offset, (at + part) as u64).err();
                at += if full.is_none() { part } else { 0 };
            }
            usable = at;
        }
        if usable > 0 {
            let data = Arc::from(&data[..usable]);
            state.apply(Change::Write { ino: self.ino, offset, data })?;
        }
        full.or(failed).map_or(Ok(()), Err)
    }

    fn len(&self) -> Result<u64> {
        let mut state = self.disk.0.lock();
        state.look()?;
        Ok(state.inode(self.ino)?.now.len)
    }

    fn blocks(&self) -> Result<u64> {
        self.disk.0.lock().look()?;
        Ok(self.disk.attr(Ino(self.ino))?.blocks)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(Change::SetLen { ino: self.ino, len })
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        state.inode(self.ino)?;
        let covers = if data_only { Covers::Data(self.ino) } else { Covers::File(self.ino) };
        state.record(Event::Sync(covers));
        Ok(())
    }

    fn reserve(&self, _: Credentials, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        state.check_room(self.ino, offset, len)?;
        state.apply(Change::Reserve { ino: self.ino, offset, len })
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        let end = (offset + len).min(state.inode(self.ino)?.now.len);
        state.apply(Change::Punch { ino: self.ino, offset, len: end.saturating_sub(offset) })
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        let mut state = self.disk.0.lock();
        state.look()?;
        let found = state.inode(self.ino)?.now.seek(offset, whence == Whence::Data);
        found.ok_or(Error::Lower(Errno::NXIO))
    }

    fn times(&self) -> Result<Times> {
        let mut state = self.disk.0.lock();
        state.look()?;
        let inode = state.inode(self.ino)?;
        Ok(Times::new(time(inode.accessed), time(inode.modified)))
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        let (accessed, modified) = (clock(times.accessed), clock(times.modified));
        self.change(Change::Times { ino: self.ino, accessed, modified })
    }

    fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let mut state = self.disk.0.lock();
        state.look()?;
        Ok(state.inode(self.ino)?.xattrs.get(OsStr::new(name)).cloned())
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<()> {
        self.change(Change::Attribute {
            ino: self.ino,
            name: name.into(),
            value: Some(value.to_vec()),
        })
    }

    fn remove_attribute(&self, name: &str) -> Result<()> {
        if self.attribute(name)?.is_none() {
            return Err(Error::NoAttribute);
        }
        self.change(Change::Attribute { ino: self.ino, name: name.into(), value: None })
    }

    fn lifetime(&self) -> Lifetime {
        self.disk.0.lock().lifetime
    }

    fn id(&self) -> Result<FileId> {
        self.disk.0.lock().look()?;
        Ok(FileId(self.ino.to_le_bytes().to_vec()))
    }
}
