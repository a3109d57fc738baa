//! A file of this layer as the lower file of the next: content extensions stack.

use std::sync::Arc;

use super::files::Files;
use crate::{
    Call, Content, Credentials, FallocateFlags, FileId, Lifetime, LowerFile, OpenFile, Result,
    SetAttr, SetTime, Times, Whence,
};

/// The content of one open file.
pub(super) struct ContentFile<C: Content> {
    pub(super) files: Arc<Files<C>>,
    pub(super) open: Arc<OpenFile<C>>,
    /// What lies below; asked for its lasting name.
    pub(super) lower: Arc<dyn LowerFile>,
}

impl<C: Content> LowerFile for ContentFile<C> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.files.read(&self.open, &Call::internal(), offset, buffer)
    }

    fn write_at(&self, by: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        self.files.write(&self.open, &Call::on_behalf_of(by), offset, data)
    }

    fn len(&self) -> Result<u64> {
        self.files.content().len(&self.open.read())
    }

    fn blocks(&self) -> Result<u64> {
        self.lower.blocks()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let changes = SetAttr::of_size(len);
        self.files.truncate(&self.open, &Call::internal(), len, &changes)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.files.content().sync(&self.open, data_only)
    }

    fn reserve(&self, by: Credentials, offset: u64, len: u64) -> Result<()> {
        let mode = FallocateFlags::KEEP_SIZE;
        self.files.fallocate(&self.open, &Call::on_behalf_of(by), mode, offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.files.fallocate(&self.open, &Call::internal(), mode, offset, len)
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        self.files.seek(&self.open, offset, whence)
    }

    fn times(&self) -> Result<Times> {
        let state = self.open.read();
        self.files.content().times(&state).map_or_else(|| self.lower.times(), Ok)
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        let at = |time| Some(SetTime::At(time));
        let changes = SetAttr::of_times(at(times.accessed), at(times.modified));
        self.files.set_attributes(&self.open, &Call::internal(), &changes).map(drop)
    }

    fn id(&self) -> Result<FileId> {
        self.lower.id()
    }

    fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.lower.attribute(name)
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<()> {
        self.lower.set_attribute(name, value)
    }

    fn remove_attribute(&self, name: &str) -> Result<()> {
        self.lower.remove_attribute(name)
    }

    fn note(&self, about: u64, note: &[u8]) {
        self.lower.note(about, note);
    }

    fn notes(&self, about: u64) -> Vec<u8> {
        self.lower.notes(about)
    }

    fn lifetime(&self) -> Lifetime {
        self.lower.lifetime()
    }

    fn keep_privileges(&self, again: bool) -> Result<()> {
        self.lower.keep_privileges(again)
    }

    fn restore_privileges(&self) {
        self.lower.restore_privileges();
    }

    fn drop_privileges(&self) -> Result<()> {
        self.lower.drop_privileges()
    }

    fn is_fixed(&self) -> Result<bool> {
        self.lower.is_fixed()
    }

    fn is_open_elsewhere(&self) -> Result<bool> {
        self.lower.is_open_elsewhere()
    }

    fn max_len(&self) -> u64 {
        self.lower.max_len()
    }

    fn drop_notes(&self, about: u64) {
        self.lower.drop_notes(about);
    }
}
