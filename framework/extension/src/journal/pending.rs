//! A file as a journal says that it is, where nothing may be written.

use std::sync::Arc;

use super::Change;
use crate::{Credentials, Errno, FileId, Lifetime, LowerFile, Result, Times, Whence};

/// A change that is kept.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl From<&Change<'_>> for Kept {
    fn from(change: &Change<'_>) -> Self {
        match *change {
            Change::Write(offset, data) => Self::Write(offset, data.to_vec()),
            Change::SetLen(len) => Self::SetLen(len),
        }
    }
}

impl Kept {
    /// The length after this change.
    fn len_after(&self, len: u64) -> u64 {
        match self {
            Self::Write(offset, data) => len.max(offset.saturating_add(data.len() as u64)),
            Self::SetLen(len) => *len,
        }
    }

    /// Changes what was read at an offset.
    fn apply(&self, offset: u64, buffer: &mut [u8]) {
        let place = |at: u64| {
            usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len())
        };
        match self {
            Self::Write(at, data) => {
                let end = at.saturating_add(data.len() as u64);
                let (from, to) = (place(*at), place(end));
                let skipped = offset.saturating_sub(*at).min(data.len() as u64) as usize;
                buffer[from..to].copy_from_slice(&data[skipped..skipped + (to - from)]);
            }
            Self::SetLen(len) => {
                let from = place(*len);
                buffer[from..].fill(0);
            }
        }
    }
}

/// A lower file with changes that are only in the journal.
pub(super) struct Pending {
    pub(super) file: Arc<dyn LowerFile>,
    pub(super) changes: Arc<[Kept]>,
}

fn refused<T>() -> Result<T> {
    Err(Errno::ROFS.into())
}

impl LowerFile for Pending {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let within = self.len()?.saturating_sub(offset);
        let len = buffer.len().min(usize::try_from(within).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..len];
        let read = self.file.read_at(offset, buffer)?;
        buffer[read..].fill(0);
        self.changes.iter().for_each(|change| change.apply(offset, buffer));
        Ok(len)
    }

    fn write_at(&self, _: Credentials, _: u64, _: &[u8]) -> Result<()> {
        refused()
    }

    fn len(&self) -> Result<u64> {
        let len = self.file.len()?;
        Ok(self.changes.iter().fold(len, |len, change| change.len_after(len)))
    }

    fn blocks(&self) -> Result<u64> {
        self.file.blocks()
    }

    fn set_len(&self, _: u64) -> Result<()> {
        refused()
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.file.sync(data_only)
    }

    fn reserve(&self, _: Credentials, _: u64, _: u64) -> Result<()> {
        refused()
    }

    fn punch(&self, _: u64, _: u64) -> Result<()> {
        refused()
    }

    /// Where a change may lie, all is data.
    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        let len = self.len()?;
        match whence {
            _ if offset >= len => Err(Errno::NXIO.into()),
            Whence::Data => Ok(offset),
            Whence::Hole => Ok(len),
        }
    }

    fn times(&self) -> Result<Times> {
        self.file.times()
    }

    fn set_times(&self, _: &Times) -> Result<()> {
        refused()
    }

    fn id(&self) -> Result<FileId> {
        self.file.id()
    }

    fn notes(&self, about: u64) -> Vec<u8> {
        self.file.notes(about)
    }

    fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.file.attribute(name)
    }

    fn lifetime(&self) -> Lifetime {
        self.file.lifetime()
    }
}
