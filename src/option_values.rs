//! Values of options that the command does not pass on as they are: paths become absolute, and
//! secrets are read, so that they stand in no argument and in no table of mounts.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use hsci_host::failure::{Exit, Failure};
use hsci_host::place;
use hsci_protocol::describe::{Description, ValueKind};
use hsci_protocol::mount::MountOption;
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::Result;

/// A longer secret is none.
const MAX_LEN: u64 = 64 << 10;

/// Options as they go to the supervisor.
pub(crate) fn resolve(
    given: Vec<(String, String)>,
    extensions: &[Description],
) -> Result<Vec<MountOption>> {
    let kind = |name: &str| {
        let mut options = extensions.iter().flat_map(|extension| &extension.options);
        options.find(|option| option.name == name).map(|option| option.kind).unwrap_or_default()
    };
    let resolve = |(name, value): (String, String)| {
        let value = match kind(&name) {
            ValueKind::Plain => value,
            ValueKind::Path if value.is_empty() => value,
            ValueKind::Path => absolute(&name, &value)?,
            ValueKind::Secret => secret(&name, &value)?,
        };
        Ok(MountOption(name, value))
    };
    given.into_iter().map(resolve).collect()
}

fn absolute(name: &str, value: &str) -> Result<String> {
    let path = std::path::absolute(value).map_err(|error| unreadable(name, value, &error))?;
    Ok(path.into_os_string().into_string().expect("a text, and a directory that mounts have"))
}

/// Reads a secret from where the value says: `file:PATH`, `fd:NUMBER` or `ask`.
fn secret(name: &str, value: &str) -> Result<String> {
    let text = match value.split_once(':') {
        Some(("file", path)) => read(name, value, Path::new(path))?,
        Some(("fd", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            read(name, value, &PathBuf::from(format!("/proc/self/fd/{number}")))?
        }
        None if value == "ask" => ask(name)?,
        _ => {
            let text = format!(
                "option `{name}`: a secret does not belong into an argument, which all can read; \
                 use {name}=file:PATH, {name}=fd:NUMBER or {name}=ask"
            );
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    let end = text.strip_suffix('\n').unwrap_or(&text).len();
    Ok(text[..end].to_owned())
}

fn read(name: &str, value: &str, path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = place::read(path).map_err(|failure| {
        Failure::new(failure.exit, format!("option `{name}={value}`: {failure}"))
    })?;
    let read = file.take(MAX_LEN).read_to_string(&mut text);
    read.map_err(|error| unreadable(name, value, &error))?;
    Ok(text)
}

fn unreadable(name: &str, value: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Missing, format!("option `{name}={value}`: {error}"))
}

/// Asks on the terminal, which does not show what is typed.
fn ask(name: &str) -> Result<String> {
    let fail = |error: std::io::Error| unreadable(name, "ask", &error);
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(fail(std::io::Error::other("standard input is no terminal; use file: or fd:")));
    }
    let before = tcgetattr(&input).map_err(|errno| fail(errno.into()))?;
    let mut quiet = before.clone();
    quiet.local_flags.remove(LocalFlags::ECHO);
    let _ = write!(std::io::stderr(), "{name}: ");
    tcsetattr(&input, SetArg::TCSAFLUSH, &quiet).map_err(|errno| fail(errno.into()))?;
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    let restored = tcsetattr(&input, SetArg::TCSAFLUSH, &before);
    let _ = writeln!(std::io::stderr());
    read.map_err(fail)?;
    restored.map_err(|errno| fail(errno.into()))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use hsci_protocol::describe::OptionDescription;

    use super::*;

    fn extensions() -> Vec<Description> {
        let option = |name: &str, kind| OptionDescription {
            name: name.to_owned(),
            help: String::new(),
            default: String::new(),
            by_call: false,
            kind,
            recorded: false,
        };
        let options = vec![
            option("key", ValueKind::Secret),
            option("place", ValueKind::Path),
            option("level", ValueKind::Plain),
        ];
        let (name, about) = ("crypt".to_owned(), String::new());
        let (verbs, needs) = (Vec::new(), Vec::new());
        vec![Description {
            name,
            about,
            format: 1,
            contract: 1,
            options,
            needs,
            verbs,
            ..Description::default()
        }]
    }

    fn one(name: &str, value: &str) -> Result<String> {
        let given = vec![(name.to_owned(), value.to_owned())];
        resolve(given, &extensions()).map(|options| options[0].1.clone())
    }

    #[test]
    fn paths_become_absolute_and_others_stay() {
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(one("place", "x/y").as_deref(), Ok(here.join("x/y").to_str().expect("text")));
        assert_eq!(one("place", "/x").as_deref(), Ok("/x"));
        assert_eq!(one("level", "x/y").as_deref(), Ok("x/y"));
        assert_eq!(one("unknown", "x/y").as_deref(), Ok("x/y"));
    }

    #[test]
    fn secrets_are_read_and_never_taken_from_the_argument() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("key");
        std::fs::write(&file, "s3cret\n").expect("a key");
        assert_eq!(one("key", &format!("file:{}", file.display())).as_deref(), Ok("s3cret"));
        for (value, exit) in [
            ("s3cret", Exit::Usage),
            ("fd:x", Exit::Usage),
            ("", Exit::Usage),
            ("file:/nowhere/key", Exit::Missing),
            ("fd:987", Exit::Missing),
        ] {
            let failure = one("key", value).expect_err(value);
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(!failure.text.contains("s3cret"), "{failure}");
        }
    }
}
