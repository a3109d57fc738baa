//! Operations that rules speak of, alone and in groups.

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
}

impl Operation {
    /// The number in compiled tables, below [`Operations::MAX`].
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

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operations(u32);

/// The named groups, with what they hold.
pub const GROUPS: &[(&str, &[Operation])] = &[
    ("read", &[Operation::ReadData, Operation::ReadDir, Operation::ReadLink]),
    ("write", &[Operation::WriteData, Operation::Truncate, Operation::Allocate]),
    (
        "metadata",
        &[
            Operation::Chmod,
            Operation::Chown,
            Operation::Utimens,
            Operation::SetXattr,
            Operation::RemoveXattr,
        ],
    ),
    (
        "create",
        &[
            Operation::CreateFile,
            Operation::Mkdir,
            Operation::Mknod,
            Operation::Symlink,
            Operation::Link,
        ],
    ),
    ("remove", &[Operation::Unlink, Operation::Rmdir]),
    ("*", Operation::ALL),
];

impl Operations {
    /// Tables have room for this many operations.
    pub const MAX: usize = 32;

    /// Every operation.
    #[must_use]
    pub fn all() -> Self {
        Self::of(Operation::ALL)
    }

    /// The given operations.
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |bits, operation| bits | 1 << operation.number()))
    }

    /// The operation or group of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let group = GROUPS.iter().find(|(group, _)| *group == name);
        let single = || Operation::parse(name).map(|operation| Self::of(&[operation]));
        group.map(|(_, operations)| Self::of(operations)).or_else(single)
    }

    /// All names that [`Operations::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let groups = GROUPS.iter().map(|(group, _)| *group);
        groups.chain(Operation::ALL.iter().map(|operation| operation.name()))
    }

    /// True if `operation` is one of them.
    #[must_use]
    pub fn contains(self, operation: Operation) -> bool {
        self.0 & 1 << operation.number() != 0
    }

    /// True if all of `other` are among them.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// True if any of `other` is among them.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        other.0 & self.0 != 0
    }

    /// What either holds.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_list_and_fit_the_tables() {
        for (number, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(usize::from(operation.number()), number);
            assert_eq!(Operation::parse(operation.name()), Some(*operation));
        }
        assert!(Operation::ALL.len() <= Operations::MAX);
    }

    #[test]
    fn a_group_is_never_called_like_an_operation() {
        for (group, operations) in GROUPS {
            assert_eq!(Operation::parse(group), None);
            assert!(Operations::all().covers(Operations::of(operations)));
        }
    }
}
