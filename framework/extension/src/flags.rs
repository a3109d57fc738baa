//! Flags of system calls, under the names that the kernel gives them, with the numbers that they have on this
//! machine.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

macro_rules! flags {
    ($(
        $(#[$doc:meta])*
        $type:ident like $system:ident { $($(#[$flag_doc:meta])* $name:ident,)* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $type(u32);

        impl $type {
            $(
                $(#[$flag_doc])*
                pub const $name: Self = Self(rustix::fs::$system::$name.bits());
            )*

            /// No flag.
            #[must_use]
            pub const fn empty() -> Self {
                Self(0)
            }

            /// The flags in a system call's number, known ones or not.
            #[must_use]
            pub const fn from_bits_retain(bits: u32) -> Self {
                Self(bits)
            }

            /// The number that a system call takes.
            #[must_use]
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// True if no flag is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// True if all of `other` are set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// True if any of `other` is set.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// The flags that `other` lacks.
            #[must_use]
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The flags of both.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl BitOr for $type {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl BitOrAssign for $type {
            fn bitor_assign(&mut self, other: Self) {
                *self = self.union(other);
            }
        }

        impl BitAnd for $type {
            type Output = Self;

            fn bitand(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($type), "({:#x})"), self.0)
            }
        }
    )*};
}

flags! {
    /// How a file is opened: access and `O_` flags of `open`.
    OpenFlags like OFlags {
        /// For reading only; no bit of its own: see [`OpenFlags::reads`].
        RDONLY,
        /// For writing only.
        WRONLY,
        /// For reading and writing.
        RDWR,
        /// Each write goes to the end.
        APPEND,
        /// The file is emptied.
        TRUNC,
        /// It is made if it is missing.
        CREATE,
        /// It must be missing.
        EXCL,
        /// Past the page cache.
        DIRECT,
        /// Writes wait for the device, data only.
        DSYNC,
        /// Writes wait for the device.
        SYNC,
        /// Not through a symbolic link.
        NOFOLLOW,
        /// Without waiting.
        NONBLOCK,
        /// Reading leaves the time of last access alone.
        NOATIME,
    }

    /// What `fallocate` does to a range; nothing set means to allocate it.
    FallocateFlags like FallocateFlags {
        /// The length stays.
        KEEP_SIZE,
        /// The range becomes a hole.
        PUNCH_HOLE,
        /// Locks are not respected; never seen from Linux.
        NO_HIDE_STALE,
        /// The range is cut out.
        COLLAPSE_RANGE,
        /// The range reads as zeros, and takes space.
        ZERO_RANGE,
        /// The range is put in between.
        INSERT_RANGE,
        /// The range gets blocks of its own.
        UNSHARE_RANGE,
    }

    /// What `renameat2` does if the new name is taken.
    RenameFlags like RenameFlags {
        /// It fails.
        NOREPLACE,
        /// Both names change places.
        EXCHANGE,
        /// A white-out stays at the old name.
        WHITEOUT,
    }

    /// What `setxattr` does if the attribute is there, or is not.
    XattrFlags like XattrFlags {
        /// It must be missing.
        CREATE,
        /// It must be there.
        REPLACE,
    }
}

const ACCESS: OpenFlags = OpenFlags::WRONLY.union(OpenFlags::RDWR);

impl OpenFlags {
    /// True if what is opened so can be read.
    #[must_use]
    pub fn reads(self) -> bool {
        self & ACCESS != Self::WRONLY
    }

    /// True if what is opened so can be written.
    #[must_use]
    pub fn writes(self) -> bool {
        self & ACCESS != Self::RDONLY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_access_of_an_open_is_a_number_and_no_flag() {
        let access = |flags: OpenFlags| (flags.reads(), flags.writes());
        assert_eq!(access(OpenFlags::RDONLY | OpenFlags::DIRECT), (true, false));
        assert_eq!(access(OpenFlags::WRONLY | OpenFlags::APPEND), (false, true));
        assert_eq!(access(OpenFlags::RDWR), (true, true));
    }
}
