//! What can go wrong, and which errno the caller sees.

use std::sync::Arc;

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
    /// Somebody has the file open who came to it without the mount.
    #[error("in use: {0}")]
    InUse(String),
    /// The size or position is beyond what the format can hold.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Something else than the lower file system said so: a network, a library, a program.
    #[error("{text}: {source}")]
    Caused {
        /// What the caller sees.
        errno: Errno,
        /// What was being done.
        text: String,
        /// Why it failed.
        source: Cause,
    },
    /// The extension broke the contract, or panicked.
    #[error("extension failed: {0}")]
    Broken(String),
}

/// What an operation returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error behind an error, of any kind. Equal only to itself.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cause {}

impl std::fmt::Display for Cause {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Error {
    /// What failed, and why; the caller sees `errno`.
    pub fn caused(
        errno: Errno,
        text: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Caused { errno, text: text.into(), source: Cause(Arc::from(source.into())) }
    }

    /// Damage, with the position in the file at which it was met, unless a position is known already.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        const AT: &str = "at byte ";
        match self {
            Self::Damaged(reason) if !reason.starts_with(AT) => {
                Self::Damaged(format!("{AT}{offset}: {reason}"))
            }
            other => other,
        }
    }

    /// The errno that the caller of the operation sees. This is the one place that decides it.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Lower(errno) | Self::Caused { errno, .. } => *errno,
            Self::Damaged(_) | Self::Broken(_) => Errno::IO,
            // Not IO: nothing is lost, a newer program reads it.
            Self::Newer(_) => Errno::PROTONOSUPPORT,
            Self::Invalid(_) => Errno::INVAL,
            Self::NotPermitted(_) | Self::Reserved(_) => Errno::PERM,
            Self::NoAttribute => Errno::NODATA,
            // Never NOSYS: the kernel remembers it for the whole connection.
            Self::Unsupported => Errno::OPNOTSUPP,
            Self::Busy | Self::InUse(_) => Errno::BUSY,
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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_keeps_what_caused_it() {
        let refused = std::io::Error::other("connection refused");
        let error = Error::caused(Errno::REMOTEIO, "the archive", refused);
        assert_eq!(error.errno(), Errno::REMOTEIO);
        assert_eq!(error.to_string(), "the archive: connection refused");
        assert_eq!(error.source().expect("a source").to_string(), "connection refused");
        let damaged = Error::Damaged("no such frame".to_owned()).at(4096);
        assert_eq!(damaged.to_string(), "damaged: at byte 4096: no such frame");
        assert_eq!(damaged.clone().at(0), damaged, "who has met it knows best");
    }
}
