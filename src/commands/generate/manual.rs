//! Pages of the manual: of the commands, from their definitions; of formats, from pages of the book.

use std::fs;
use std::io::Result as IoResult;
use std::path::Path;

use clap::Command;
use hsci_command::manual::write_commands;

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
    write_commands(command, &man.join("man1"), VERSION)?;
    PAGES.iter().try_for_each(|(name, section, about, text)| {
        let page = roff::page(name, section, about, VERSION, text);
        fs::write(man.join(format!("man{section}/{name}.{section}")), page)
    })
}
