//! `hsci unmount`.

use crate::Result;
use crate::cli::Unmount;

/// Runs the command.
pub(crate) fn run(args: &Unmount) -> Result<()> {
    let _ = args;
    unreachable!()
}
