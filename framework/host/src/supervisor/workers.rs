//! One worker after the other on the same connection.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::fence::Fence;
use super::worker::{Lasting, Program, Worker};
use crate::failure::{Exit, Failure};
use hsci_protocol::mount::Start;

/// A worker that ends sooner than this was not worth starting.
const SOON: Duration = Duration::from_millis(100);
/// So many of them one after the other are enough.
const MOST_SOON: u32 = 30;
/// So many of them are followed at once; then the pause doubles with each.
const FREE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Replaces the worker of a mount from outside of the thread that waits for it.
#[derive(Clone)]
pub(super) struct Replacer {
    process: Arc<Mutex<OwnedFd>>,
    upgrade: Arc<AtomicBool>,
}

impl Replacer {
    /// Has the program that is on the disk now take over.
    pub(super) fn upgrade(&self) {
        self.upgrade.store(true, Ordering::Release);
        if let Err(errno) = pidfd_send_signal(&*self.process.lock(), Signal::KILL) {
            log::debug!("the worker has ended already: {errno}");
        }
    }
}

/// The workers of a mount.
pub(super) struct Workers {
    dir: PathBuf,
    program: Program,
    /// What served before `program`, until that has shown that it can.
    before: Option<Program>,
    lasting: Lasting,
    device: OwnedFd,
    start: Start,
    worker: Worker,
    /// When the worker began to serve.
    since: Instant,
    soon: u32,
    replacer: Replacer,
}

impl Workers {
    /// Goes on with a worker that serves.
    pub(super) fn new(
        program: Program,
        lasting: Lasting,
        device: OwnedFd,
        start: Start,
        worker: Worker,
    ) -> std::io::Result<Self> {
        let replacer =
            Replacer { process: Arc::new(Mutex::new(worker.process()?)), upgrade: Arc::default() };
        Ok(Self {
            dir: start.request.dir.clone(),
            program,
            before: None,
            lasting,
            device,
            start,
            worker,
            since: Instant::now(),
            soon: 0,
            replacer,
        })
    }

    pub(super) fn replacer(&self) -> Replacer {
        self.replacer.clone()
    }

    pub(super) fn fence(&self) -> Arc<Fence> {
        Arc::clone(&self.lasting.fence)
    }

    /// Returns when the mount has ended, or when no worker lives long enough.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        loop {
            let ended = self.worker.wait();
            self.lasting.fence.ended();
            let Err(mut failure) = ended else { return Ok(()) };
            self.start.death = self.worker.death();
            loop {
                if self.has_ended() {
                    return Err(failure);
                }
                if !self.replacer.upgrade.swap(false, Ordering::AcqRel) {
                    log::warn!("{failure}; another one takes over");
                    self.pause(&failure)?;
                } else {
                    self.take_new_program();
                }
                match self.replace() {
                    Ok(()) => break,
                    Err(again) => failure = again,
                }
                if let Some(before) = self.before.take() {
                    log::error!("{failure}; the program that served until now goes on");
                    self.program = before;
                }
            }
        }
    }

    /// True if the connection is gone. The mount table would not do: the mount may be detached and in
    /// use, and its directory may bear another one.
    fn has_ended(&self) -> bool {
        let mut device = [PollFd::new(&self.device, PollFlags::IN)];
        let polled = poll(&mut device, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        polled.is_ok() && device[0].revents().contains(PollFlags::ERR)
    }

    /// Waits before another worker is started; an error if that is of no use any more.
    fn pause(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.soon = if self.since.elapsed() < SOON { self.soon + 1 } else { 0 };
        if self.soon > MOST_SOON {
            let text = format!(
                "{}: given up, for {MOST_SOON} workers in a row did not last; the last one: {failure}",
                self.dir.display()
            );
            return Err(Failure::new(Exit::Internal, text));
        }
        if let Some(doublings) = self.soon.checked_sub(FREE) {
            std::thread::sleep((FIRST_PAUSE * (1 << doublings)).min(LAST_PAUSE));
        }
        Ok(())
    }

    /// From now on workers are what lies on the disk.
    fn take_new_program(&mut self) {
        match self.program.reopen() {
            Ok(program) => self.before = Some(std::mem::replace(&mut self.program, program)),
            Err(failure) => log::error!("{failure}; the program that served until now goes on"),
        }
    }

    fn replace(&mut self) -> Result<(), Failure> {
        self.since = Instant::now();
        self.start.workers += 1;
        let mut worker = Worker::start(&self.program, &mut self.lasting, &self.start)?;
        let process = worker.process().map_err(|error| super::internal("the worker", &error))?;
        *self.replacer.process.lock() = process;
        worker.serve(self.device.as_fd(), &self.lasting)?;
        self.before = None;
        log::info!(
            "worker {} serves after {:?}; {} unlinked files kept",
            self.start.workers + 1,
            self.since.elapsed(),
            self.lasting.descriptors.count()
        );
        self.worker = worker;
        Ok(())
    }
}
