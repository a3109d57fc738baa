//! The process that serves a mount.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::internal;
use crate::failure::{Exit, Failure};
use crate::protocol::{Answer, Start, receive, send, send_descriptor};

pub(super) struct Worker {
    child: Child,
    control: UnixStream,
    /// The plug-in's name, for messages.
    extension: String,
}

impl Worker {
    /// Starts the program of a plug-in, and waits until it has brought the store into order.
    pub(super) fn start(program: &Path, lower: &OwnedFd, start: &Start) -> Result<Self, Failure> {
        let extension = start.request.extensions[0].clone();
        let fail = |error: std::io::Error| internal(&program.display().to_string(), &error);
        let (control, theirs) = UnixStream::pair().map_err(fail)?;
        // Copies that the program inherits. The lock on the lower directory goes with its copy.
        let lower = rustix::io::dup(lower).map_err(|errno| fail(errno.into()))?;
        let theirs = rustix::io::dup(&theirs).map_err(|errno| fail(errno.into()))?;
        let mut command = Command::new(program);
        command.arg("serve").args([&lower, &theirs].map(|fd| fd.as_raw_fd().to_string()));
        // A terminal's interrupt is for the supervisor, which unmounts.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().map_err(fail)?;
        drop((lower, theirs));
        let mut worker = Self { child, control, extension };
        // A program that ended already is noticed when its answer is missing.
        let _ = send(&worker.control, start);
        worker.answer()?;
        Ok(worker)
    }

    /// Gives it the descriptor to serve, and waits until the kernel's first request is answered.
    pub(super) fn serve(&mut self, device: OwnedFd) -> Result<(), Failure> {
        send_descriptor(&self.control, device.as_fd())
            .map_err(|error| internal("the worker", &error))?;
        drop(device);
        self.answer()
    }

    /// Waits until it ends; anything but an orderly end is a failure.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        let ended = self.child.wait().map_err(|error| internal("the worker", &error))?;
        if ended.success() {
            return Ok(());
        }
        Err(self.ended(&ended.to_string()))
    }

    fn answer(&mut self) -> Result<(), Failure> {
        match receive::<Answer>(&self.control) {
            Ok(Some(Answer::Done)) => Ok(()),
            Ok(Some(failed)) => {
                // It has nothing left to do but to end, and its end releases the store.
                let _ = self.child.wait();
                failed.into()
            }
            Ok(None) | Err(_) => self.wait().and(Err(self.ended("without a word"))),
        }
    }

    fn ended(&self, how: &str) -> Failure {
        let text = format!("extension `{}`: its program ended early ({how})", self.extension);
        Failure::new(Exit::Internal, text)
    }
}
