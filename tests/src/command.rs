//! Running other programs, and saying everything about them when they fail.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// An ordinary user: `daemon`, who exists everywhere, for fusermount3 wants a name.
pub const ALICE: u32 = 1;
/// Another one: `nobody`.
pub const BOB: u32 = 65_534;

/// A program about to run.
#[derive(Debug)]
pub struct Run(Command);

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Done {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    line: String,
}

impl Run {
    /// A program, found on the PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).env("LC_ALL", "C");
        Self(command)
    }

    /// A line for the shell, which stops at the first command that fails.
    pub fn shell(line: impl AsRef<OsStr>) -> Self {
        Self::new("bash").args(["-e", "-u", "-o", "pipefail", "-c"]).arg(line)
    }

    /// A program as another user, with no groups but the one of the same number.
    pub fn as_user(user: u32, program: impl AsRef<OsStr>) -> Self {
        let ids = [format!("--reuid={user}"), format!("--regid={user}")];
        Self::new("setpriv").args(ids).args(["--clear-groups", "--"]).arg(program)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Its output goes nowhere.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.0.stdout(Stdio::null()).stderr(Stdio::null());
        self
    }

    /// Its output goes into a file.
    #[must_use]
    pub fn output(mut self, file: std::fs::File) -> Self {
        self.0.stdout(file);
        self
    }

    /// The directory it starts in.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn done(mut self) -> Done {
        let line = format!("{:?}", self.0);
        let output = self.0.output().unwrap_or_else(|error| panic!("{line}: {error}"));
        Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            line,
        }
    }

    /// Runs it to its end and returns its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(self) -> String {
        self.done().ok()
    }

    /// Starts it and goes on; the child is killed with the test at the latest.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(mut self) -> std::process::Child {
        let line = format!("{:?}", self.0);
        self.0.spawn().unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

impl Done {
    /// Its standard output, if it succeeded.
    ///
    /// # Panics
    /// If it failed.
    pub fn ok(self) -> String {
        assert!(self.code == 0, "{} ended with {}\n{}{}", self.line, self.code, self.out, self.err);
        self.out
    }

    /// Checks that it failed with `code` and one line on standard error that holds all of `words`.
    ///
    /// # Panics
    /// If it did anything else.
    pub fn fails(&self, code: i32, words: &[&str]) {
        let said = format!("{} ended with {}\n{}{}", self.line, self.code, self.out, self.err);
        assert!(self.code == code, "expected exit code {code}: {said}");
        assert!(self.err.trim_end().lines().count() == 1, "expected one line: {said}");
        for word in words {
            assert!(self.err.contains(word), "expected `{word}`: {said}");
        }
    }
}
