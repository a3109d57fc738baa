//! The process that serves a mount.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use hsci_protocol::failure::{Answer, Exit, Failure};
use hsci_protocol::line::send;
use hsci_protocol::mount::{Death, HUNG, Start};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::fence::Fence;
use super::internal;
use super::link::Link;
use super::log_file::Said;
use super::policy::PolicyLine;
use super::starting::{self, Starts};
use super::tenure::Tenure;
use crate::caller::filter_environment;
use crate::lock::Lock;
use crate::passing::{receive_line, send_descriptor};
use crate::sandbox::broker;
use crate::takeover::DescriptorStore;

/// The program of an extension, kept open: it can be started again whatever happens to its name.
pub(super) struct Program {
    path: PathBuf,
    file: File,
}

impl Program {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let unusable = |errno: Errno| {
            let error = std::io::Error::from(errno);
            let text = format!("{}: {error}; is the extension installed?", path.display());
            Failure::new(Exit::Missing, text)
        };
        accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(unusable)?;
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = File::from(file.map_err(unusable)?);
        Ok(Self { path: path.to_owned(), file })
    }

    /// The program that has the name now.
    pub(super) fn reopen(&self) -> Result<Self, Failure> {
        Self::open(&self.path)
    }

    fn command(&self) -> Command {
        let is_there = |there: std::fs::Metadata| {
            let opened = self.file.metadata();
            opened.is_ok_and(|file| (file.dev(), file.ino()) == (there.dev(), there.ino()))
        };
        if std::fs::metadata(&self.path).is_ok_and(is_there) {
            return Command::new(&self.path);
        }
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(&self.path);
        command
    }
}

/// The locks on what a mount serves. Workers have them as well, so that a worker whose supervisor was killed keeps
/// others off.
pub(super) struct Locks {
    pub(super) on_directory: Lock,
    pub(super) on_store: Option<OwnedFd>,
    /// Where a server keeps the lock of the store, and may give it away.
    pub(super) tenure: Option<Tenure>,
}

impl Locks {
    /// The mount has ended in order.
    pub(super) fn release(&self) {
        if let Some(store) = self.on_store.as_ref().filter(|_| self.admit(&|| true).is_ok()) {
            crate::lock::release(store);
        }
    }

    /// Waits until the store is known to be this host's. An error says why it is not, also when the mount ends before
    /// that is known.
    pub(super) fn admit(&self, is_ending: &dyn Fn() -> bool) -> Result<(), String> {
        self.tenure.as_ref().map_or(Ok(()), |tenure| tenure.wait(is_ending))
    }

    /// Copies that a program inherits.
    fn copies(&self) -> rustix::io::Result<Vec<OwnedFd>> {
        let both = std::iter::once(self.on_directory.as_fd())
            .chain(self.on_store.as_ref().map(OwnedFd::as_fd));
        both.map(rustix::io::dup).collect()
    }
}

/// What a worker is given beside its orders, and what outlives it.
pub(super) struct Lasting {
    pub(super) lower: OwnedFd,
    pub(super) locks: Locks,
    pub(super) takeover: OwnedFd,
    pub(super) descriptors: DescriptorStore,
    pub(super) policy: PolicyLine,
    pub(super) fence: Arc<Fence>,
}

pub(super) struct Worker {
    child: Child,
    control: UnixStream,
    process: OwnedFd,
    /// The extension's name, for messages.
    extension: String,
    /// What it has logged since it was started.
    said: Said,
    /// Over when it serves.
    start: Option<starting::Start>,
    /// How it ended, once it has.
    death: Death,
}

impl Worker {
    /// Starts the program of an extension, and waits until it has brought the store into order.
    pub(super) fn start(
        program: &Program,
        lasting: &mut Lasting,
        start: &Start,
        starts: &Starts,
    ) -> Result<Self, Failure> {
        let extension = start.request.extensions[0].clone();
        let fail = |error: std::io::Error| internal(&program.path.display().to_string(), &error);
        let (control, theirs) = UnixStream::pair().map_err(fail)?;
        // Copies that the program inherits.
        let lower = rustix::io::dup(&lasting.lower).map_err(|errno| fail(errno.into()))?;
        let line = rustix::io::dup(&theirs).map_err(|errno| fail(errno.into()))?;
        let mut command = program.command();
        let locks = lasting.locks.copies().map_err(|errno| fail(errno.into()))?;
        let copies = [&lower, &line].into_iter().chain(&locks);
        command.arg("serve").args(copies.map(|copy| copy.as_raw_fd().to_string()));
        filter_environment(&mut command);
        // Only the supervisor speaks to the manager of services.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        // A terminal's interrupt is for the supervisor, which unmounts.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        let said = Said::from_now(start.log.as_deref());
        let mut child = command.spawn().map_err(fail)?;
        // With the last copies here, its death is noticed.
        drop((lower, line, theirs, locks));
        let watched = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(|errno| fail(errno.into()))
            .and_then(|process| {
                let copy = process.try_clone().map_err(fail)?;
                Ok((process, starts.watch(copy)?))
            });
        let (process, watch) = match watched {
            Ok(watched) => watched,
            Err(failure) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failure);
            }
        };
        lasting.fence.admit(child.id());
        let (start_watch, death) = (Some(watch), Death::Own);
        let mut worker =
            Self { child, control, process, extension, said, start: start_watch, death };
        if let Err(error) = worker.send_start(lasting, start) {
            return Err(worker.ended(&format!("while its orders were sent: {error}")));
        }
        worker.answer()?;
        Ok(worker)
    }

    fn send_start(&self, lasting: &mut Lasting, start: &Start) -> std::io::Result<()> {
        let descriptors = lasting.descriptors.open()?;
        let policy = lasting.policy.open()?;
        let broker = broker::open(self.child.id())?;
        let unlinked = lasting.descriptors.count() as u64;
        send(&self.control, &Start { unlinked, ..start.clone() })?;
        send_descriptor(&self.control, 0, lasting.takeover.as_fd())?;
        send_descriptor(&self.control, 0, descriptors.as_fd())?;
        send_descriptor(&self.control, 0, policy.as_fd())?;
        send_descriptor(&self.control, 0, broker.as_fd())?;
        // The worker changes nothing in the descriptor store before it has them all.
        lasting.descriptors.each(|ino, descriptor| send_descriptor(&self.control, ino, descriptor))
    }

    /// Gives it the descriptor to serve, and waits until it answers requests. From then on it can be
    /// asked.
    pub(super) fn serve(
        &mut self,
        device: BorrowedFd<'_>,
        lasting: &Lasting,
    ) -> Result<Arc<Link>, Failure> {
        let fail = |error: std::io::Error| internal("the worker", &error);
        send_descriptor(&self.control, 0, device).map_err(fail)?;
        self.answer()?;
        self.start = None;
        let link = Link::new(self.control.try_clone().map_err(fail)?).map_err(fail)?;
        lasting.fence.serves(self.child.id());
        Ok(link)
    }

    /// Waits for one that has to bring the store into order and no more, however long it takes.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.start = None;
        self.wait()
    }

    /// A descriptor that names its process, whatever happens to the number.
    pub(super) fn process(&self) -> std::io::Result<OwnedFd> {
        self.process.try_clone()
    }

    pub(super) fn death(&self) -> Death {
        self.death
    }

    /// Waits until it ends; anything but an orderly end is a failure.
    pub(super) fn wait(&mut self) -> Result<(), Failure> {
        let ended = self.child.wait().map_err(|error| internal("the worker", &error))?;
        if ended.success() {
            return Ok(());
        }
        self.death = match (ended.signal(), ended.code()) {
            (Some(signal), _) if signal == Signal::KILL.as_raw() => Death::Killed,
            (_, Some(HUNG)) => Death::Hung,
            _ => Death::Own,
        };
        Err(self.ended(&ended.to_string()))
    }

    fn answer(&mut self) -> Result<(), Failure> {
        match receive_line::<Answer>(&self.control) {
            Ok(Some(Answer::Done)) => Ok(()),
            Ok(Some(failed)) => {
                // It has nothing left to do but to end, and its end releases the store.
                let _ = self.child.wait();
                failed.into()
            }
            Ok(None) | Err(_) => self.wait().and(Err(self.ended("without a word"))),
        }
    }

    /// The failure of a program that has ended, with what it said last and where it said it.
    fn ended(&self, how: &str) -> Failure {
        let name = &self.extension;
        if let Some(reason) = self.start.as_ref().and_then(starting::Start::reason) {
            let text = format!("extension `{name}`: {}{}", reason.text, self.said.quote());
            return Failure::new(reason.exit, text);
        }
        let text =
            format!("extension `{name}`: its program ended early ({how}){}", self.said.quote());
        Failure::new(Exit::Internal, text)
    }
}

/// None is left behind, neither running nor as a zombie, whatever kept it from serving.
impl Drop for Worker {
    fn drop(&mut self) {
        // Both do nothing to one that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
