//! What the cases run on.

use std::time::SystemTime;

use crate::{FallocateFlags, RenameFlags, Result, Times, Whence};

/// A directory of one's own on a file system under test.
pub(super) trait Subject: Sync {
    /// A file in use.
    type File: Send + Sync;

    fn create(&self, name: &str) -> Result<Self::File>;
    fn open(&self, name: &str) -> Result<Self::File>;
    fn read(&self, file: &Self::File, offset: u64, len: usize) -> Result<Vec<u8>>;
    fn write(&self, file: &Self::File, offset: u64, data: &[u8]) -> Result<()>;
    fn set_len(&self, file: &Self::File, len: u64) -> Result<()>;
    fn set_times(&self, file: &Self::File, times: &Times) -> Result<()>;
    fn sync(&self, file: &Self::File) -> Result<()>;
    fn allocate(
        &self,
        file: &Self::File,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()>;
    fn seek(&self, file: &Self::File, offset: u64, whence: Whence) -> Result<u64>;
    fn copy(&self, from: (&Self::File, u64), to: (&Self::File, u64), len: u64) -> Result<u64>;
    fn stat(&self, file: &Self::File) -> Result<Stat>;

    fn stat_name(&self, name: &str) -> Result<Stat>;
    fn link(&self, from: &str, to: &str) -> Result<()>;
    fn unlink(&self, name: &str) -> Result<()>;
    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()>;
    /// All names, without dots.
    fn list(&self) -> Result<Vec<String>>;

    /// Forces the extension's work in the background.
    fn disturb(&self);
    /// Removes the directory and what is in it.
    fn clean(self) -> Result<()>;
}

/// The attributes that the cases look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) nlink: u64,
    pub(super) mode: u32,
    pub(super) modified: SystemTime,
}
