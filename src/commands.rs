//! One module for each command.

mod algorithm;
mod authors;
mod doctor;
mod generate;
mod metrics;
mod mount;
mod new;
mod offline;
mod policy;
mod recompress;
mod settle;
mod status;
mod trace;
mod unmount;
mod up;
mod upgrade;
mod usage;

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
        Command::Algorithm(args) => algorithm::run(args),
        Command::Settle(args) => settle::run(args),
        Command::Recompress(args) => recompress::run(args),
        Command::Usage(args) => usage::run(args),
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
