//! The control channel: what is asked on the socket of a mount, and what its supervisor and its
//! worker say to each other while the worker serves.

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::policy::{Hits, Reports};
use crate::status::{Status, WorkerStatus};

/// What a process asks on the socket of a mount: one request on each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Version of the asking program's messages.
    pub version: u32,
    /// What it wants.
    pub command: Command,
}

impl Request {
    /// A request of this program.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self { version: crate::VERSION, command }
    }
}

/// What is wanted of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// How it does. Everybody may ask; private parts are for who mounted it and for root.
    Status,
    /// The program that is on the disk now is to serve. Answered when it does.
    Upgrade,
    /// Another policy is in force, or none any more. Answered when the worker has it.
    RenewPolicy,
    /// The mount is to end. Answered when everything is in the lower directory.
    Unmount {
        /// Although it is in use.
        force: bool,
    },
    /// How often each rule of the policy decided, from an index on.
    Hits {
        /// The index.
        from: usize,
    },
    /// What the policy reports, from a number on.
    Reports {
        /// The number.
        from: u64,
    },
}

/// What a supervisor answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// How the mount does.
    Status(Box<Status>),
    /// Counts of rules.
    Hits(Hits),
    /// Reports of the policy.
    Reports(Reports),
    /// It is done, and what was written last to these files is lost.
    Lost(Vec<String>),
    /// It is not done.
    Failed {
        /// Number of an [`Exit`].
        exit: u8,
        /// One line.
        text: String,
    },
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Failed { exit: failure.exit.code(), text: failure.text }
    }
}

impl Reply {
    /// The answer to a command that has none but this.
    pub fn done(self) -> Result<(), Failure> {
        match self {
            Self::Done => Ok(()),
            other => Err(other.failure()),
        }
    }

    /// The failure that it is, also if it is an answer to something else.
    #[must_use]
    pub fn failure(self) -> Failure {
        match self {
            Self::Failed { exit, text } => Failure::new(Exit::from_code(exit), text),
            _ => Failure::new(Exit::Internal, "its supervisor answered something else"),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process.
    pub pid: u32,
}

/// What a supervisor says to the worker that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToWorker {
    /// For the answer.
    pub number: u64,
    /// What it wants to know.
    pub question: Question,
}

/// What a supervisor asks the worker that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Whether it is alive.
    Ping,
    /// How it does.
    Status,
    /// How often each rule of the policy decided, from an index on.
    Hits(usize),
    /// What the policy reports, from a number on.
    Reports(u64),
    /// All that was acknowledged is to be brought into the store now.
    Commit,
}

/// What a worker answers while it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromWorker {
    /// Number of the question.
    pub number: u64,
    /// The answer.
    pub answer: WorkerAnswer,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerAnswer {
    /// It is alive.
    Done,
    /// How it does.
    Status(Box<WorkerStatus>),
    /// Counts of rules.
    Hits(Hits),
    /// Reports of the policy.
    Reports(Reports),
    /// The files whose changes cannot be brought into the store, and why.
    Uncommitted(Vec<String>),
}
