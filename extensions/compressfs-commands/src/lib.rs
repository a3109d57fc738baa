//! The commands that compressfs brings: `hsci algorithm`, `settle`, `recompress` and `usage`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod algorithm;
mod cli;
mod recompress;
mod settle;
mod usage;

use std::ffi::OsString;

use hsci_command::{Result, completion, manual};
use hsci_host::program::Verbs;

/// What the program of compressfs registers.
pub const VERBS: Verbs = Verbs {
    list: || {
        let command = cli::command();
        let about = |verb: &clap::Command| {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            (verb.get_name().to_owned(), about)
        };
        command.get_subcommands().map(about).collect()
    },
    run: |arguments| hsci_command::end("hsci", run(&arguments)),
    complete: || completion::answer_shell(cli::command),
    manual: |directory| {
        let mut command = cli::command();
        command.build();
        let version = concat!("hsci ", env!("CARGO_PKG_VERSION"));
        let is_shown = |verb: &&clap::Command| verb.get_name() != "help";
        let mut verbs = command.get_subcommands().filter(is_shown);
        verbs.try_for_each(|verb| manual::write_commands(verb, directory, version))
    },
};

fn run(arguments: &[OsString]) -> Result<()> {
    let parsed = hsci_command::parse::<cli::Cli>(cli::command(), cli::command, arguments)?;
    let Some(cli) = parsed else { return Ok(()) };
    match &cli.command {
        cli::Command::Algorithm(args) => algorithm::run(args),
        cli::Command::Settle(args) => settle::run(args),
        cli::Command::Recompress(args) => recompress::run(args),
        cli::Command::Usage(args) => usage::run(args),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_sound() {
        super::cli::command().debug_assert();
    }
}
