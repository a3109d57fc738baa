//! The line on which a worker hears from its supervisor of policies: each message replaces the one
//! before, and the first is there before the worker serves.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use hsci_protocol::line::send;
use serde::{Deserialize, Serialize};

use super::caller::KernelCallers;
use super::file::Handed;
use super::{InForce, Policy};
use crate::passing::{receive_descriptor, receive_line, send_descriptor};

/// Which policy is in force from now on. Behind it come the descriptors of what it names.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    /// False if there is none any more.
    pub(crate) has_policy: bool,
    /// The guard judges the calls on this mount.
    pub(crate) guarded: bool,
    /// Mark of the callers in the kernel's memory, or why there are none.
    pub(crate) callers: Result<u32, String>,
    /// What is remembered of callers is there, too.
    #[serde(default)]
    pub(crate) remembers: bool,
    /// Number of the answer that is waited for: a [`Taken`] on the same line.
    #[serde(default)]
    pub(crate) answer: Option<u64>,
}

/// What became of a change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The answer's number.
    pub(crate) answer: u64,
    /// Why the policy cannot be used; if it can, it is in force.
    pub(crate) refused: Option<String>,
}

impl Change {
    pub(crate) fn send(
        &self,
        line: &UnixStream,
        descriptors: &[BorrowedFd<'_>],
    ) -> std::io::Result<()> {
        send(line, self)?;
        descriptors.iter().try_for_each(|descriptor| send_descriptor(line, 0, *descriptor))
    }
}

/// Takes the first policy, and the others as they come. An error says why the first cannot be used.
pub(crate) fn follow(line: UnixStream, dir: &Path, policy: &Arc<Policy>) -> Result<(), String> {
    if let Some((_, first)) = next(&line, dir)? {
        policy.replace(first?);
    }
    let (dir, policy) = (dir.to_owned(), Arc::clone(policy));
    let listen = move || {
        loop {
            match next(&line, &dir) {
                Ok(Some((answer, change))) => take(&line, &policy, answer, change),
                // The supervisor is gone.
                Ok(None) => return,
                Err(error) => {
                    return log::error!("no policy will be heard of any more: {error}");
                }
            }
        }
    };
    let started = std::thread::Builder::new().name("policy".to_owned()).spawn(listen);
    started.map(drop).map_err(|error| error.to_string())
}

/// Puts a change in force, and answers.
fn take(
    line: &UnixStream,
    policy: &Policy,
    answer: Option<u64>,
    change: Result<Option<InForce>, String>,
) {
    let refused = match change {
        Ok(change) => {
            policy.replace(change);
            None
        }
        Err(why) => {
            log::error!("a policy cannot be used, the last one goes on: {why}");
            Some(why)
        }
    };
    if let Some(answer) = answer {
        // The supervisor may be gone.
        let _ = send(line, &Taken { answer, refused });
    }
}

/// A change as it came: the number of its answer, and the policy or why there is none.
type Next = (Option<u64>, Result<Option<InForce>, String>);

/// The next change; nothing at the end of the line. An error is the line's: nothing that follows can be understood.
fn next(line: &UnixStream, dir: &Path) -> Result<Option<Next>, String> {
    let text = |error: std::io::Error| error.to_string();
    let Some(change) = receive_line::<Change>(line).map_err(text)? else { return Ok(None) };
    if !change.has_policy {
        return Ok(Some((change.answer, Ok(None))));
    }
    let policy = receive_descriptor(line).map_err(text)?.1;
    let callers = match change.callers {
        Ok(generation) => {
            let memory = receive_descriptor(line).map_err(text)?.1;
            let remembered = change.remembers.then(|| receive_descriptor(line));
            let remembered = remembered.transpose().map_err(text)?.map(|(_, memory)| memory);
            KernelCallers::new(memory, generation, remembered).map_err(text)
        }
        Err(why) => Err(why),
    };
    let policy = Handed::read(&File::from(policy)).map(|mut policy| {
        policy.head.guarded = change.guarded;
        Some(InForce::new(policy, dir, callers))
    });
    Ok(Some((change.answer, policy)))
}
