//! A lower file that loses in a crash what was not synced.

use parking_lot::Mutex;

use super::MemoryFile;
use crate::{Credentials, FileId, LowerFile, Result, Times, Whence};

/// A change that was not synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes at an offset.
    Write(u64, Vec<u8>),
    /// The length.
    SetLen(u64),
    /// Space for a range: offset and length.
    Reserve(u64, u64),
    /// A range became a hole: offset and length.
    Punch(u64, u64),
    /// The times.
    SetTimes(Times),
    /// A name in a [`MemoryStore`](super::MemoryStore) was made, moved or removed. When one is
    /// lost, so are all later ones.
    Name,
}

/// What a crash leaves of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Lost,
    /// All of it.
    Whole,
    /// The first bytes of a write; of other changes, nothing.
    Torn(usize),
}

/// A file in memory with a durable state.
#[derive(Debug)]
pub struct Forgetful {
    now: MemoryFile,
    past: Mutex<Past>,
}

#[derive(Debug)]
struct Past {
    durable: MemoryFile,
    pending: Vec<Change>,
}

impl Forgetful {
    /// A file whose present state is durable.
    #[must_use]
    pub fn new(file: MemoryFile) -> Self {
        let durable = file.snapshot();
        Self { now: file, past: Mutex::new(Past { durable, pending: Vec::new() }) }
    }

    /// The file after a crash: what was synced, and what `keep` says of the changes since, in their
    /// order. This one goes on as if nothing had happened.
    #[must_use]
    pub fn crash(&self, keep: &mut dyn FnMut(&Change) -> Kept) -> MemoryFile {
        let past = self.past.lock();
        let left = past.durable.snapshot();
        for change in &past.pending {
            match (keep(change), change) {
                (Kept::Whole, change) => apply(&left, change),
                (Kept::Torn(len), Change::Write(offset, data)) => {
                    let part = data[..len.min(data.len())].to_vec();
                    apply(&left, &Change::Write(*offset, part));
                }
                (Kept::Torn(_) | Kept::Lost, _) => {}
            }
        }
        left
    }

    fn change(&self, change: Change) {
        let mut past = self.past.lock();
        apply(&self.now, &change);
        past.pending.push(change);
    }
}

fn apply(file: &MemoryFile, change: &Change) {
    let done = match change {
        Change::Write(offset, data) => file.write_at(Credentials::HOST, *offset, data),
        Change::SetLen(len) => file.set_len(*len),
        Change::Reserve(offset, len) => file.reserve(Credentials::HOST, *offset, *len),
        Change::Punch(offset, len) => file.punch(*offset, *len),
        Change::SetTimes(times) => file.set_times(times),
        Change::Name => Ok(()),
    };
    done.expect("a file in memory takes any change");
}

impl LowerFile for Forgetful {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.now.read_at(offset, buffer)
    }

    fn write_at(&self, _: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        self.change(Change::Write(offset, data.to_vec()));
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        self.now.len()
    }

    fn blocks(&self) -> Result<u64> {
        self.now.blocks()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(Change::SetLen(len));
        Ok(())
    }

    fn sync(&self, _: bool) -> Result<()> {
        let mut past = self.past.lock();
        let pending = std::mem::take(&mut past.pending);
        pending.iter().for_each(|change| apply(&past.durable, change));
        Ok(())
    }

    fn reserve(&self, _: Credentials, offset: u64, len: u64) -> Result<()> {
        self.change(Change::Reserve(offset, len));
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        self.change(Change::Punch(offset, len));
        Ok(())
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        self.now.seek(offset, whence)
    }

    fn times(&self) -> Result<Times> {
        self.now.times()
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        self.change(Change::SetTimes(*times));
        Ok(())
    }

    fn id(&self) -> Result<FileId> {
        self.now.id()
    }
}
