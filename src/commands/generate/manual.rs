//! Pages of the manual: of the commands, from their definitions; of formats, from pages of the book.

use std::fs;
use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

use super::roff;

const VERSION: &str = concat!("hsci ", env!("CARGO_PKG_VERSION"));

/// A page that no command has: its name and section, what it is about, the page of the book.
const PAGES: [(&str, &str, &str, &str); 3] = [
    (
        "hsci-compressfs",
        "5",
        "options and attributes of compressed stores",
        include_str!("../../../docs/src/reference/compressfs.md"),
    ),
    (
        "hsci-policy",
        "5",
        "the language of policies",
        include_str!("../../../docs/src/reference/policy-language.md"),
    ),
    (
        "mount.fuse.hsci",
        "8",
        "mount helper for mount(8) and fstab(5)",
        include_str!("../../../docs/src/reference/mount-helper.md"),
    ),
];

/// Writes all pages below `man`.
pub(super) fn write(command: &Command, man: &Path) -> IoResult<()> {
    for section in ["man1", "man5", "man8"] {
        fs::create_dir_all(man.join(section))?;
    }
    write_commands(command, &man.join("man1"))?;
    PAGES.iter().try_for_each(|(name, section, about, text)| {
        let page = roff::page(name, section, about, VERSION, text);
        fs::write(man.join(format!("man{section}/{name}.{section}")), page)
    })
}

/// Writes the page of a command and of all below it.
fn write_commands(command: &Command, dir: &Path) -> IoResult<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command)?)?;
    let is_shown = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    command.get_subcommands().filter(is_shown).try_for_each(|below| write_commands(below, dir))
}

fn page(command: &Command) -> IoResult<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone()).source(VERSION).manual("hsci");
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
        writeln!(page, "{}", roff::escaped(line))?;
    }
    writeln!(page, ".fi")
}
