//! The bytes of a sparse file in memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

pub(super) const PAGE: usize = 4096;

/// Pages that are missing are holes.
#[derive(Clone, Default)]
pub(super) struct Pages {
    pub(super) len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Pages {
    pub(super) fn count(&self) -> u64 {
        self.pages.len() as u64
    }

    pub(super) fn has(&self, page: u64) -> bool {
        self.pages.contains_key(&page)
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let wanted = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (mut at, mut rest) = (offset, &mut buffer[..wanted]);
        while !rest.is_empty() {
            let start = at as usize % PAGE;
            let (part, behind) = rest.split_at_mut((PAGE - start).min(rest.len()));
            match self.pages.get(&(at / PAGE as u64)) {
                Some(page) => part.copy_from_slice(&page[start..start + part.len()]),
                None => part.fill(0),
            }
            at += part.len() as u64;
            rest = behind;
        }
        wanted
    }

    /// Writes within one page.
    fn write(&mut self, offset: u64, data: &[u8]) {
        let (page, start) = (offset / PAGE as u64, offset as usize % PAGE);
        let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
        Arc::make_mut(page)[start..start + data.len()].copy_from_slice(data);
        self.len = self.len.max(offset + data.len() as u64);
    }

    pub(super) fn write_long(&mut self, offset: u64, data: &[u8]) {
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(PAGE - at as usize % PAGE));
            self.write(at, part);
            at += part.len() as u64;
            rest = behind;
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE as u64));
            if let Some(page) = self.pages.get_mut(&(len / PAGE as u64)) {
                Arc::make_mut(page)[len as usize % PAGE..].fill(0);
            }
        }
        self.len = len;
    }

    /// Makes a range zeros; whole pages become holes.
    pub(super) fn punch(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        for page in offset / PAGE as u64..end.div_ceil(PAGE as u64) {
            let first = page * PAGE as u64;
            if offset <= first && first + PAGE as u64 <= end {
                self.pages.remove(&page);
            } else if let Some(bytes) = self.pages.get_mut(&page) {
                let start = offset.saturating_sub(first) as usize;
                let stop = (end - first).min(PAGE as u64) as usize;
                Arc::make_mut(bytes)[start..stop].fill(0);
            }
        }
    }

    /// Takes space without changing what is read.
    pub(super) fn reserve(&mut self, offset: u64, len: u64) {
        for page in offset / PAGE as u64..(offset + len).div_ceil(PAGE as u64) {
            self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
        }
    }

    /// The next position of data (or of a hole), if there is one before the end.
    pub(super) fn seek(&self, offset: u64, data: bool) -> Option<u64> {
        if offset >= self.len {
            return None;
        }
        let mut page = offset / PAGE as u64;
        if data {
            page = *self.pages.range(page..).next()?.0;
        } else {
            while self.has(page) {
                page += 1;
            }
        }
        let found = (page * PAGE as u64).max(offset);
        if data && found >= self.len { None } else { Some(found.min(self.len)) }
    }
}

impl Pages {
    /// Tells files apart by what they hold.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        digest.write_u64(self.len);
        for (number, page) in &self.pages {
            digest.write_u64(*number);
            digest.write(&page[..]);
        }
        digest.finish()
    }
}
