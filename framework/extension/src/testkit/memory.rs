//! A lower file in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::{Credentials, Errno, FileId, LowerFile, Result, Times, Whence};

const PAGE: u64 = 4096;

/// A sparse file in memory.
#[derive(Debug)]
pub struct MemoryFile {
    id: u64,
    content: Mutex<Content>,
}

#[derive(Clone, Debug)]
struct Content {
    len: u64,
    /// By number; what is missing is a hole.
    pages: BTreeMap<u64, Box<[u8]>>,
    /// Pages that take space without holding data.
    reserved: BTreeSet<u64>,
    times: Times,
}

impl MemoryFile {
    /// An empty file; its lasting name is made from `id`.
    #[must_use]
    pub fn new(id: u64) -> Self {
        let now = SystemTime::now();
        let times = Times { accessed: now, modified: now };
        let content = Content { len: 0, pages: BTreeMap::new(), reserved: BTreeSet::new(), times };
        Self { id, content: Mutex::new(content) }
    }

    /// A file with this content.
    #[must_use]
    pub fn with_bytes(id: u64, bytes: &[u8]) -> Self {
        let file = Self::new(id);
        file.content.lock().write(0, bytes);
        file
    }

    /// All bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let content = self.content.lock();
        let mut bytes = vec![0; content.len as usize];
        content.read(0, &mut bytes);
        bytes
    }

    /// A copy that goes its own way.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self { id: self.id, content: Mutex::new(self.content.lock().clone()) }
    }
}

impl Content {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let len = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let (page, start) = split(offset + done as u64);
            let step = (len - done).min(PAGE as usize - start);
            match self.pages.get(&page) {
                Some(data) => {
                    buffer[done..done + step].copy_from_slice(&data[start..start + step]);
                }
                None => buffer[done..done + step].fill(0),
            }
            done += step;
        }
        len
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let (page, start) = split(offset + done as u64);
            let step = (data.len() - done).min(PAGE as usize - start);
            let bytes = self.pages.entry(page).or_insert_with(|| vec![0; PAGE as usize].into());
            bytes[start..start + step].copy_from_slice(&data[done..done + step]);
            self.reserved.remove(&page);
            done += step;
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
        self.times.modified = SystemTime::now();
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.erase(len, self.len);
            let _ = self.pages.split_off(&len.div_ceil(PAGE));
            let _ = self.reserved.split_off(&len.div_ceil(PAGE));
        }
        self.len = len;
        self.times.modified = SystemTime::now();
    }

    /// Makes a range read as zeros; whole pages of it become holes.
    fn erase(&mut self, from: u64, to: u64) {
        let whole = from.div_ceil(PAGE)..to / PAGE;
        self.reserved.retain(|page| !whole.contains(page));
        self.pages.retain(|page, _| !whole.contains(page));
        for (page, bytes) in self.pages.range_mut(from / PAGE..to.div_ceil(PAGE)) {
            let base = page * PAGE;
            let start = from.saturating_sub(base) as usize;
            bytes[start..(to - base).min(PAGE) as usize].fill(0);
        }
    }

    fn seek(&self, offset: u64, whence: Whence) -> Option<u64> {
        let first = offset / PAGE;
        let page = match whence {
            Whence::Data => *self.pages.range(first..).next()?.0,
            Whence::Hole => (first..).find(|page| !self.pages.contains_key(page))?,
        };
        let found = (page * PAGE).max(offset);
        match whence {
            Whence::Data => (found < self.len).then_some(found),
            Whence::Hole => Some(found.min(self.len)),
        }
    }
}

fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE, (offset % PAGE) as usize)
}

impl LowerFile for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.content.lock().read(offset, buffer))
    }

    fn write_at(&self, _: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        self.content.lock().write(offset, data);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.content.lock().len)
    }

    fn blocks(&self) -> Result<u64> {
        let content = self.content.lock();
        Ok((content.pages.len() + content.reserved.len()) as u64 * (PAGE / 512))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.content.lock().set_len(len);
        Ok(())
    }

    fn sync(&self, _: bool) -> Result<()> {
        Ok(())
    }

    fn reserve(&self, _: Credentials, offset: u64, len: u64) -> Result<()> {
        let Content { pages, reserved, .. } = &mut *self.content.lock();
        let range = offset / PAGE..(offset + len).div_ceil(PAGE);
        reserved.extend(range.filter(|page| !pages.contains_key(page)));
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut content = self.content.lock();
        content.erase(offset, offset.saturating_add(len));
        content.times.modified = SystemTime::now();
        Ok(())
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        let content = self.content.lock();
        let found = if offset < content.len { content.seek(offset, whence) } else { None };
        found.ok_or_else(|| Errno::NXIO.into())
    }

    fn times(&self) -> Result<Times> {
        Ok(self.content.lock().times)
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        self.content.lock().times = *times;
        Ok(())
    }

    fn id(&self) -> Result<FileId> {
        Ok(FileId(self.id.to_le_bytes().to_vec()))
    }
}
