//! What lies below a content extension: one file, and the extension's own corner of the store.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{Credentials, Error, Result, Whence};

/// A name for a lower file that outlives the process: the same bytes lead to the same file after
/// a restart, by whatever name it is known then, and to nothing once the file is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub Vec<u8>);

/// The times of a lower file that programs rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// Time of last access.
    pub accessed: SystemTime,
    /// Time of last change of the content.
    pub modified: SystemTime,
}

impl Times {
    /// Both times.
    #[must_use]
    pub fn new(accessed: SystemTime, modified: SystemTime) -> Self {
        Self { accessed, modified }
    }
}

/// Tells since when nothing that was written below can have been lost, synced or not: where both numbers
/// are what they were, everything is there. Zeros where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Another one for each start of the machine.
    pub machine: u64,
    /// Another one for each time that the lower file system was mounted.
    pub mount: u64,
}

impl Lifetime {
    /// False where nobody knows.
    #[must_use]
    pub fn is_known(self) -> bool {
        self != Self::default()
    }
}

/// The content of one lower file: positioned reads and writes and little else.
///
/// A handle stays good when the file is renamed or unlinked. All methods may be called from
/// several threads at once; an order among them is the caller's business.
pub trait LowerFile: Send + Sync {
    /// Reads at `offset`; returns fewer bytes than asked for only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `data` at `offset`, or fails. After an error any part may be written. The space is
    /// taken on behalf of `by`.
    fn write_at(&self, by: Credentials, offset: u64, data: &[u8]) -> Result<()>;

    /// Current length in bytes.
    fn len(&self) -> Result<u64>;

    /// Space really used, in units of 512 bytes.
    fn blocks(&self) -> Result<u64>;

    /// Truncates or extends (with a hole) to `len` bytes.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Makes what was written durable; with `data_only` as `fdatasync` does.
    fn sync(&self, data_only: bool) -> Result<()>;

    /// Allocates blocks for a range without changing the length, on behalf of `by`.
    fn reserve(&self, by: Credentials, offset: u64, len: u64) -> Result<()>;

    /// Turns a range into a hole. The length stays.
    fn punch(&self, offset: u64, len: u64) -> Result<()>;

    /// The next data or hole at or after `offset`, as `lseek` finds it; ENXIO if there is none.
    fn seek(&self, offset: u64, whence: Whence) -> Result<u64>;

    /// The times, so that they can be put back after a change that is nobody's business.
    fn times(&self) -> Result<Times>;

    /// Sets the times.
    fn set_times(&self, times: &Times) -> Result<()>;

    /// The lasting name of this file.
    fn id(&self) -> Result<FileId>;

    /// Notes what the next worker has to know of the file if this one dies before it is in the file
    /// itself: what was acknowledged and is only in memory. Notes outlive the process, not the
    /// mount. `about` is the extension's own: whatever sets these notes apart from those of other
    /// extensions, and of other states of the file.
    fn note(&self, about: u64, note: &[u8]) {
        let _ = (about, note);
    }

    /// All notes of the file about something, one behind the other.
    fn notes(&self, about: u64) -> Vec<u8> {
        let _ = about;
        Vec::new()
    }

    /// Drops notes: what they say is in the file now.
    fn drop_notes(&self, about: u64) {
        let _ = about;
    }

    /// An extended attribute of the file; `None` if it has none of that name.
    fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let _ = name;
        Ok(None)
    }

    /// Sets an extended attribute, as the host.
    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<()> {
        let (_, _) = (name, value);
        Err(Error::Unsupported)
    }

    /// Removes an extended attribute; [`Error::NoAttribute`] if there is none of that name.
    fn remove_attribute(&self, name: &str) -> Result<()> {
        let _ = name;
        Err(Error::Unsupported)
    }

    /// Changes of the stored form begin that callers must not notice: what the kernel takes from a file
    /// with every change (its capabilities) is kept aside, beyond the end of the process. With `again` these are
    /// the changes that a process before did not bring to an end, and what it kept counts.
    fn keep_privileges(&self, again: bool) -> Result<()> {
        let _ = again;
        Ok(())
    }

    /// The changes have come to their end: what was kept aside is given back.
    fn restore_privileges(&self) {}

    /// A caller changes the file: what is kept aside is gone.
    fn drop_privileges(&self) -> Result<()> {
        Ok(())
    }

    /// True if nobody changes the bytes that are there without a caller who may: the file is immutable, can only be
    /// appended to, or may have a name that is none of the store's.
    fn is_fixed(&self) -> Result<bool> {
        Ok(false)
    }

    /// True if the file is read or written past this process: somebody has it open who came to it without the
    /// mount, or the kernel serves it ([`Opened::passthrough`](crate::Opened)), which is always told. Where nobody
    /// can tell of the others, false.
    fn is_open_elsewhere(&self) -> Result<bool> {
        Ok(false)
    }

    /// Since when everything that was written to the file is there, also what was never synced.
    fn lifetime(&self) -> Lifetime {
        Lifetime::default()
    }

    /// How long a file can be there, in bytes.
    fn max_len(&self) -> u64 {
        i64::MAX as u64
    }

    /// True if the file is empty.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads exactly `buffer.len()` bytes; a file that ends earlier is [`Error::Damaged`].
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = self.read_at(offset, buffer)?;
        if read == buffer.len() {
            return Ok(());
        }
        let end = offset + read as u64;
        Err(Error::Damaged(format!("ends at {end}, {} bytes early", buffer.len() - read)))
    }
}

impl<'a> dyn LowerFile + 'a {
    /// This file for code that stores on somebody's behalf.
    #[must_use]
    pub fn acting(&self, by: Credentials) -> Acting<'_> {
        Acting { file: self, by }
    }
}

/// A lower file, and on whose behalf it is written.
#[derive(Clone, Copy)]
pub struct Acting<'a> {
    file: &'a (dyn LowerFile + 'a),
    by: Credentials,
}

impl Acting<'_> {
    /// Writes as [`LowerFile::write_at`] does.
    pub fn write_at(self, offset: u64, data: &[u8]) -> Result<()> {
        self.file.write_at(self.by, offset, data)
    }

    /// Allocates as [`LowerFile::reserve`] does.
    pub fn reserve(self, offset: u64, len: u64) -> Result<()> {
        self.file.reserve(self.by, offset, len)
    }
}

impl<'a> Deref for Acting<'a> {
    type Target = dyn LowerFile + 'a;

    fn deref(&self) -> &Self::Target {
        self.file
    }
}

/// Is given what [`Store::reopen`] finds.
pub type Reopened<'a> = dyn FnMut(usize, Result<Arc<dyn LowerFile>>) + 'a;

/// A flat directory in the reserved part of the store that belongs to one extension.
pub trait Store: Send + Sync {
    /// Opens a file; with `create` it is made if it is missing (mode 0600), otherwise a missing
    /// file is ENOENT.
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>>;

    /// Makes a file (mode 0600) that was not there; EEXIST if it was.
    fn create(&self, name: &str) -> Result<Arc<dyn LowerFile>>;

    /// All names, in no order.
    fn names(&self) -> Result<Vec<String>>;

    /// Renames, replacing what is there.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;

    /// Makes the names durable.
    fn sync_names(&self) -> Result<()>;

    /// Makes everything durable that was written to the lower file system, by anyone.
    fn sync_all(&self) -> Result<()>;

    /// Free space of the lower file system that the host may use, in bytes.
    fn free_space(&self) -> Result<u64>;

    /// Finds one lower file again, as [`Store::reopen`] does.
    fn reopen_one(&self, id: &FileId) -> Result<Arc<dyn LowerFile>> {
        let mut found = Err(Error::Broken("a file was neither found nor missed".to_owned()));
        self.reopen(std::slice::from_ref(id), &mut |_, file| found = file);
        found
    }

    /// Finds lower files again by their lasting names: calls `visit` once for each, with its place
    /// in `ids`, in any order. A file is opened only if it is a regular one that a name below the
    /// root leads to; ESTALE if it is gone, EXDEV if it lies elsewhere now.
    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>);

    /// Makes a store of an older format one of this version, which programs of older ones leave alone; durable on return.
    /// Before the first byte that those would not understand, if the extension
    /// [brings stores forward](crate::Extension::BRINGS_FORWARD).
    fn bring_forward(&self, version: u32) -> Result<()> {
        let _ = version;
        Ok(())
    }

    /// Changes whenever writes that were not synced may have been lost: with each start of the
    /// machine, and where the lower file system is not known to be the same all the time.
    fn epoch(&self) -> u64;
}
