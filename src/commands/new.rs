//! `hsci new`: a crate of an extension, which builds, passes its tests and mounts as it is.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf, absolute};

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use rustix::fs::{Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::cli::{New, NewKind};
use crate::extension_program;
use crate::{Result, ui};

/// Version of the crates that a new one depends on.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// An extension that can be bundled: its name, its crate, its type, where the sources have it.
const BUNDLES: [(&str, &str, &str, &str); 2] = [
    ("compressfs", "hsci-compressfs", "hsci_compressfs::CompressFs", "extensions/compressfs"),
    ("nullfs", "hsci-nullfs", "hsci_nullfs::NullFs", "extensions/nullfs"),
];

/// The files of a new crate, but for what is in its library: where they are, and their texts.
const FILES: [(&str, &str); 4] = [
    ("src/main.rs", include_str!("new/main.rs.in")),
    ("tests/mount.rs", include_str!("new/mount.rs.in")),
    ("README.md", include_str!("new/readme.md.in")),
    (".gitignore", "/target/\n"),
];

/// Makes the crate.
pub(crate) fn run(args: &New) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    check_name(&args.name)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Err(failure) = place::look(parent.unwrap_or(Path::new(".")))
        && failure.exit != Exit::Missing
    {
        return Err(failure);
    }
    if place::look(&dir).is_ok() {
        let text = format!("{}: exists already; name another place with --dir", dir.display());
        return Err(Failure::new(Exit::Missing, text));
    }
    let bundles = args.bundle.iter().map(|name| bundle(name)).collect::<Result<Vec<_>>>()?;
    let sources = args.sources.as_deref().map(sources).transpose()?;
    let library = match args.kind {
        NewKind::Content => include_str!("new/content.rs.in"),
        NewKind::Layer => include_str!("new/layer.rs.in"),
        NewKind::View => include_str!("new/view.rs.in"),
        NewKind::Tree => include_str!("new/tree.rs.in"),
    };
    let bundled: String = bundles.iter().map(|one| format!(", extension::<{}>()", one.2)).collect();
    let fill = |text: &str| {
        text.replace("@NAME@", &args.name)
            .replace("@CRATE@", &crate_name(&args.name).replace('-', "_"))
            .replace("@TYPE@", &type_name(&args.name))
            .replace("@ABOUT@", "Does what its author has in mind")
            .replace("@BUNDLED@", &bundled)
    };
    let made = Made::make(&dir)?;
    let write = |name: &str, text: &str| made.write(name, text);
    write("Cargo.toml", &manifest(&args.name, &bundles, sources.as_deref()))?;
    write("src/lib.rs", &fill(library))?;
    FILES.iter().try_for_each(|(name, text)| write(name, &fill(text)))?;
    ui::print(&format!(
        "made {0}; `cd {0} && cargo test` tests it, `cargo install --path .` installs it\n",
        dir.display()
    ))
}

/// A directory that was just made. Who may change the one around it does not lead what is written to another place.
struct Made<'a> {
    directory: OwnedFd,
    shown: &'a Path,
}

impl<'a> Made<'a> {
    fn make(dir: &'a Path) -> Result<Self> {
        let fail = |error: std::io::Error| failed(dir, &error);
        let (parent, name) = match place::open_parent(dir) {
            Err(failure) if failure.exit == Exit::Missing => {
                dir.parent().map_or(Ok(()), fs::create_dir_all).map_err(fail)?;
                place::open_parent(dir)?
            }
            opened => opened?,
        };
        let make = || -> rustix::io::Result<_> {
            mkdirat(&parent, &name, Mode::from_raw_mode(0o777))?;
            place::pause("crate-made");
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = openat(&parent, &name, flags, Mode::empty())?;
            let is_own = fstat(&directory)?.st_uid == geteuid().as_raw();
            if is_own { Ok(directory) } else { Err(Errno::EXIST) }
        };
        let directory = make().map_err(|errno| fail(errno.into()))?;
        Ok(Self { directory, shown: dir })
    }

    /// Writes a file that is not there, at most one directory below.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let write = || -> std::io::Result<()> {
            if let Some((below, _)) = name.split_once('/')
                && let Err(errno) = mkdirat(&self.directory, below, Mode::from_raw_mode(0o777))
                && errno != Errno::EXIST
            {
                return Err(errno.into());
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&self.directory, name, flags, Mode::from_raw_mode(0o666))?;
            fs::File::from(file).write_all(text.as_bytes())
        };
        write().map_err(|error| failed(&self.shown.join(name), &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Internal, format!("{}: {error}", path.display()))
}

fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_valid = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(is_plain);
    if !is_valid || name.ends_with('-') {
        let text = format!(
            "extension `{name}`: a name begins with a lower-case letter and has letters, digits and `-` only"
        );
        return Err(Failure::new(Exit::Usage, text));
    }
    if extension_program::find(name).is_ok() {
        let text = format!("extension `{name}`: one of this name is installed; pick another name");
        return Err(Failure::new(Exit::Usage, text));
    }
    Ok(())
}

fn bundle(name: &str) -> Result<(&'static str, &'static str, &'static str, &'static str)> {
    BUNDLES.into_iter().find(|one| one.0 == name).ok_or_else(|| {
        let names: Vec<_> = BUNDLES.iter().map(|one| one.0).collect();
        let text = format!("`{name}`: cannot be bundled; there are: {}", names.join(", "));
        Failure::new(Exit::Usage, text)
    })
}

/// The sources of HSCI that the crate is to be built with, absolute.
fn sources(dir: &Path) -> Result<PathBuf> {
    if place::look(&dir.join("framework/extension/Cargo.toml")).is_err() {
        let text =
            format!("{}: not the sources of HSCI; it has no framework/extension", dir.display());
        return Err(Failure::new(Exit::Missing, text));
    }
    absolute(dir)
        .map_err(|error| Failure::new(Exit::Internal, format!("{}: {error}", dir.display())))
}

fn crate_name(name: &str) -> String {
    format!("hsci-extension-{name}")
}

/// `keep-it` as `KeepIt`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').filter(|word| !word.is_empty()).map(capital).collect()
}

fn manifest(name: &str, bundles: &[(&str, &str, &str, &str)], sources: Option<&Path>) -> String {
    let from = |path: &str| match sources {
        Some(sources) => format!(", path = {:?}", sources.join(path).to_string_lossy()),
        None => String::new(),
    };
    let depend = |name: &str, path: &str, more: &str| {
        format!("{name} = {{ version = \"{VERSION}\"{}{more} }}\n", from(path))
    };
    let mut text = format!(
        "[package]\nname = \"{0}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"{OLDEST_RUST}\"\n\n\
         # A crate of its own, also inside of another's workspace.\n[workspace]\n\n[dependencies]\n",
        crate_name(name)
    );
    text += &depend("hsci-extension", "framework/extension", "");
    text += &depend("hsci-host", "framework/host", "");
    for (_, name, _, path) in bundles {
        text += &depend(name, path, "");
    }
    // Much of what else builds would take is for debugging crates that nobody debugs.
    let profile = "\n[profile.dev.package.\"*\"]\ndebug = false\n";
    text += "\n[dev-dependencies]\n";
    text + &depend("hsci-extension", "framework/extension", ", features = [\"testkit\"]") + profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_names_of_types() {
        assert_eq!(type_name("versions"), "Versions");
        assert_eq!(type_name("keep-it2"), "KeepIt2");
        assert!(check_name("keep-it2").is_ok());
        for name in ["", "-x", "X", "2x", "x_y", "x-", "../x", "nul l"] {
            assert_eq!(check_name(name).expect_err(name).exit, Exit::Usage);
        }
    }
}
