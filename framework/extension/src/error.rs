//! What can go wrong, and which errno the caller sees.

use crate::Errno;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lower file system said so; its errno reaches the caller unchanged.
    #[error("lower file system: {0}")]
    Lower(Errno),
    /// Stored bytes are not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The store was made by a newer version, or uses a feature that this one does not know.
    #[error("made by a newer version: {0}")]
    Newer(String),
    /// An argument makes no sense.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Only the owner, or root, may do this.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// The name belongs to the host or to the extension.
    #[error("the name `{0}` is reserved")]
    Reserved(String),
    /// There is no such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// This layer does not do that.
    #[error("not supported")]
    Unsupported,
    /// The file is being changed by somebody else just now.
    #[error("busy")]
    Busy,
    /// The size or position is beyond what the format can hold.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The extension broke the contract, or panicked.
    #[error("extension failed: {0}")]
    Broken(String),
}

/// What an operation returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The errno that the caller of the operation sees. This is the one place that decides it.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Lower(errno) => *errno,
            Self::Damaged(_) | Self::Broken(_) => Errno::IO,
            // Not IO: nothing is lost, a newer program reads it.
            Self::Newer(_) => Errno::PROTONOSUPPORT,
            Self::Invalid(_) => Errno::INVAL,
            Self::NotPermitted(_) | Self::Reserved(_) => Errno::PERM,
            Self::NoAttribute => Errno::NODATA,
            // Never NOSYS: the kernel remembers it for the whole connection.
            Self::Unsupported => Errno::OPNOTSUPP,
            Self::Busy => Errno::BUSY,
            Self::TooLarge(_) => Errno::FBIG,
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Lower(errno)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Lower(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
    }
}

#[cfg(any(test, feature = "rustix-errors"))]
impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Lower(errno.into())
    }
}
