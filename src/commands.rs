//! One module for each command.

mod authors;
mod doctor;
mod generate;
mod metrics;
mod mount;
mod new;
mod offline;
mod policy;
mod status;
mod trace;
mod unmount;
mod up;
mod upgrade;

pub(crate) use mount::run as mount;

use crate::Result;
use crate::cli::Command;

/// Runs a parsed command.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Mount(args) => mount::run(args),
        Command::Unmount(args) => unmount::run(args),
        Command::Up(args) => up::up(args),
        Command::Down(args) => up::down(args),
        Command::Upgrade(args) => upgrade::run(args),
        Command::Status(args) => status::run(args),
        Command::Metrics(_) => metrics::run(),
        Command::Check(args) => offline::check(args),
        Command::Export(args) => offline::export(args),
        Command::Policy(args) => policy::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::New(args) => new::run(args),
        Command::Extensions(args) => authors::extensions(args),
        Command::Conformance(args) => authors::conformance(args),
        Command::Completions(args) => generate::completions(args),
        Command::Supervise => mount::supervise(),
        Command::Generate(args) => generate::generate(args),
    }
}
