//! File systems: one method per file-system operation.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use crate::{
    Attr, Call, DirEntry, Entry, FallocateFlags, Ino, LowerFile, OFlags, RenameFlags, Result,
    SetAttr, StatVfs, XattrFlags,
};

/// The answer to an open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whatever the layer wants to see again at release.
    pub handle: u64,
    /// Bypass the page cache for this open file.
    pub direct_io: bool,
}

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The next data (`SEEK_DATA`).
    Data,
    /// The next hole (`SEEK_HOLE`); the end of a file counts as one.
    Hole,
}

/// One layer: a whole file system above another one.
///
/// Every method but [`lower`](Self::lower) passes the call on to the lower layer, so that a
/// extension overrides just what it changes. The kernel has checked permissions, names (no empty
/// ones, no `/`, at most 255 bytes) and types before a call arrives; errors of the lower layer
/// travel up unchanged. Methods are called from several threads at once.
pub trait FileSystem: Send + Sync {
    /// The layer below.
    fn lower(&self) -> &dyn FileSystem;

    /// Finds a name in a directory, and counts one lookup of the inode found.
    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.lower().lookup(call, parent, name)
    }

    /// Counts one more lookup of an inode that the caller knows.
    fn retain(&self, ino: Ino) -> Result<()> {
        self.lower().retain(ino)
    }

    /// Takes `lookups` lookups back; true if that were the last and the inode is unknown now.
    fn forget(&self, ino: Ino, lookups: u64) -> bool {
        self.lower().forget(ino, lookups)
    }

    /// The directory and the name by which an inode was last met. The root has none (ENOENT).
    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        self.lower().parent(ino)
    }

    /// Reads attributes.
    fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr> {
        self.lower().getattr(call, ino)
    }

    /// Changes attributes, and returns them all as they are then.
    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        self.lower().setattr(call, ino, changes)
    }

    /// Makes what this thread writes to [lower files](LowerFile) take space as the caller, until the
    /// next call: the lower file system keeps a reserve for root.
    fn act_as(&self, call: &Call) {
        self.lower().act_as(call);
    }

    /// Clears set-user-id, and set-group-id where the group may execute, as a write by an
    /// unprivileged caller does.
    fn drop_privileges(&self, ino: Ino) -> Result<()> {
        self.lower().drop_privileges(ino)
    }

    /// Reads a symbolic link.
    fn readlink(&self, call: &Call, ino: Ino) -> Result<OsString> {
        self.lower().readlink(call, ino)
    }

    /// Makes a regular file, a device, a pipe or a socket; `mode` holds the type as well. The
    /// caller's umask (or the default ACL of the directory) is yet to be applied.
    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        self.lower().mknod(call, parent, name, mode, rdev)
    }

    /// Makes a directory. The umask is yet to be applied.
    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry> {
        self.lower().mkdir(call, parent, name, mode)
    }

    /// Removes a name of a file.
    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.lower().unlink(call, parent, name)
    }

    /// Removes an empty directory.
    fn rmdir(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.lower().rmdir(call, parent, name)
    }

    /// Makes a symbolic link.
    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry> {
        self.lower().symlink(call, parent, name, target)
    }

    /// Renames, as `renameat2` does.
    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        self.lower().rename(call, from, to, flags)
    }

    /// Makes a hard link, and counts one lookup.
    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.lower().link(call, ino, parent, name)
    }

    /// A file is about to be opened. Called only on mounts that dispatch opens
    /// ([`Dispatch::open`](crate::Dispatch)).
    fn open(&self, call: &Call, ino: Ino, flags: OFlags) -> Result<Opened> {
        self.lower().open(call, ino, flags)
    }

    /// A directory is about to be opened. Called only where a policy wants to see that.
    fn opendir(&self, call: &Call, ino: Ino) -> Result<()> {
        self.lower().opendir(call, ino)
    }

    /// The last descriptor of an open file is closed. Called only where `open` is.
    fn release(&self, ino: Ino, handle: u64) -> Result<()> {
        self.lower().release(ino, handle)
    }

    /// One descriptor of a file is closed. Called only on mounts that dispatch flushes.
    fn flush(&self, call: &Call, ino: Ino) -> Result<()> {
        self.lower().flush(call, ino)
    }

    /// Reads; returns fewer bytes than asked for only at the end of the file.
    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.lower().read(call, ino, offset, buffer)
    }

    /// Writes all of `data`, or fails.
    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.lower().write(call, ino, offset, data)
    }

    /// Makes a file durable.
    fn fsync(&self, call: &Call, ino: Ino, data_only: bool) -> Result<()> {
        self.lower().fsync(call, ino, data_only)
    }

    /// Allocates, punches or zeroes a range.
    fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.lower().fallocate(call, ino, mode, offset, len)
    }

    /// Finds data and holes. ENXIO if `offset` is at or behind the end.
    fn lseek(&self, call: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        self.lower().lseek(call, ino, offset, whence)
    }

    /// Copies from one file to another; returns how much, which may be less than asked for.
    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        self.lower().copy_file_range(call, from, to, len)
    }

    /// Lists a directory from `cookie` on (0 is the start), `.` and `..` included, stopping when
    /// the names and a fixed part of 24 bytes for each exceed `budget` bytes; empty at the end.
    fn readdir(&self, call: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>> {
        self.lower().readdir(call, ino, cookie, budget)
    }

    /// Makes the names in a directory durable.
    fn fsyncdir(&self, call: &Call, ino: Ino, data_only: bool) -> Result<()> {
        self.lower().fsyncdir(call, ino, data_only)
    }

    /// Tells size and free space.
    fn statfs(&self, call: &Call, ino: Ino) -> Result<StatVfs> {
        self.lower().statfs(call, ino)
    }

    /// Sets an extended attribute.
    fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        self.lower().setxattr(call, ino, name, value, flags)
    }

    /// Reads an extended attribute.
    fn getxattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        self.lower().getxattr(call, ino, name)
    }

    /// Lists the names of the extended attributes.
    fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        self.lower().listxattr(call, ino)
    }

    /// Removes an extended attribute.
    fn removexattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        self.lower().removexattr(call, ino, name)
    }

    /// Answers a question put to the file system; `name` comes without
    /// [`CONTROL_PREFIX`](crate::CONTROL_PREFIX). Unknown ones are [`Error::NoAttribute`].
    ///
    /// [`Error::NoAttribute`]: crate::Error::NoAttribute
    fn control_get(&self, call: &Call, ino: Ino, name: &str) -> Result<Vec<u8>> {
        self.lower().control_get(call, ino, name)
    }

    /// Carries out an order given to the file system. The kernel has checked nothing: anybody who
    /// reaches the inode by name may give one.
    fn control_set(&self, call: &Call, ino: Ino, name: &str, value: &[u8]) -> Result<()> {
        self.lower().control_set(call, ino, name, value)
    }

    /// The content of a regular file, for a content extension above. Good for as long as it is kept,
    /// whatever becomes of the inode's names and lookups.
    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        self.lower().file(ino)
    }

    /// The mount has ended: finish what was acknowledged, and stop all threads.
    fn shutdown(&self) {
        self.lower().shutdown();
    }
}
