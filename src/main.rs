//! The command `hsci`: parses arguments, wires the parts together, prints.
//!
//! Called as `mount.fuse.hsci` it takes the arguments of a mount helper instead.

// Printing panics where nobody reads: functions that cope with that do it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod callers;
mod cli;
mod commands;
mod completion;
mod extension_program;
mod fence;
mod mount_helper;
mod mount_options;
mod option_values;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use hsci_command::{Result, control, ui};
use hsci_host::failure::Failure;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if mount_helper::is_meant(&arguments) {
        return mount_helper::main(&arguments);
    }
    verbs::answer_shell(&arguments);
    hsci_command::completion::answer_shell(cli::with_verbs);
    hsci_command::end("hsci", run(&arguments))
}

fn run(arguments: &[OsString]) -> Result<()> {
    let known = verbs::run(arguments)?;
    let complete = || known.map_or_else(cli::with_verbs, cli::complete);
    match hsci_command::parse::<cli::Cli>(cli::command(), complete, arguments)? {
        Some(cli) => commands::run(&cli.command),
        None => Ok(()),
    }
}

/// Prints the one line that goes with a failure.
fn complain(program: &str, failure: Failure) -> ExitCode {
    hsci_command::end(program, Err(failure))
}
