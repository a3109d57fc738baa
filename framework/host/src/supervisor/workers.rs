//! One worker after the other on the same connection.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::serving::Serving;
use super::starting::Starts;
use super::worker::{Lasting, Program, Worker};
use crate::failure::{Exit, Failure};
use hsci_protocol::mount::{Death, Start};

/// A worker that ends sooner than this was not worth starting.
const SOON: Duration = Duration::from_millis(100);
/// So many of them one after the other are enough.
const MOST_SOON: u32 = 30;
/// So many of them are followed at once; then the pause doubles with each.
const FREE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(2);

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
    starts: Starts,
    serving: Serving,
}

impl Workers {
    /// Goes on with a worker that serves.
    pub(super) fn new(
        program: Program,
        lasting: Lasting,
        device: OwnedFd,
        start: Start,
        worker: Worker,
        (starts, serving): (Starts, Serving),
    ) -> Self {
        Self {
            dir: start.request.dir.clone(),
            program,
            before: None,
            lasting,
            device,
            start,
            worker,
            since: Instant::now(),
            soon: 0,
            starts,
            serving,
        }
    }

    /// Returns when the mount has ended, or when no worker lives long enough.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        loop {
            let ended = self.worker.wait();
            self.serving.over();
            self.lasting.fence.ended();
            let Err(mut failure) = ended else {
                self.lasting.locks.release();
                return Ok(());
            };
            self.start.death = self.worker.death();
            loop {
                self.wait_for_the_store()?;
                if self.has_ended() {
                    return self.finish(&failure);
                }
                if self.serving.take_upgrade() {
                    self.start.death = Death::Upgrade;
                    self.take_new_program();
                } else {
                    log::warn!("{failure}; another one takes over");
                    self.pause(&failure)?;
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

    /// The mount has ended, and its worker could not end in order. One more worker brings into the store
    /// what the takeover state holds, before anybody reports the end.
    fn finish(mut self, failure: &Failure) -> Result<(), Failure> {
        log::warn!(
            "{failure}; the mount has ended, and another worker brings the store into order"
        );
        // The last copy: whoever still uses the mount gets errors from now on.
        drop(self.device);
        self.start.finish = true;
        self.start.workers += 1;
        let finished = Worker::start(&self.program, &mut self.lasting, &self.start, &self.starts)
            .and_then(Worker::finish);
        if finished.is_ok() {
            self.lasting.locks.release();
        }
        finished.map_err(|why| {
            let text = format!(
                "{}: it has ended, and what was written last may be missing: {why}",
                self.dir.display()
            );
            Failure::new(Exit::Internal, text)
        })
    }

    /// No worker touches a store that may be another host's.
    fn wait_for_the_store(&self) -> Result<(), Failure> {
        self.lasting.locks.admit(&|| self.has_ended()).map_err(|why| {
            let text =
                format!("{}: what was written last may be missing: {why}", self.dir.display());
            Failure::new(Exit::InUse, text)
        })
    }

    /// True if the connection is gone. The mount table would not do: the mount may be detached and in
    /// use, and its directory may bear another one.
    fn has_ended(&self) -> bool {
        if self.serving.is_ending() {
            return true;
        }
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
        let mut worker =
            Worker::start(&self.program, &mut self.lasting, &self.start, &self.starts)?;
        let link = worker.serve(self.device.as_fd(), &self.lasting)?;
        worker
            .process()
            .and_then(|process| self.serving.begin(link, process, self.start.workers + 1))
            .map_err(|error| super::internal("the worker", &error))?;
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
