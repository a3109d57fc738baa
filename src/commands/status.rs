//! `hsci status`.

use crate::Result;
use crate::cli::Status;

/// Runs the command.
pub(crate) fn run(args: &Status) -> Result<()> {
    let _ = args;
    unreachable!()
}
