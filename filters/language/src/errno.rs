//! The errors that a rule may answer with.

use std::fmt;

/// An error number as Linux has it on all architectures where these agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DenyErrno(u16);

/// Names and numbers. Each number is the same on every architecture that Linux runs on except those
/// with numbers of their own (alpha, mips, parisc, sparc) for the last few.
const KNOWN: &[(&str, u16)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("ENXIO", 6),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EXDEV", 18),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EISDIR", 21),
    ("EINVAL", 22),
    ("EMFILE", 24),
    ("ETXTBSY", 26),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("EMLINK", 31),
    ("ENAMETOOLONG", 36),
    ("ENOTEMPTY", 39),
    ("ELOOP", 40),
    ("ENODATA", 61),
    ("EOPNOTSUPP", 95),
    ("ESTALE", 116),
    ("EDQUOT", 122),
    ("EKEYEXPIRED", 127),
];

impl DenyErrno {
    /// Permission denied: what `deny` means where it names no error.
    pub const EACCES: Self = Self(13);

    /// The error of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(known, _)| *known == name).map(|(_, number)| Self(*number))
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// The number, never 0.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// The error with a number, if rules may answer with it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        KNOWN.iter().any(|(_, known)| *known == number).then_some(Self(number))
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = KNOWN.iter().find(|(_, number)| *number == self.0);
        known.map_or("?", |(name, _)| name)
    }
}

impl fmt::Display for DenyErrno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
