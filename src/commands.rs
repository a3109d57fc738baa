//! One module for each command.

mod mount;
mod status;
mod unmount;

use crate::Result;
use crate::cli::Command;

pub(crate) use mount::run as mount;

/// Runs a parsed command.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Mount(args) => mount::run(&args),
        Command::Unmount(args) => unmount::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Supervise(args) => mount::supervise(&args),
        _ => todo!(),
    }
}
