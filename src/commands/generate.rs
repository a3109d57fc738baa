//! `hsci completions`, and the hidden `hsci generate` that makes all pages, scripts and units.

mod manual;
mod roff;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Error as IoError, Result as IoResult};
use std::process::Command;

use hsci_host::failure::{Exit, Failure};

use hsci_command::completion;

use crate::cli::{self, Completions, Generate};
use crate::{Result, extension_program, ui, verbs};

/// The shells for which scripts are installed, and where each looks below a `share` directory.
const SCRIPTS: [(&str, &str, &str); 3] = [
    ("bash", "bash-completion/completions", "hsci"),
    ("zsh", "zsh/site-functions", "_hsci"),
    ("fish", "fish/vendor_completions.d", "hsci.fish"),
];

/// The units of systemd: one keeps a mount, the other a machine's policies with their mounts.
const UNITS: [(&str, &str); 2] = [
    ("hsci@.service", include_str!("../hsci@.service")),
    ("hsci.service", include_str!("../hsci.service")),
];

/// Prints a completion script.
pub(crate) fn completions(args: &Completions) -> Result<()> {
    let shell = args.shell.to_string();
    ui::print(&String::from_utf8_lossy(&completion::script(&shell)))
}

/// Writes man pages, completion scripts and units below a directory.
pub(crate) fn generate(args: &Generate) -> Result<()> {
    write_all(args)
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", args.share.display())))
}

fn write_all(args: &Generate) -> IoResult<()> {
    let dir = args.share.as_path();
    // Pages are of what is installed together.
    let verbs = verbs::all(extension_program::shipped());
    let programs: BTreeSet<_> = verbs.values().map(|verb| verb.program.clone()).collect();
    let mut command = cli::complete(verbs);
    command.build();
    manual::write(&command, &dir.join("man"))?;
    for program in programs {
        let ended = Command::new(&program).arg("manual").arg(dir.join("man/man1")).status()?;
        if !ended.success() {
            return Err(IoError::other(format!("{}: {ended}", program.display())));
        }
    }
    for (shell, place, name) in SCRIPTS {
        let place = dir.join(place);
        fs::create_dir_all(&place)?;
        fs::write(place.join(name), completion::script(shell))?;
    }
    let program = args.program.clone().map_or_else(std::env::current_exe, Ok)?;
    let place = dir.join("hsci");
    fs::create_dir_all(&place)?;
    UNITS.iter().try_for_each(|(name, unit)| {
        fs::write(place.join(name), unit.replace("@HSCI@", &program.to_string_lossy()))
    })
}
