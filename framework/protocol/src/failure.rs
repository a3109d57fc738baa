//! How a command, the supervisor or a worker fails: one line for people, one code for scripts.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Exit codes of `hsci`, of the extensions' programs and of a worker's answer to its supervisor.
///
/// Success is 0 and not listed. `docs/src/reference/command.md` documents these codes; a test compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The question was answered, and the answer is no: a check found damage.
    No = 1,
    /// The command line makes no sense: unknown option, extension, level.
    Usage = 2,
    /// This machine, or this user, cannot do it.
    Impossible = 3,
    /// Something named is missing or of the wrong kind.
    Missing = 4,
    /// Somebody else uses it now.
    InUse = 5,
    /// The store was made by a newer version or by somebody else, or is damaged.
    Store = 6,
    /// An I/O error, or a defect of the program.
    Internal = 7,
}

impl Exit {
    /// All codes, in order.
    pub const ALL: [Self; 7] = [
        Self::No,
        Self::Usage,
        Self::Impossible,
        Self::Missing,
        Self::InUse,
        Self::Store,
        Self::Internal,
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The code with a number that another process sent; unknown ones are internal errors.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Internal)
    }

    /// What the code means, one line for help texts.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::No => "the answer is no: damage found, some files not settled, policy refused",
            Self::Usage => "wrong usage: unknown option, extension or level",
            Self::Impossible => "not possible here: no /dev/fuse, no fusermount3, no permission",
            Self::Missing => "something named is missing or of the wrong kind",
            Self::InUse => "in use: mount point busy, store served by another host",
            Self::Store => {
                "the store was made by a newer version or by somebody else, or is damaged"
            }
            Self::Internal => "I/O error or internal error",
        }
    }
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub exit: Exit,
    /// One line without a line end: the thing, the reason, the way out.
    pub text: String,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// The same failure of the thing at `path`, which is named once.
    #[must_use]
    pub fn of(self, path: &Path) -> Self {
        let name = format!("{}: ", path.display());
        let text = if self.text.starts_with(&name) { self.text } else { name + &self.text };
        Self { text, ..self }
    }
}

/// How a step of a mount went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not, and nothing is left behind.
    Failed {
        /// Number of an [`Exit`].
        exit: u8,
        /// One line.
        text: String,
    },
}

impl From<Result<(), Failure>> for Answer {
    fn from(result: Result<(), Failure>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(failure) => Self::Failed { exit: failure.exit.code(), text: failure.text },
        }
    }
}

impl From<Answer> for Result<(), Failure> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done => Ok(()),
            Answer::Failed { exit, text } => Err(Failure::new(Exit::from_code(exit), text)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// A line as a terminal may show it: what would move the cursor or change colours is written out.
#[must_use]
pub fn printable(line: &str) -> String {
    let escape = |letter: char| match letter.is_control() {
        true => letter.escape_default().collect(),
        false => String::from(letter),
    };
    line.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_cannot_act_on_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\n\r\tä"), r"a\u{1b}[2J\n\r\tä");
    }

    #[test]
    fn every_code_travels_as_a_number() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(exit.code()), exit);
        }
        assert_eq!(Exit::from_code(0), Exit::Internal);
        assert_eq!(Exit::from_code(99), Exit::Internal);
    }
}
