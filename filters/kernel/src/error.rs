//! Why something cannot be done in the kernel.

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};

/// Why something cannot be done in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller may not.
    #[error("the kernel lets only root do this")]
    NotRoot,
    /// The kernel does not describe its types.
    #[error("the kernel does not describe its types (BTF)")]
    Types(#[source] BtfError),
    /// Programs at hooks would never run.
    #[error("the kernel asks no programs at its hooks: `bpf` is not in its parameter `lsm=`")]
    NotAsked,
    /// An object does not load.
    #[error("eBPF object: {}", chain(.0))]
    Object(#[source] EbpfError),
    /// The kernel refuses a program.
    #[error("the kernel refuses the program `{name}`: {}", chain(.source))]
    Program {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        source: ProgramError,
    },
    /// A map cannot be made or used.
    #[error("map `{name}`: {}", chain(.source))]
    Map {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        source: MapError,
    },
    /// The tables are longer than any program has room for.
    #[error("the tables of the policy are longer than 16 MiB")]
    TooLarge,
    /// Something is missing in an object: the build is broken.
    #[error("the eBPF object has no `{0}`")]
    Absent(&'static str),
    /// The guard keeps the caller from its pins.
    #[error("the policy in force can be changed only by the file of `hsci` that loaded it")]
    OtherCommand,
    /// The guard was loaded by a program that shares other records with the kernel.
    #[error(
        "the policy in force was loaded by another version of `hsci`; unload it with that, or \
         start the machine again"
    )]
    OtherVersion,
    /// There is no guard to be changed.
    #[error("no policy is loaded")]
    NotLoaded,
    /// What was unloaded or replaced has not ended yet.
    #[error("{left} programs of the policy before are still in the kernel after {seconds} s")]
    Lingering {
        /// How many programs.
        left: usize,
        /// How long they had.
        seconds: u64,
    },
    /// Files of the kernel or of pins.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the kernel says.
        source: std::io::Error,
    },
}

/// An error with all its reasons, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = first_line(error);
    let mut next = error.source();
    while let Some(source) = next {
        let reason = first_line(source);
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        next = source.source();
    }
    text
}

/// Without the verifier's log, which is for those who write programs.
fn first_line(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.split(". Verifier output:").next().unwrap_or_default().to_owned()
}
