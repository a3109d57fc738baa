//! The helper that mount(8) calls for type `fuse.hsci`: other arguments, other exit codes.
//!
//! mount(8) runs `mount.fuse.hsci SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`. Where no program of
//! that name is installed, libfuse's `mount.fuse` runs `hsci SOURCE DIR -o OPTIONS` in its place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hsci_host::failure::{Exit, Failure};

use crate::cli::Mount;
use crate::{Result, commands};

/// Name under which this program is a mount helper.
const NAME: &str = "mount.fuse.hsci";

/// True if the program was called by mount(8), under either name.
pub(crate) fn is_meant(arguments: &[OsString]) -> bool {
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    let source = arguments.get(1);
    name.is_some_and(|name| name == NAME)
        || source.is_some_and(|path| Path::new(path).is_absolute())
}

/// Mounts, and answers with an exit code of mount(8).
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    let outcome = parse(&arguments[1..]).and_then(|request| match request {
        Request { fake: true, .. } => Ok(()),
        Request { mount, .. } => commands::mount(&mount),
    });
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let code = mount_code(failure.exit);
    let _ = crate::complain(NAME, failure);
    ExitCode::from(code)
}

/// The exit code of mount(8): 1 wrong usage or permissions, 2 system error, 32 mount failure.
fn mount_code(exit: Exit) -> u8 {
    match exit {
        Exit::Usage => 1,
        Exit::Internal => 2,
        Exit::No | Exit::Impossible | Exit::Missing | Exit::InUse | Exit::Store => 32,
    }
}

#[derive(Debug)]
struct Request {
    mount: Mount,
    /// Everything but the mounting itself (`mount --fake`).
    fake: bool,
}

fn parse(arguments: &[OsString]) -> Result<Request> {
    let usage = |text: &str| {
        Failure::new(Exit::Usage, format!("{text}; use: {NAME} LOWER DIR [-o OPTIONS]"))
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut options = Vec::new();
    let mut fake = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => {
                let text = rest.next().and_then(|text| text.to_str());
                options.push(text.ok_or_else(|| usage("-o: its value is missing"))?.to_owned());
            }
            Some("-t" | "-N") => drop(rest.next()),
            Some(flags) if flags.len() > 1 && flags.starts_with('-') => {
                if let Some(unknown) = flags[1..].chars().find(|flag| !"sfnvw".contains(*flag)) {
                    return Err(usage(&format!("unknown option `-{unknown}`")));
                }
                fake |= flags.contains('f');
            }
            _ => paths.push(argument.into()),
        }
    }
    let [lower, dir] = <[PathBuf; 2]>::try_from(paths)
        .map_err(|paths| usage(&format!("{} paths given instead of two", paths.len())))?;
    Ok(Request { mount: Mount::new(lower, dir, options), fake })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn arguments_of_mount_are_understood() {
        let line = "/srv/store /mnt -sn -v -o rw,noatime,algorithm=lz4 -t fuse.hsci";
        let request = parse(&words(line)).expect("valid");
        assert_eq!(request.mount.lower(), Path::new("/srv/store"));
        assert_eq!(request.mount.dir(), Path::new("/mnt"));
        assert_eq!(request.mount.options, ["rw,noatime,algorithm=lz4"]);
        assert!(!request.fake);
        assert!(parse(&words("/a /b -f")).expect("valid").fake);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, part) in [
            ("/a", "1 paths"),
            ("/a /b /c", "3 paths"),
            ("/a /b -o", "-o: its value is missing"),
            ("/a /b -z", "unknown option `-z`"),
        ] {
            let failure = parse(&words(line)).expect_err(line);
            assert!(failure.text.contains(part), "{line}: {failure}");
        }
    }

    #[test]
    fn the_name_or_an_absolute_path_makes_it_a_helper() {
        assert!(is_meant(&words("/sbin/mount.fuse.hsci /a /b")));
        assert!(is_meant(&words("hsci /a /b -o rw")));
        assert!(!is_meant(&words("hsci mount /a")));
        assert!(!is_meant(&[]));
    }
}
