//! `hsci extensions` and `hsci conformance`: for those who write extensions, and those who choose among them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use hsci_extension::protection;
use hsci_extension::testkit::conformance;
use hsci_host::failure::{Exit, Failure};
use hsci_host::place::{self, Place};
use hsci_protocol::describe::{Description, OptionDescription, ValueKind};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat, unlinkat};
use rustix::process::geteuid;
use serde::Serialize;

use crate::cli::{Conformance, Extensions};
use crate::{Result, control, extension_program, ui};

/// An extension that is installed, as `--json` prints it.
#[derive(Serialize)]
struct Installed {
    #[serde(flatten)]
    description: Description,
    /// The program that holds it.
    #[serde(serialize_with = "ui::lossy")]
    program: PathBuf,
}

/// Shows what is installed.
pub(crate) fn extensions(args: &Extensions) -> Result<()> {
    let mut installed = installed();
    if let Some(name) = &args.name {
        let one = installed.remove(name).map_or_else(|| named(name), Ok)?;
        return if args.json { ui::print_json(&one) } else { ui::print(&one.text()) };
    }
    if args.json {
        return ui::print_json(&installed.into_values().collect::<Vec<_>>());
    }
    let line = |one: &Installed| {
        let Description { name, about, .. } = &one.description;
        format!("{name:<14}{about}\n")
    };
    ui::print(&installed.values().map(line).collect::<String>())?;
    // Root asks none of these unless it is named.
    let unasked =
        extension_program::names().into_iter().filter(|name| !installed.contains_key(name));
    let line = |name| format!("{name:<14}(not asked: `hsci extensions {name}`)\n");
    ui::print(&unasked.map(line).collect::<String>())
}

/// One that only its name leads to.
fn named(name: &str) -> Result<Installed> {
    let program = extension_program::find(name)?;
    let mut held = extension_program::describe(&program).into_iter();
    match held.find(|one| one.name == name) {
        Some(description) => Ok(Installed { description, program }),
        None => {
            let text = format!("{}: it does not describe `{name}`", program.display());
            Err(Failure::new(Exit::Internal, text))
        }
    }
}

/// All extensions in all programs. One that has a program of its own is shown from there.
fn installed() -> BTreeMap<String, Installed> {
    let mut found = BTreeMap::new();
    for (own, program) in extension_program::installed() {
        for description in extension_program::describe(&program) {
            let (name, program) = (description.name.clone(), program.clone());
            let one = Installed { description, program };
            if name == own {
                found.insert(name, one);
            } else {
                found.entry(name).or_insert(one);
            }
        }
    }
    found
}

impl Installed {
    fn text(&self) -> String {
        let Description { name, about, format, contract, options, needs, .. } = &self.description;
        let stores = match format {
            0 => "nothing of its own".to_owned(),
            format => format!("format {format}"),
        };
        let needs = if needs.is_empty() { "the store alone".to_owned() } else { needs.join(", ") };
        let mut text = format!(
            "{}: {about}\n\n  program   {}\n  contract  {contract}\n  stores    {stores}\n  uses      {needs}\n",
            ui::bold(name),
            self.program.display()
        );
        if !options.is_empty() {
            text += "\nOptions with -o:\n";
        }
        for option in options {
            let _ = writeln!(text, "  {:<16}{}", option.name, meaning(option));
        }
        text
    }
}

/// What an option does, and what is special about it.
fn meaning(option: &OptionDescription) -> String {
    let mut notes = Vec::new();
    match option.kind {
        ValueKind::Secret => notes.push("a secret: file:PATH, fd:NUMBER or ask".to_owned()),
        ValueKind::Path => notes.push("a path".to_owned()),
        ValueKind::Plain => {}
    }
    if !option.default.is_empty() {
        notes.push(format!("default {}", option.default));
    }
    if option.recorded {
        notes.push("kept by the store".to_owned());
    }
    if option.by_call {
        notes.push("rules of policies may set it".to_owned());
    }
    match notes.is_empty() {
        true => option.help.clone(),
        false => format!("{} [{}]", option.help, notes.join("; ")),
    }
}

/// Runs the conformance kit in a directory, which is left as it was.
pub(crate) fn conformance(args: &Conformance) -> Result<()> {
    let dir = &args.dir;
    let found = place::look(dir)?;
    let errno = |error: std::io::Error| control::of_path(dir, ui::errno(&error));
    let scratch = Scratch::make(&found).map_err(errno)?;
    let progress = ui::spinner("conformance");
    let failures = conformance::on_directory(&scratch.reach());
    progress.finish_and_clear();
    let removed = scratch.remove(&found).map_err(errno);
    for failure in &failures {
        ui::print(&format!("{}: {}\n", failure.case, failure.text))?;
    }
    removed?;
    match failures.len() {
        0 => ui::print(&format!("{}: all cases are kept\n", shown(dir))),
        failed => {
            Err(Failure::new(Exit::No, format!("{}: {failed} cases are not kept", shown(dir))))
        }
    }
}

/// A directory of one's own in one of anybody's, who may give its name to something else: used by descriptor.
struct Scratch {
    name: String,
    directory: OwnedFd,
}

impl Scratch {
    fn make(parent: &Place) -> io::Result<Self> {
        let name = format!("hsci-conformance-{}", std::process::id());
        mkdirat(parent, &name, Mode::RWXU)?;
        place::pause("scratch-made");
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, protection::stands("scratch"));
        let made = Self { directory: openat(parent, &name, flags, Mode::empty())?, name };
        let is_own = fstat(&made.directory)?.st_uid == geteuid().as_raw();
        match !protection::stands("scratch") || (is_own && made.entries()?.is_empty()) {
            true => Ok(made),
            // Somebody has put another one there.
            false => Err(rustix::io::Errno::ACCESS.into()),
        }
    }

    fn reach(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.directory.as_raw_fd()).into()
    }

    /// What is in it: names, and whether they are directories.
    fn entries(&self) -> io::Result<Vec<(OsString, bool)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                entries.push((name, entry.file_type() == FileType::Directory));
            }
        }
        Ok(entries)
    }

    fn remove(&self, parent: &Place) -> io::Result<()> {
        for (name, is_directory) in self.entries()? {
            let path = self.reach().join(name);
            match is_directory {
                true => fs::remove_dir_all(path)?,
                false => fs::remove_file(path)?,
            }
        }
        Ok(unlinkat(parent, &self.name, AtFlags::REMOVEDIR)?)
    }
}

fn shown(dir: &Path) -> String {
    dir.display().to_string()
}
