//! The worker that serves now, as seen by the threads that ask, replace or end it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_protocol::control::{Question, WorkerAnswer};
use hsci_protocol::status::WorkerStatus;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::process::{Signal, pidfd_send_signal};

use super::link::{Link, Mute};

/// How often a worker is asked whether it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// A worker that does not answer for so long is replaced.
const BEAT_LIMIT: Duration = Duration::from_secs(10);
/// Time for one more answer: it was perhaps this process that did not run.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// Shared by all threads of a supervisor.
#[derive(Clone)]
pub(super) struct Serving(Arc<(Mutex<State>, Condvar)>);

struct State {
    /// `None` between two workers.
    link: Option<Arc<Link>>,
    /// The process of the worker, or of the last one.
    process: Option<OwnedFd>,
    /// How many workers have served, this one included.
    workers: u64,
    /// The next worker is to be what lies on the disk.
    upgrade: bool,
    /// The mount is to end, whoever uses it.
    ending: bool,
    /// It has ended.
    ended: bool,
    /// The worker is stopped on purpose.
    paused: bool,
}

impl Serving {
    pub(super) fn new() -> Self {
        let state = State {
            link: None,
            process: None,
            workers: 0,
            upgrade: false,
            ending: false,
            ended: false,
            paused: false,
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock()
    }

    /// A worker serves from now on; it is replaced when it does not answer any more.
    pub(super) fn begin(
        &self,
        link: Arc<Link>,
        process: OwnedFd,
        workers: u64,
    ) -> std::io::Result<()> {
        let (beating, victim) = (Arc::clone(&link), process.try_clone()?);
        let serving = self.clone();
        let beat = move || beat(&beating, &victim, &serving);
        std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat)?;
        let mut state = self.state();
        (state.link, state.process, state.workers) = (Some(link), Some(process), workers);
        self.0.1.notify_all();
        Ok(())
    }

    /// The worker has ended.
    pub(super) fn over(&self) {
        self.state().link = None;
    }

    /// The mount has ended.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.0.1.notify_all();
    }

    /// Whether the next worker is to be what lies on the disk; no longer once it was asked.
    pub(super) fn take_upgrade(&self) -> bool {
        std::mem::take(&mut self.state().upgrade)
    }

    /// True if no other worker is to serve.
    pub(super) fn is_ending(&self) -> bool {
        self.state().ending
    }

    /// How many workers have served.
    pub(super) fn workers(&self) -> u64 {
        self.state().workers
    }

    /// Asks the worker, or the next one if there is none just now.
    pub(super) fn ask(&self, question: &Question, limit: Duration) -> Result<WorkerAnswer, Mute> {
        let end = Instant::now() + limit;
        loop {
            let link = self.link_before(end).ok_or(Mute::Late)?;
            match link.ask(question.clone(), end.saturating_duration_since(Instant::now())) {
                Err(Mute::Ended) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                answer => return answer,
            }
        }
    }

    fn link_before(&self, end: Instant) -> Option<Arc<Link>> {
        let mut state = self.state();
        while state.link.is_none() && !state.ended {
            if self.0.1.wait_until(&mut state, end).timed_out() {
                break;
            }
        }
        state.link.clone()
    }

    /// The worker's part of a status; an error says why there is none.
    pub(super) fn status(&self, limit: Duration) -> Result<WorkerStatus, String> {
        match self.ask(&Question::Status, limit) {
            Ok(WorkerAnswer::Status(status)) => Ok(*status),
            Ok(_) => Err("its worker answered something else".to_owned()),
            Err(_) => Err(format!("its worker does not answer within {limit:?}")),
        }
    }

    /// Has the program that is on the disk now take over; true if another worker serves within `limit`.
    pub(super) fn upgrade(&self, limit: Duration) -> bool {
        let mut state = self.state();
        let before = state.workers;
        state.upgrade = true;
        state.kill();
        let end = Instant::now() + limit;
        while state.workers == before && !state.ended {
            if self.0.1.wait_until(&mut state, end).timed_out() {
                return false;
            }
        }
        state.workers != before
    }

    /// From now on no other worker is to serve; the present one is killed.
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.ending = true;
        state.kill();
    }

    /// The present worker does nothing from now on, as far as the kernel can stop it.
    pub(super) fn pause(&self) {
        let mut state = self.state();
        state.paused = true;
        state.signal(Signal::STOP);
    }

    /// It goes on.
    pub(super) fn resume(&self) {
        let mut state = self.state();
        state.paused = false;
        state.signal(Signal::CONT);
    }

    fn is_paused(&self) -> bool {
        self.state().paused
    }

    /// True if the mount has ended within `limit`.
    pub(super) fn has_ended_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.state();
        while !state.ended {
            if self.0.1.wait_until(&mut state, end).timed_out() {
                break;
            }
        }
        state.ended
    }
}

impl State {
    fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let Some(process) = &self.process else { return };
        if let Err(errno) = pidfd_send_signal(process, signal) {
            log::debug!("the worker has ended already: {errno}");
        }
    }
}

/// Ends a worker that is stopped, frozen or otherwise dead without having ended.
fn beat(link: &Link, process: &OwnedFd, serving: &Serving) {
    loop {
        std::thread::sleep(BEAT);
        match link.ask(Question::Ping, BEAT_LIMIT) {
            Ok(_) => {}
            Err(Mute::Ended) => return,
            Err(Mute::Late) => match link.ask(Question::Ping, LAST_CHANCE) {
                Ok(_) => {}
                Err(Mute::Ended) => return,
                Err(Mute::Late) if serving.is_paused() => {}
                Err(Mute::Late) => {
                    log::error!(
                        "the worker has not answered for {BEAT_LIMIT:?}: another one takes over"
                    );
                    let _ = pidfd_send_signal(process, Signal::KILL);
                    return;
                }
            },
        }
    }
}
