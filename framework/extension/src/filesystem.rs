//! File systems, and the layers that are one above another.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Attr, Call, DirEntry, Entry, Error, FallocateFlags, Ino, LowerFile, OpenFlags, Opened,
    RenameFlags, Result, SetAttr, StatFs, XattrFlags,
};

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The next data (`SEEK_DATA`).
    Data,
    /// The next hole (`SEEK_HOLE`); the end of a file counts as one.
    Hole,
}

/// A stack of layers down to the lower directory, whatever is on top.
///
/// Extensions name this type and not the trait, so that in their code the methods of a layer of theirs are
/// those of [`Layer`] alone.
pub type Stack = dyn FileSystem;

/// What is below a layer that stands on nothing: every operation is [`Error::Unsupported`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

/// The answers of what is not there.
trait NotThere {
    fn not_there() -> Self;
}

impl<T> NotThere for Result<T> {
    fn not_there() -> Self {
        Err(Error::Unsupported)
    }
}

impl<T> NotThere for Option<T> {
    fn not_there() -> Self {
        None
    }
}

impl NotThere for bool {
    fn not_there() -> Self {
        false
    }
}

/// Declares the operations once: [`FileSystem`] requires them, [`Layer`] passes them on.
macro_rules! operations {
    ($(
        $(#[$doc:meta])*
        fn $name:ident(&self $(, $argument:ident: $type:ty)* $(,)?) $(-> $answer:ty)?;
    )*) => {
        /// A whole file system: one method for each operation.
        ///
        /// Only what has nothing below it implements this trait, as the host's lower directory does;
        /// extensions implement [`Layer`], and every layer is a file system.
        ///
        /// The kernel has checked permissions, names (no empty ones, no `/`, at most 255 bytes) and
        /// types before a call arrives. Methods are called from several threads at once.
        pub trait FileSystem: Send + Sync {
            $(
                $(#[$doc])*
                fn $name(&self $(, $argument: $type)*) $(-> $answer)?;
            )*
        }

        /// A file system above another one.
        ///
        /// Every method but [`lower`](Self::lower) passes the call on to the lower layer, so that an
        /// extension overrides just what it changes. Errors of the lower layer travel up unchanged. For
        /// what a caller can rely on, see [`FileSystem`].
        pub trait Layer: Send + Sync {
            /// What is below.
            fn lower(&self) -> &Stack;

            $(
                $(#[$doc])*
                fn $name(&self $(, $argument: $type)*) $(-> $answer)? {
                    self.lower().$name($($argument),*)
                }
            )*
        }

        impl FileSystem for Nothing {
            $(
                fn $name(&self $(, _: $type)*) $(-> $answer)? {
                    $(<$answer>::not_there())?
                }
            )*
        }

        impl<L: Layer + ?Sized> FileSystem for L {
            $(
                fn $name(&self $(, $argument: $type)*) $(-> $answer)? {
                    Layer::$name(self $(, $argument)*)
                }
            )*
        }
    };
}

operations! {
    /// Finds a name in a directory, and counts one lookup of the inode found.
    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry>;

    /// How long the kernel may rely on a name being missing, after [`lookup`](Self::lookup) has said
    /// so; `None` for as long as on names that are there.
    fn absent_ttl(&self, call: &Call, parent: Ino, name: &OsStr) -> Option<Duration>;

    /// Counts one more lookup of an inode that the caller knows.
    fn retain(&self, ino: Ino) -> Result<()>;

    /// Takes `lookups` lookups back; true if that were the last and the inode is unknown now.
    fn forget(&self, ino: Ino, lookups: u64) -> bool;

    /// The directory and the name by which an inode was last met. The root has none (ENOENT).
    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)>;

    /// Reads attributes.
    fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr>;

    /// Changes attributes, and returns them all as they are then.
    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr>;

    /// Clears set-user-id, and set-group-id where the group may execute, as a write by an
    /// unprivileged caller does.
    fn drop_privileges(&self, ino: Ino) -> Result<()>;

    /// Reads a symbolic link.
    fn readlink(&self, call: &Call, ino: Ino) -> Result<OsString>;

    /// Makes a regular file, a device, a pipe or a socket; `mode` holds the type as well. The
    /// caller's umask (or the default ACL of the directory) is yet to be applied.
    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry>;

    /// Makes a directory. The umask is yet to be applied.
    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry>;

    /// Removes a name of a file.
    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()>;

    /// Removes an empty directory.
    fn rmdir(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()>;

    /// Makes a symbolic link.
    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry>;

    /// Renames, as `renameat2` does.
    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()>;

    /// Makes a hard link, and counts one lookup.
    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry>;

    /// A file is about to be opened. Called only on mounts that dispatch opens
    /// ([`Declaration::opens`](crate::Declaration)); calls through this open then come with the handle that is returned
    /// ([`Call::handle`]).
    fn open(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<Opened>;

    /// A directory is about to be opened. Called only where a layer or a policy wants to see that.
    fn opendir(&self, call: &Call, ino: Ino) -> Result<()>;

    /// The last descriptor of an open file is closed. Called only where `open` is.
    fn release(&self, ino: Ino, handle: u64) -> Result<()>;

    /// One descriptor of a file is closed. Called only on mounts that dispatch flushes.
    fn flush(&self, call: &Call, ino: Ino) -> Result<()>;

    /// Reads; returns fewer bytes than asked for only at the end of the file.
    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `data`, or fails.
    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()>;

    /// Makes a file durable.
    fn fsync(&self, call: &Call, ino: Ino, data_only: bool) -> Result<()>;

    /// Allocates, punches or zeroes a range.
    fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()>;

    /// Finds data and holes. ENXIO if `offset` is at or past the end.
    fn lseek(&self, call: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64>;

    /// Copies from one file to another; returns how much, which may be less than asked for.
    /// The call's handle is that of the file copied to.
    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64>;

    /// Lists a directory from `cookie` on (0 is the start), `.` and `..` included, stopping when
    /// the names and a fixed part of 24 bytes for each exceed `budget` bytes; empty at the end.
    fn readdir(&self, call: &Call, ino: Ino, cookie: u64, budget: usize) -> Result<Vec<DirEntry>>;

    /// Makes the names in a directory durable.
    fn fsyncdir(&self, call: &Call, ino: Ino, data_only: bool) -> Result<()>;

    /// Size and free space.
    fn statfs(&self, call: &Call, ino: Ino) -> Result<StatFs>;

    /// Sets an extended attribute.
    fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()>;

    /// Reads an extended attribute.
    fn getxattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>>;

    /// Lists the names of the extended attributes.
    fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>>;

    /// Removes an extended attribute.
    fn removexattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<()>;

    /// Answers a question put to the file system; `name` comes without
    /// [`CONTROL_PREFIX`](crate::CONTROL_PREFIX). Unknown ones are [`Error::NoAttribute`].
    ///
    /// [`Error::NoAttribute`]: crate::Error::NoAttribute
    fn control_get(&self, call: &Call, ino: Ino, name: &str) -> Result<Vec<u8>>;

    /// Carries out an order given to the file system. The kernel has checked nothing: anybody who
    /// reaches the inode by name may give one.
    fn control_set(&self, call: &Call, ino: Ino, name: &str, value: &[u8]) -> Result<()>;

    /// The content of a regular file, for a content extension above. Good for as long as it is kept,
    /// whatever becomes of the inode's names and lookups.
    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>>;

    /// The mount has ended: finish what was acknowledged, and stop all threads.
    fn shutdown(&self);
}
