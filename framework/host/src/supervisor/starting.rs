//! The start of a worker, which may hang: it has a deadline, and can be called off.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_protocol::failure::{Exit, Failure};
use parking_lot::{Condvar, Mutex};
use rustix::process::{Signal, pidfd_send_signal};

/// Watches the starts of workers.
#[derive(Clone)]
pub(super) struct Starts {
    shared: Arc<(Mutex<State>, Condvar)>,
    /// Zero for none.
    deadline: Duration,
}

#[derive(Default)]
struct State {
    /// Counts starts.
    number: u64,
    /// The process that starts now.
    process: Option<OwnedFd>,
    /// Why it was ended.
    reason: Option<Failure>,
    /// No other is to start.
    called_off: Option<Failure>,
}

/// A start under way; it is over when this is dropped.
pub(super) struct Start(Starts);

impl Starts {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { shared: Arc::default(), deadline }
    }

    /// A process begins to start.
    pub(super) fn watch(&self, process: OwnedFd) -> Result<Start, Failure> {
        let (state, _) = &*self.shared;
        let mut state = state.lock();
        if let Some(reason) = &state.called_off {
            return Err(reason.clone());
        }
        state.number += 1;
        state.reason = None;
        state.process = Some(process);
        if !self.deadline.is_zero() {
            let (starts, number) = (self.clone(), state.number);
            let watch = move || starts.enforce(number);
            let watch = std::thread::Builder::new().name("start".to_owned()).spawn(watch);
            watch.map_err(|error| super::internal("a thread", &error))?;
        }
        Ok(Start(self.clone()))
    }

    /// Ends the start under way, and every later one.
    pub(super) fn call_off(&self, reason: Failure) {
        let mut state = self.shared.0.lock();
        state.end(reason.clone());
        state.called_off = Some(reason);
    }

    /// Others may start, although they were called off.
    pub(super) fn allow(&self) {
        self.shared.0.lock().called_off = None;
    }

    fn enforce(&self, number: u64) {
        let (state, over) = &*self.shared;
        let end = Instant::now() + self.deadline;
        let mut state = state.lock();
        while state.number == number && state.process.is_some() {
            if over.wait_until(&mut state, end).timed_out() {
                let text = format!("it has not started within {:?}, its deadline", self.deadline);
                state.end(Failure::new(Exit::Internal, text));
                return;
            }
        }
    }
}

impl State {
    fn end(&mut self, reason: Failure) {
        let Some(process) = self.process.take() else { return };
        self.reason = Some(reason);
        // It may have ended by itself.
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

impl Start {
    /// Why it was ended from outside, if it was.
    pub(super) fn reason(&self) -> Option<Failure> {
        self.0.shared.0.lock().reason.clone()
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.0.shared.0.lock().process = None;
        self.0.shared.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn sleeper() -> (Child, OwnedFd) {
        let child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a pidfd");
        (child, process)
    }

    #[test]
    fn a_start_that_hangs_is_ended_at_its_deadline() {
        let starts = Starts::new(Duration::from_millis(50));
        let (mut child, process) = sleeper();
        let start = starts.watch(process).expect("it begins");
        assert!(!child.wait().expect("its end").success());
        assert!(start.reason().expect("a reason").text.contains("deadline"));
        drop(start);
        // The deadline of the first does not end the second.
        let (mut child, process) = sleeper();
        drop(starts.watch(process).expect("it begins"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(child.try_wait().expect("a look").is_none(), "it has started");
        child.kill().and_then(|()| child.wait()).expect("its end");
    }

    #[test]
    fn nothing_starts_after_it_was_called_off() {
        let starts = Starts::new(Duration::ZERO);
        let (mut child, process) = sleeper();
        let start = starts.watch(process).expect("it begins");
        starts.call_off(Failure::new(Exit::Impossible, "enough"));
        assert!(!child.wait().expect("its end").success());
        assert_eq!(start.reason().expect("a reason").text, "enough");
        let (mut child, process) = sleeper();
        assert!(starts.watch(process).is_err());
        child.kill().and_then(|()| child.wait()).expect("its end");
    }
}
