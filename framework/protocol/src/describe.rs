//! What the program of an extension says of the extensions that it holds.

use serde::{Deserialize, Serialize};

/// An extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The name, as in `--extension NAME`.
    pub name: String,
    /// One line.
    pub about: String,
    /// Version of what it stores; 0 if it stores nothing of its own.
    pub format: u32,
    /// It says itself when a store of an older format is brought forward; otherwise that is when it is mounted to be
    /// written.
    #[serde(default)]
    pub brings_forward: bool,
    /// Version of the contract that it was built for.
    #[serde(default)]
    pub contract: u32,
    /// Its options.
    pub options: Vec<OptionDescription>,
    /// What it needs beyond what every worker may do.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Commands that its program carries out: `hsci VERB`.
    #[serde(default)]
    pub verbs: Vec<VerbDescription>,
}

/// An option of an extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionDescription {
    /// The name, as in `-o name=value`.
    pub name: String,
    /// What it does, one line.
    pub help: String,
    /// The value where none is given.
    pub default: String,
    /// Rules of policies may set it for single calls.
    pub by_call: bool,
    /// What the command does with a value before it passes it on.
    #[serde(default)]
    pub kind: ValueKind,
    /// The store keeps the value, for what is stored cannot be read with another one.
    #[serde(default)]
    pub recorded: bool,
}

/// What the command does with the value of an option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// Passes it on.
    #[default]
    Plain,
    /// Makes it absolute.
    Path,
    /// Reads it from a file, a descriptor or the terminal, and shows it to nobody.
    Secret,
}

/// A command of an extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbDescription {
    /// The word after `hsci`.
    pub name: String,
    /// What it does, one line.
    pub about: String,
}
