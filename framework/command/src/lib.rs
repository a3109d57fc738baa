//! What the command `hsci` and the commands of extensions share, so that they look and behave as one: how paths are
//! reached, mounts asked, trees walked, results and complaints printed; completion and manual.
//!
//! An extension brings a command by registering its program's [`Verbs`](hsci_host::program::Verbs).

// Printing panics where nobody reads: functions that cope with that do it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod completion;
pub mod control;
pub mod manual;
pub mod ui;
mod usage_error;
pub mod walk;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;
use clap::builder::styling::{AnsiColor, Styles};
use hsci_host::failure::{Exit, Failure};

/// What commands return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The colours of help texts.
#[must_use]
pub fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold())
        .placeholder(AnsiColor::Cyan.on_default())
}

/// Parses a command line. Where it does not fit `command`, the complaint or the help text is that of `complete`, which
/// knows all commands; nothing if that was a help text.
pub fn parse<T: FromArgMatches>(
    command: clap::Command,
    complete: impl FnOnce() -> clap::Command,
    arguments: &[OsString],
) -> Result<Option<T>> {
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
    let error = match parsed {
        Ok(parsed) => return Ok(Some(parsed)),
        Err(error) => complete().try_get_matches_from(arguments).err().unwrap_or(error),
    };
    if error.use_stderr() {
        return Err(Failure::new(Exit::Usage, usage_error::one_line(&error)));
    }
    // A reader that has seen enough is no reason to fail.
    let _ = error.print();
    Ok(None)
}

/// How a program ends: with one line where it fails.
#[must_use]
pub fn end(program: &str, outcome: Result<()>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    // A program that ran on our behalf may have said it already.
    if !failure.text.is_empty() {
        let text = failure.to_string();
        ui::warn(&format!("{program}: {}", hsci_host::failure::printable(&text)));
    }
    ExitCode::from(failure.exit.code())
}
