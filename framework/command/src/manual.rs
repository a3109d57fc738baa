//! Pages of the manual, of commands from their definitions.

use std::fs;
use std::io::{Result as IoResult, Write as _};
use std::path::Path;

use clap::Command;
use clap_mangen::Man;

/// Writes the page of a command and of all below it.
pub fn write_commands(command: &Command, dir: &Path, version: &str) -> IoResult<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    fs::write(dir.join(format!("{name}.1")), page(command, version)?)?;
    let is_shown = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    command
        .get_subcommands()
        .filter(is_shown)
        .try_for_each(|below| write_commands(below, dir, version))
}

fn page(command: &Command, version: &str) -> IoResult<Vec<u8>> {
    let mut page = Vec::new();
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
        writeln!(page, "{}", escaped(line))?;
    }
    writeln!(page, ".fi")
}

/// A text in which nothing is a request of roff, as one line.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut line = String::from("\\&");
    for character in text.chars() {
        match character {
            '\\' => line.push_str("\\e"),
            '-' => line.push_str("\\-"),
            '`' => line.push_str("\\`"),
            '\'' => line.push_str("\\(aq"),
            '^' => line.push_str("\\(ha"),
            '~' => line.push_str("\\(ti"),
            other => line.push(other),
        }
    }
    line
}
