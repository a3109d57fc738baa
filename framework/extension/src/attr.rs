//! Inodes and their attributes.

use std::ffi::OsString;
use std::time::SystemTime;

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

/// The answer to a name: an inode, known to the caller from now on.
///
/// Every entry handed out counts as one *lookup* of the inode, until [`forget`] takes it back.
///
/// [`forget`]: crate::FileSystem::forget
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The inode.
    pub ino: Ino,
    /// Distinguishes inodes that carry the same number at different times.
    pub generation: u64,
    /// Its attributes.
    pub attr: Attr,
}

/// One name in a directory. It does not count as a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// The inode number shown to users.
    pub ino: u64,
    /// The type, where the lower file system tells it with the name.
    pub kind: Option<FileKind>,
    /// The cookie with which the listing goes on behind this entry.
    pub next: u64,
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
