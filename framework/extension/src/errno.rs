//! Numbers of errors, as system calls return them.

use std::fmt;

/// The number of an error of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(
                #[doc = concat!("`E", stringify!($name), "`")]
                pub const $name: Self = Self(rustix::io::Errno::$name.raw_os_error());
            )*

            const NAMES: &[(Self, &str)] = &[$((Self::$name, stringify!($name)),)*];
        }
    };
}

errnos! {
    PERM NOENT SRCH INTR IO NXIO TOOBIG NOEXEC BADF CHILD AGAIN NOMEM ACCESS FAULT NOTBLK BUSY EXIST XDEV
    NODEV NOTDIR ISDIR INVAL NFILE MFILE NOTTY TXTBSY FBIG NOSPC SPIPE ROFS MLINK PIPE DOM RANGE DEADLK
    NAMETOOLONG NOLCK NOSYS NOTEMPTY LOOP NODATA TIME REMOTE NOLINK PROTO MULTIHOP BADMSG OVERFLOW UCLEAN
    ILSEQ USERS NOTSOCK MSGSIZE PROTONOSUPPORT OPNOTSUPP NETDOWN NETUNREACH CONNABORTED CONNRESET NOBUFS
    NOTCONN SHUTDOWN TIMEDOUT CONNREFUSED HOSTDOWN HOSTUNREACH ALREADY INPROGRESS STALE REMOTEIO DQUOT
    NOMEDIUM MEDIUMTYPE CANCELED NOKEY KEYEXPIRED KEYREVOKED KEYREJECTED OWNERDEAD NOTRECOVERABLE
}

impl Errno {
    /// The error with a number.
    #[must_use]
    pub const fn from_raw_os_error(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn raw_os_error(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from(*self).fmt(formatter)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(errno, _)| errno == self) {
            Some((_, name)) => write!(formatter, "E{name}"),
            None => write!(formatter, "errno {}", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

#[cfg(any(test, feature = "rustix-errors"))]
impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_numbers_and_texts_of_the_system() {
        assert_eq!(Errno::NOENT.raw_os_error(), 2);
        assert_eq!(Errno::NOENT.to_string(), "No such file or directory (os error 2)");
        assert_eq!(format!("{:?} {:?}", Errno::NOSPC, Errno(4000)), "ENOSPC errno 4000");
    }
}
