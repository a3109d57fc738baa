//! `hsci completions`, and the hidden `hsci generate` that makes all pages, scripts and units.

use std::fs;
use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use hsci_host::failure::{Exit, Failure};

use crate::cli::{self, Completions, Generate};
use crate::{Result, ui};

/// The shells for which scripts are installed, and where each looks below a `share` directory.
const SCRIPTS: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "hsci"),
    (Shell::Zsh, "zsh/site-functions", "_hsci"),
    (Shell::Fish, "fish/vendor_completions.d", "hsci.fish"),
];

/// The units of systemd: one keeps a mount, the other a machine's policies with their mounts.
const UNITS: [(&str, &str); 2] = [
    ("hsci@.service", include_str!("../hsci@.service")),
    ("hsci.service", include_str!("../hsci.service")),
];

/// Prints a completion script.
pub(crate) fn completions(args: &Completions) -> Result<()> {
    ui::print(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "hsci", &mut script);
    String::from_utf8(script).expect("our own names and texts are UTF-8")
}

/// Writes man pages, completion scripts and units below a directory.
pub(crate) fn generate(args: &Generate) -> Result<()> {
    write_all(&args.share)
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", args.share.display())))
}

fn write_all(dir: &Path) -> IoResult<()> {
    let pages = dir.join("man/man1");
    fs::create_dir_all(&pages)?;
    let mut command = cli::command();
    command.build();
    write_pages(&command, &pages)?;
    for (shell, place, name) in SCRIPTS {
        let place = dir.join(place);
        fs::create_dir_all(&place)?;
        fs::write(place.join(name), script(shell))?;
    }
    let program = std::env::current_exe()?;
    let place = dir.join("hsci");
    fs::create_dir_all(&place)?;
    UNITS.iter().try_for_each(|(name, unit)| {
        fs::write(place.join(name), unit.replace("@HSCI@", &program.to_string_lossy()))
    })
}

/// Writes the page of a command and of all below it.
fn write_pages(command: &Command, dir: &Path) -> IoResult<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command)?)?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.into_iter().try_for_each(|below| write_pages(below, dir))
}

fn page(command: &Command) -> IoResult<Vec<u8>> {
    let mut page = Vec::new();
    let version = concat!("hsci ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version).manual("hsci");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        write_as_it_is(&mut page, &text.to_string())?;
    }
    Ok(page)
}

/// Writes a heading and the lines below it, without filling them, as examples need it.
fn write_as_it_is(page: &mut Vec<u8>, text: &str) -> IoResult<()> {
    let (heading, lines) = text.split_once('\n').unwrap_or((text, ""));
    writeln!(page, ".SH {}\n.nf", heading.trim_end_matches(':').to_uppercase())?;
    for line in lines.lines() {
        // No line of a text may look like a request of roff.
        writeln!(page, "\\&{}", line.replace('\\', "\\\\").replace('-', "\\-"))?;
    }
    writeln!(page, ".fi")
}
