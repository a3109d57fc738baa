//! Who makes a call, and what rules say about it.

use std::sync::Arc;

/// Names and values of options that rules set.
pub type CallOptions = Arc<[(String, String)]>;

/// As whom something is stored: who owns what is made, and whose space is taken. The lower file system keeps a
/// reserve for root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// File-system user id.
    pub uid: u32,
    /// File-system group id.
    pub gid: u32,
}

impl Credentials {
    /// The host's own work, as root.
    pub const HOST: Self = Self { uid: 0, gid: 0 };

    /// The given user.
    #[must_use]
    pub fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid }
    }
}

/// The caller of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// File-system user id.
    pub uid: u32,
    /// File-system group id.
    pub gid: u32,
    /// Thread id in the host's pid namespace, 0 if the caller is outside of it.
    pub pid: u32,
    /// The caller's umask; only creating operations carry one.
    pub umask: u32,
    /// True if nobody in particular makes the call: write-back of dirty pages, or the host's own
    /// work. The ids then say nothing about who wrote the data.
    pub anonymous: bool,
    /// The host's number for the request that makes the call; 0 if there is none.
    pub request: u64,
    /// Where opens are dispatched: what the answer to the open said through which the call is made. A
    /// layer that gives handles of its own replaces it by the lower layer's ([`Call::with_handle`]).
    pub handle: Option<u64>,
    options: Option<CallOptions>,
}

impl Call {
    /// A call by the given user.
    #[must_use]
    pub fn new(uid: u32, gid: u32, pid: u32) -> Self {
        Self { uid, gid, pid, umask: 0, anonymous: false, request: 0, handle: None, options: None }
    }

    /// The host's own call, as root and on nobody's behalf.
    #[must_use]
    pub fn internal() -> Self {
        Self { anonymous: true, ..Self::new(0, 0, 0) }
    }

    /// A call of the host's own that stores something on somebody's behalf.
    #[must_use]
    pub fn on_behalf_of(by: Credentials) -> Self {
        Self { anonymous: true, ..Self::new(by.uid, by.gid, 0) }
    }

    /// The same call with the caller's umask.
    #[must_use]
    pub fn with_umask(self, umask: u32) -> Self {
        Self { umask, ..self }
    }

    /// The same call with what rules set for it.
    #[must_use]
    pub fn with_options(self, options: Option<CallOptions>) -> Self {
        Self { options, ..self }
    }

    /// The same call through another open.
    #[must_use]
    pub fn with_handle(self, handle: Option<u64>) -> Self {
        Self { handle, ..self }
    }

    /// As whom the call stores something.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials { uid: self.uid, gid: self.gid }
    }

    /// The value that a rule of the policy in force sets for this call. The name is one of the
    /// extension's own options; the value has not been checked.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        let options = self.options.as_deref()?;
        options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
