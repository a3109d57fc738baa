//! What a shell offers for an argument, found out when it is asked.

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
pub(crate) use hsci_command::completion::mounts;
use hsci_language::{FileType, OpenFlag, Operation};

use crate::extension_program;

/// Names of the extensions that are installed.
pub(crate) fn extensions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        extension_program::names().into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Words that policies know.
fn words(words: impl Iterator<Item = &'static str>) -> Vec<CompletionCandidate> {
    words.map(CompletionCandidate::new).collect()
}

/// Names of operations.
pub(crate) fn operations() -> ArgValueCandidates {
    ArgValueCandidates::new(|| words(Operation::ALL.iter().map(|operation| operation.name())))
}

/// Names of open flags.
pub(crate) fn open_flags() -> ArgValueCandidates {
    ArgValueCandidates::new(|| words(OpenFlag::ALL.iter().map(|flag| flag.name())))
}

/// Names of types of files.
pub(crate) fn file_types() -> ArgValueCandidates {
    ArgValueCandidates::new(|| words(FileType::ALL.iter().map(|file_type| file_type.name())))
}
