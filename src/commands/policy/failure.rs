//! What the kernel side refuses, as the command says it.

use hsci_host::failure::{Exit, Failure};
use hsci_kernel::Error;

/// Why the kernel cannot do it, and what works all the same.
pub(crate) fn failure(error: &Error) -> Failure {
    match error {
        Error::NotRoot => Failure::new(
            Exit::Impossible,
            "only root may; `hsci policy check`, `explain` and `test` work without",
        ),
        Error::NotLoaded => {
            Failure::new(Exit::Missing, "no policy is loaded; `hsci policy load FILE` loads one")
        }
        Error::OtherCommand | Error::OtherVersion => {
            Failure::new(Exit::Impossible, error.to_string())
        }
        Error::TooLarge => Failure::new(Exit::No, error.to_string()),
        Error::Types(_) | Error::NotAsked | Error::Object(_) | Error::Program { .. } => {
            Failure::new(Exit::Impossible, format!("{error}; `hsci doctor` tells what is missing"))
        }
        _ => Failure::new(Exit::Internal, error.to_string()),
    }
}
