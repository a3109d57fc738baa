//! How the settling of files goes.

use serde::{Deserialize, Serialize};

/// The answer to the question `settle`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleProgress {
    /// Files settled.
    pub done: u64,
    /// Files to settle, once all were found.
    pub total: Option<u64>,
    /// The last order is not carried out yet.
    pub running: bool,
    /// Files that could not be settled.
    pub failed: u64,
    /// Stored bytes of the files that were looked at.
    #[serde(default)]
    pub bytes: u64,
    /// Stored bytes of all of them, once all were found.
    #[serde(default)]
    pub total_bytes: Option<u64>,
}

/// What has become of files since the worker began to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settles {
    /// Files whose stored form was changed.
    pub changed: u64,
    /// Files that could not be settled; each attempt counts.
    pub failed: u64,
    /// Files that wait, or are being settled.
    pub pending: u64,
}
