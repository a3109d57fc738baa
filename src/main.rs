//! The command `hsci`: parses arguments, wires the parts together, prints.
//!
//! Called as `mount.fuse.hsci` it takes the arguments of a mount helper instead.

// Printing panics where nobody reads: functions that cope with that do it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod callers;
mod cli;
mod commands;
mod completion;
mod control;
mod extension_program;
mod fence;
mod mount_helper;
mod mount_options;
mod option_values;

mod ui;
mod usage_error;
mod walk;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use hsci_host::failure::{Exit, Failure};

type Result<T, E = Failure> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if mount_helper::is_meant(&arguments) {
        return mount_helper::main(&arguments);
    }
    completion::answer_shell();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain("hsci", &failure),
    }
}

fn run(arguments: Vec<OsString>) -> Result<()> {
    let parsed = cli::command()
        .try_get_matches_from(arguments)
        .and_then(|mut matches| cli::Cli::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(cli) => commands::run(&cli.command),
        Err(error) if error.use_stderr() => {
            Err(Failure::new(Exit::Usage, usage_error::one_line(&error)))
        }
        Err(help) => {
            // A reader that has seen enough is no reason to fail.
            let _ = help.print();
            Ok(())
        }
    }
}

/// Prints the one line that goes with a failure.
fn complain(program: &str, failure: &Failure) -> ExitCode {
    // A program that ran on our behalf may have said it already.
    if !failure.text.is_empty() {
        let text = failure.to_string();
        ui::warn(&format!("{program}: {}", hsci_host::failure::printable(&text)));
    }
    ExitCode::from(failure.exit.code())
}
