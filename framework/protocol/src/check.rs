//! Work on a store that is not mounted: what the program of an extension is asked for on its standard input, for
//! options may be secret, and what it prints.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::mount::MountOption;
use crate::path;

/// How a store is opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offline {
    /// The directory.
    #[serde(with = "path")]
    pub lower: PathBuf,
    /// The extensions that made it, the topmost first.
    pub extensions: Vec<String>,
    /// Options for them: names and values.
    pub options: Vec<MountOption>,
    /// Somebody watches: say how many bytes there are before the work begins.
    pub progress: bool,
}

/// One line of what is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckEvent {
    /// So many bytes there are to do.
    Total(u64),
    /// So many more of them are done.
    Progress(u64),
    /// Something was found.
    Finding(CheckFinding),
    /// The end of a complete check.
    Checked(Checked),
}

/// Something that a check has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFinding {
    /// How bad it is.
    pub severity: Severity,
    /// Path below the root, or a part of the store.
    pub path: String,
    /// What is wrong.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is lost.
    Notice,
    /// Something was lost, and what is left is whole: a repair has seen to it.
    Lost,
    /// Something cannot be read.
    Damage,
}

impl Severity {
    /// The severity in one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Lost => "lost",
            Self::Damage => "damage",
        }
    }
}

/// What a complete check has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Regular files.
    pub files: u64,
    /// Logical bytes verified against a checksum.
    pub verified_bytes: u64,
    /// Logical bytes in forms that carry no checksum.
    pub unverified_bytes: u64,
}
