//! What the command, the supervisor and the worker tell each other: JSON, one message a line.

use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::handover::Death;

/// What to mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// The directory that stores the files.
    pub lower: PathBuf,
    /// Where to show them.
    pub dir: PathBuf,
    /// Extensions, the topmost first.
    pub extensions: Vec<String>,
    /// Flags of mount(2), `MS_*`.
    pub flags: u32,
    /// Options for the host and the extensions: names and values.
    pub options: Vec<(String, String)>,
    /// Serve from the calling process, and log to its standard error.
    pub foreground: bool,
}

/// What the supervisor asks a worker to serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) request: MountRequest,
    pub(crate) supervisor_pid: u32,
    /// When it was mounted, in seconds since 1970.
    pub(crate) since: u64,
    pub(crate) log: Option<PathBuf>,
    /// How many workers have served the mount before.
    pub(crate) workers: u64,
    /// How the last of them died.
    pub(crate) death: Death,
    /// How many descriptors of unlinked files follow, each with the number of its inode. Before
    /// them come the file in memory, the socket of the vault, and the line for policies.
    pub(crate) unlinked: u64,
    /// The policy at the time of the mount needs opens to be seen: the kernel cannot be told later.
    pub(crate) opens: bool,
}

/// Whether the store is kept from everybody but its host, or why not. A worker that serves is told each
/// time that it may have changed.
pub type Seal = Result<(), String>;

/// How somebody who was asked for something got on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The step is done.
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

/// What an extension's program tells of the extensions that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The name, as in `--extension NAME`.
    pub name: String,
    /// One line.
    pub about: String,
    /// Version of what it stores; 0 if it stores nothing of its own.
    pub format: u32,
    /// Its options.
    pub options: Vec<OptionDescription>,
}

/// An option of an extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionDescription {
    /// The name, as in `-o name=value`.
    pub name: String,
    /// What it does, one line.
    pub help: String,
    /// The value where none is given.
    pub default: String,
    /// Rules of policies may set it for single calls.
    pub by_call: bool,
}

/// One line of what an extension's program prints while it checks a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckEvent {
    /// So many more stored bytes are done.
    Progress(u64),
    /// Something was found.
    Finding {
        /// `notice` or `damage`.
        severity: String,
        /// Path below the root, or a part of the store.
        place: String,
        /// What is wrong.
        text: String,
    },
    /// The end of a complete check.
    Checked {
        /// Regular files looked at.
        files: u64,
        /// Logical bytes verified against a checksum.
        verified_bytes: u64,
        /// Logical bytes in forms that carry no checksum.
        unverified_bytes: u64,
    },
}

/// Sends one message.
pub(crate) fn send(mut to: impl Write, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Receives one message, and nothing behind it; `None` if the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(from: impl Read) -> std::io::Result<Option<T>> {
    // A buffer of one byte, so that what follows the line stays for its own reader.
    let mut line = Vec::new();
    BufReader::with_capacity(1, from).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Sends a descriptor, with a number that says what it is.
pub(crate) fn send_descriptor(
    to: &UnixStream,
    number: u64,
    descriptor: BorrowedFd<'_>,
) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let bytes = number.to_ne_bytes();
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a descriptor and its number, which not every sender has.
pub(crate) fn receive_descriptor(from: &UnixStream) -> std::io::Result<(u64, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let buffers = &mut [IoSliceMut::new(&mut bytes)];
    recvmsg(from, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(descriptor) = descriptors.next()
        {
            return Ok((u64::from_ne_bytes(bytes), descriptor));
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_received_one_by_one() {
        let failed = Answer::Failed { exit: 4, text: "no such directory".to_owned() };
        let mut wire = Vec::new();
        send(&mut wire, &Answer::Done).expect("sent");
        send(&mut wire, &failed).expect("sent");
        let mut from = wire.as_slice();
        assert_eq!(receive(&mut from).expect("received"), Some(Answer::Done));
        assert_eq!(receive(&mut from).expect("received"), Some(failed));
        assert_eq!(receive::<Answer>(&mut from).expect("the end"), None);
    }
}
