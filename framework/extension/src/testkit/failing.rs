//! A lower file whose n-th call fails.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Credentials, Errno, FileId, LowerFile, Result, Times, Whence};

/// What shall go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many calls still work.
    pub after: u64,
    /// What the call returns.
    pub errno: Errno,
    /// How many bytes a write writes before it fails.
    pub partial: usize,
    /// All later calls fail as well.
    pub lasting: bool,
}

impl Fault {
    /// One call fails, after so many that work, and does nothing.
    #[must_use]
    pub fn once(after: u64, errno: Errno) -> Self {
        Self { after, errno, partial: 0, lasting: false }
    }
}

/// Decides which calls fail, for any number of files together. Calls that only ask for attributes
/// (`len`, `blocks`, `times`, `id`) neither count nor fail.
#[derive(Debug, Default)]
pub struct Faults(Mutex<(u64, Option<Fault>)>);

impl Faults {
    /// Plans a fault, in place of what was planned before; `None` ends all faults.
    pub fn plan(&self, fault: Option<Fault>) {
        self.0.lock().1 = fault;
    }

    /// Number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.lock().0
    }

    fn next(&self) -> Option<Fault> {
        let (calls, plan) = &mut *self.0.lock();
        *calls += 1;
        let fault = plan.as_mut()?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let now = *fault;
        if !now.lasting {
            *plan = None;
        }
        Some(now)
    }

    fn check(&self) -> Result<()> {
        self.next().map_or(Ok(()), |fault| Err(fault.errno.into()))
    }
}

/// A lower file with faults.
pub struct Failing {
    /// The file.
    pub inner: Arc<dyn LowerFile>,
    /// Its faults, and others' perhaps.
    pub faults: Arc<Faults>,
}

impl LowerFile for Failing {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.faults.check()?;
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, by: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        if let Some(fault) = self.faults.next() {
            self.inner.write_at(by, offset, &data[..fault.partial.min(data.len())])?;
            return Err(fault.errno.into());
        }
        self.inner.write_at(by, offset, data)
    }

    fn len(&self) -> Result<u64> {
        self.inner.len()
    }

    fn blocks(&self) -> Result<u64> {
        self.inner.blocks()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.faults.check()?;
        self.inner.set_len(len)
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.faults.check()?;
        self.inner.sync(data_only)
    }

    fn reserve(&self, by: Credentials, offset: u64, len: u64) -> Result<()> {
        self.faults.check()?;
        self.inner.reserve(by, offset, len)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        self.faults.check()?;
        self.inner.punch(offset, len)
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        self.faults.check()?;
        self.inner.seek(offset, whence)
    }

    fn times(&self) -> Result<Times> {
        self.inner.times()
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        self.faults.check()?;
        self.inner.set_times(times)
    }

    fn id(&self) -> Result<FileId> {
        self.inner.id()
    }
}
