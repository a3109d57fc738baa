//! Inodes and their attributes.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

/// An inode as the kernel and the layers name it.
///
/// Equal to the inode number that the lower file system shows, except for the root of the mount,
/// which is always [`Ino::ROOT`], and for inodes that live on another device than the root. A
/// layer that makes inodes up takes numbers with [`Ino::MADE_UP`] set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root of the mount.
    pub const ROOT: Self = Self(1);
    /// The bit that marks inodes which an extension has made up.
    pub const MADE_UP: u64 = 1 << 63;
}

/// The type of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// What `stat` tells of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attr {
    /// The inode number shown to users.
    pub ino: u64,
    /// The type.
    pub kind: FileKind,
    /// Permission bits with set-user-id, set-group-id and sticky bit: `mode & 0o7777`.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as `stat` encodes it.
    pub rdev: u64,
    /// Logical size in bytes.
    pub size: u64,
    /// Space really used, in units of 512 bytes.
    pub blocks: u64,
    /// Preferred size of an I/O request in bytes.
    pub block_size: u32,
    /// Time of last access.
    pub atime: SystemTime,
    /// Time of last change of the content.
    pub mtime: SystemTime,
    /// Time of last change of the inode.
    pub ctime: SystemTime,
}

impl Attr {
    /// Attributes of an inode of root's that is empty and was last used in 1970.
    #[must_use]
    pub fn new(ino: Ino, kind: FileKind, mode: u32) -> Self {
        Self {
            ino: ino.0,
            kind,
            mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            block_size: 4096,
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
        }
    }
}

/// The answer to a name: an inode, known to the caller from now on.
///
/// Every entry handed out counts as one *lookup* of the inode, until [`forget`] takes it back.
///
/// [`forget`]: crate::FileSystem::forget
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The inode.
    pub ino: Ino,
    /// Distinguishes inodes that carry the same number at different times.
    pub generation: u64,
    /// Its attributes.
    pub attr: Attr,
    /// How long the kernel may rely on the name leading here, and on these attributes; `None` for as long
    /// as the mount says.
    pub ttl: Option<Duration>,
}

impl Entry {
    /// An entry that is good for as long as the mount says.
    #[must_use]
    pub fn new(ino: Ino, attr: Attr) -> Self {
        Self { ino, generation: 0, attr, ttl: None }
    }
}

/// One name in a directory. It does not count as a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// The inode number shown to users.
    pub ino: u64,
    /// The type, where the lower file system tells it with the name.
    pub kind: Option<FileKind>,
    /// The cookie with which the listing goes on after this entry.
    pub next: u64,
}

impl DirEntry {
    /// A name, with the cookie that goes on after it.
    #[must_use]
    pub fn new(name: impl Into<OsString>, ino: u64, kind: Option<FileKind>, next: u64) -> Self {
        Self { name: name.into(), ino, kind, next }
    }
}

/// The answer to an open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// Comes back with each call through this open ([`Call::handle`](crate::Call::handle)), and at release.
    pub handle: u64,
    /// Bypass the page cache for this open file.
    pub direct_io: bool,
    /// The kernel may read, write and map the lower file itself until this open ends: what lies there is the
    /// content, and stays so while [`LowerFile::is_open_elsewhere`](crate::LowerFile::is_open_elsewhere) is true. Counts where
    /// the mount has `profile=data`, the extension is alone in its stack, and kernel and policy permit; elsewhere
    /// reads and writes come as always.
    pub passthrough: bool,
}

impl Opened {
    /// An open file that goes by this number.
    #[must_use]
    pub fn new(handle: u64) -> Self {
        Self { handle, ..Self::default() }
    }

    /// An open file that the kernel may serve from the lower one.
    #[must_use]
    pub fn passed_through() -> Self {
        Self { passthrough: true, ..Self::default() }
    }
}

/// Size and free space of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatFs {
    /// Preferred size of an I/O request in bytes.
    pub block_size: u64,
    /// Unit of the numbers of blocks, in bytes.
    pub fragment_size: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for users other than root.
    pub blocks_available: u64,
    /// All inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Longest name in bytes.
    pub name_max: u64,
}

/// A time to set: now, or a given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the call.
    Now,
    /// The given time.
    At(SystemTime),
}

/// The attributes to change; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAttr {
    /// Permission bits, `0o7777` at most.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Logical size in bytes.
    pub size: Option<u64>,
    /// Time of last access.
    pub atime: Option<SetTime>,
    /// Time of last change of the content.
    pub mtime: Option<SetTime>,
}

impl SetAttr {
    /// Changes the length.
    #[must_use]
    pub fn of_size(size: u64) -> Self {
        Self { size: Some(size), ..Self::default() }
    }

    /// Changes permission bits.
    #[must_use]
    pub fn of_mode(mode: u32) -> Self {
        Self { mode: Some(mode), ..Self::default() }
    }

    /// Changes the owner.
    #[must_use]
    pub fn of_owner(uid: Option<u32>, gid: Option<u32>) -> Self {
        Self { uid, gid, ..Self::default() }
    }

    /// Changes the times of access and of change.
    #[must_use]
    pub fn of_times(atime: Option<SetTime>, mtime: Option<SetTime>) -> Self {
        Self { atime, mtime, ..Self::default() }
    }
}
