//! `hsci completions`, and the hidden `hsci generate` that makes all pages and scripts.

use std::fs;
use std::io::Result as IoResult;
use std::path::Path;

use clap_complete::Shell;
use hsci_host::failure::{Exit, Failure};

use crate::cli::{self, Completions, Generate};
use crate::{Result, ui};

/// The shells for which scripts are installed.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Prints a completion script.
pub(crate) fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "hsci", &mut script);
    ui::print(&String::from_utf8_lossy(&script))
}

/// Writes man pages and completion scripts below a directory.
pub(crate) fn generate(args: &Generate) -> Result<()> {
    write_all(&args.dir)
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", args.dir.display())))
}

fn write_all(dir: &Path) -> IoResult<()> {
    let pages = dir.join("man/man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(cli::command(), &pages)?;
    let scripts = dir.join("completions");
    fs::create_dir_all(&scripts)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut cli::command(), "hsci", &scripts)?;
    }
    Ok(())
}
