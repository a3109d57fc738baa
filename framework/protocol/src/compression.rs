//! What an extension that compresses files answers about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a file is going to be compressed, and why: the answer to `algorithm` and `algorithm-of`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Name and level.
    pub algorithm: String,
    /// Who says so.
    pub from: ChoiceSource,
    /// The file or directory that says so, relative to the root of the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// Who says how a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceSource {
    /// A choice for the file itself.
    File,
    /// A choice for a directory above it.
    Directory,
    /// A rule of the policy.
    Policy,
    /// The user who writes it.
    User,
    /// The mount.
    Mount,
}

/// The choices that belong to no file or directory: the answer to `choices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneralChoices {
    /// The default of the mount.
    pub mount: String,
    /// Users' own choices by user id, as far as the caller may see them.
    pub users: BTreeMap<u32, String>,
}

/// The space that one file takes: the answer to `usage`. Sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUsage {
    /// Name of the stored form.
    pub form: String,
    /// Length of the file.
    pub logical: u64,
    /// Space that the stored file takes on its file system.
    pub stored: u64,
    /// Images that it has, one after another; 0 if it is raw.
    #[serde(default)]
    pub segments: u64,
    /// What each algorithm has made of it.
    pub codecs: Vec<AlgorithmUsage>,
}

/// The part of a file that one algorithm has made. Sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgorithmUsage {
    /// Name and level.
    pub algorithm: String,
    /// Bytes of the file.
    pub logical: u64,
    /// Bytes that they became.
    pub stored: u64,
    /// In how many chunks.
    pub chunks: u64,
}
