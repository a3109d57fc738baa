//! Numbers of what calls are about: operations, types of files, open flags.

use std::fmt;

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// One kind of access to a file.
        ///
        /// The numbers are part of the compiled tables: none is ever given another meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Operation { $($(#[$doc])* $variant = $number,)* }

        impl Operation {
            /// All operations, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a policy.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

operations! {
    /// A file or directory is opened, whatever for.
    Open = 0, "open";
    /// A program is executed.
    Exec = 1, "exec";
    /// Contents are read, or a file is opened or mapped for reading.
    ReadData = 2, "read-data";
    /// The names in a directory are listed.
    ReadDir = 3, "readdir";
    /// The target of a symbolic link is read.
    ReadLink = 4, "readlink";
    /// Contents are written, or a file is opened or mapped for writing.
    WriteData = 5, "write-data";
    /// The length is set.
    Truncate = 6, "truncate";
    /// Space is allocated or given back.
    Allocate = 7, "fallocate";
    /// Attributes are read.
    GetAttr = 8, "getattr";
    /// Permissions are changed.
    Chmod = 9, "chmod";
    /// Owner or group are changed.
    Chown = 10, "chown";
    /// Times are set.
    Utimens = 11, "utimens";
    /// An extended attribute is read.
    GetXattr = 12, "getxattr";
    /// The names of extended attributes are listed.
    ListXattr = 13, "listxattr";
    /// An extended attribute is set.
    SetXattr = 14, "setxattr";
    /// An extended attribute is removed.
    RemoveXattr = 15, "removexattr";
    /// A regular file is made.
    CreateFile = 16, "create-file";
    /// A directory is made.
    Mkdir = 17, "mkdir";
    /// A device, FIFO or socket is made.
    Mknod = 18, "mknod";
    /// A symbolic link is made.
    Symlink = 19, "symlink";
    /// A further name of a file is made, or a file gets one.
    Link = 20, "link";
    /// A name of a file is removed.
    Unlink = 21, "unlink";
    /// A directory is removed.
    Rmdir = 22, "rmdir";
    /// A name is changed, from or to this path.
    Rename = 23, "rename";
    /// A lock is taken or given back.
    Lock = 24, "lock";
    /// Data are made durable.
    Fsync = 25, "fsync";
    /// A device-specific request.
    Ioctl = 26, "ioctl";
    /// The file system is asked for its size.
    Statfs = 27, "statfs";
    /// A file becomes longer. Its size is the one that it would have then.
    Grow = 28, "grow";
}

impl Operation {
    /// The number in compiled tables, below [`crate::tables::OPERATIONS`].
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The operation of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $type { $($(#[$vdoc])* $variant = $number,)* }

        impl $type {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a policy.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The one with a name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }

            /// The number in compiled tables.
            #[must_use]
            pub fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

named! {
    /// What kind of file an object is.
    FileType {
        /// A regular file.
        Regular = 0, "file";
        /// A directory.
        Directory = 1, "directory";
        /// A symbolic link.
        Symlink = 2, "symlink";
        /// A FIFO.
        Fifo = 3, "fifo";
        /// A socket.
        Socket = 4, "socket";
        /// A character device.
        CharDevice = 5, "char-device";
        /// A block device.
        BlockDevice = 6, "block-device";
    }
}

named! {
    /// What an open asks for; the number is a bit of the open flags of a call.
    OpenFlag {
        /// Opened for reading.
        Read = 0, "read";
        /// Opened for writing.
        Write = 1, "write";
        /// `O_APPEND`.
        Append = 2, "append";
        /// `O_TRUNC`.
        Truncate = 3, "truncate";
        /// `O_CREAT`.
        Create = 4, "create";
        /// `O_EXCL`.
        Exclusive = 5, "exclusive";
        /// `O_DIRECT`.
        Direct = 6, "direct";
        /// `O_SYNC` or `O_DSYNC`.
        Sync = 7, "sync";
        /// `O_NOFOLLOW`.
        NoFollow = 8, "nofollow";
        /// `O_PATH`.
        Path = 9, "path";
        /// `O_TMPFILE`.
        TmpFile = 10, "tmpfile";
    }
}

/// What all architectures but a few old ones share, and the three numbers that arm has of its own.
const fn kernel_flags(direct: u32, directory: u32, nofollow: u32) -> [(OpenFlag, u32); 9] {
    [
        (OpenFlag::Append, 0o2000),
        (OpenFlag::Truncate, 0o1000),
        (OpenFlag::Create, 0o100),
        (OpenFlag::Exclusive, 0o200),
        (OpenFlag::Direct, direct),
        // `O_DSYNC`, which is a part of `O_SYNC`.
        (OpenFlag::Sync, 0o10000),
        (OpenFlag::NoFollow, nofollow),
        (OpenFlag::Path, 0o10_000_000),
        (OpenFlag::TmpFile, 0o20_000_000 | directory),
    ]
}

/// An architecture that objects are built for, and its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// As Rust calls it.
    pub name: &'static str,
    /// All of a flag's bits are set if it is.
    pub open_flags: [(OpenFlag, u32); 9],
}

/// The architectures that objects are built for. RISC-V has the numbers of x86.
pub const ARCHITECTURES: [Architecture; 3] = [
    Architecture { name: "x86_64", open_flags: kernel_flags(0o40_000, 0o200_000, 0o400_000) },
    Architecture { name: "aarch64", open_flags: kernel_flags(0o200_000, 0o40_000, 0o100_000) },
    Architecture { name: "riscv64", open_flags: kernel_flags(0o40_000, 0o200_000, 0o400_000) },
];

/// The open flags of tables, as bits, among those of the kernel on this architecture. Nothing on one that
/// no objects are built for.
#[must_use]
pub fn open_flags(kernel: u32) -> Option<u32> {
    let here = ARCHITECTURES.iter().find(|one| one.name == std::env::consts::ARCH)?;
    let set = here.open_flags.iter().filter(|(_, bits)| kernel & bits == *bits);
    Some(set.map(|(flag, _)| 1 << flag.number()).sum())
}
