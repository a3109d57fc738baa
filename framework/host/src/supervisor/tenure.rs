//! Whether a store is this host's still, where other machines reach it and a server keeps its lock.
//!
//! A server that hears nothing of a machine for some time gives its locks to others, and when the machine comes back it may
//! write again as if nothing had been (GlusterFS 10 does). So the lock is asked for over and over. A host that had no
//! answer for [`LIMIT`], which is less than servers wait (GlusterFS 42 s, NFS 90 s), stops its worker until the lock is known
//! to be this host's, and to have been nobody else's. Requests wait meanwhile; those that the file system had already get
//! its answers. If another host has the store, or has had it, the mount is at its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};

use super::serving::Serving;
use crate::lock;

/// How often the lock is asked for.
const BEAT: Duration = Duration::from_secs(2);
/// A host serves for so long after it asked for the last time with an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the time is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Clients of network file systems remember for so long what a file held.
const MEMORY: Duration = Duration::from_secs(4);

/// Shared by the threads of a supervisor.
#[derive(Clone)]
pub(super) struct Tenure(Arc<Inner>);

struct Inner {
    lock: OwnedFd,
    /// What the lock says as long as it is this host's.
    signed: Vec<u8>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// When the lock was asked for, the last time that there was an answer.
    confirmed: Duration,
    held: Held,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Here,
    /// Perhaps by nobody, perhaps by another host.
    Unknown,
    /// Another host has it, or has had it.
    Lost(String),
}

impl Tenure {
    /// That of a lock that was just taken.
    pub(super) fn of(lock: &OwnedFd) -> std::io::Result<Self> {
        let (lock, signed) = (lock.try_clone()?, lock::signature(lock)?);
        let state = Mutex::new(State { confirmed: now(), held: Held::Here });
        Ok(Self(Arc::new(Inner { lock, signed, state, changed: Condvar::new() })))
    }

    /// From now on a worker serves only as long as the store is this host's.
    pub(super) fn begin(&self, serving: &Serving) -> std::io::Result<()> {
        let (asking, watching, serving) = (self.clone(), self.clone(), serving.clone());
        std::thread::Builder::new().name("tenure".to_owned()).spawn(move || asking.ask())?;
        // No call of this one reaches the file system, which may answer late or never.
        let watch = move || watching.watch(&serving);
        std::thread::Builder::new().name("tenure-watch".to_owned()).spawn(watch)?;
        Ok(())
    }

    /// Waits until the store is known to be this host's. An error says why it is not, or that this is not known and the
    /// mount ends.
    pub(super) fn wait(&self, is_ending: &dyn Fn() -> bool) -> Result<(), String> {
        let mut state = self.0.state.lock();
        loop {
            match &state.held {
                Held::Here => return Ok(()),
                Held::Unknown if !is_ending() => {}
                _ => return Err(describe(&state.held)),
            }
            self.0.changed.wait_for(&mut state, LOOK);
        }
    }

    /// Why nobody serves, if that is so.
    pub(super) fn why_not(&self) -> Option<String> {
        let held = self.0.state.lock().held.clone();
        (held != Held::Here).then(|| describe(&held))
    }

    fn ask(&self) {
        loop {
            let mut asked = now();
            let mut answer = lock::confirm(&self.0.lock, &self.0.signed);
            let was_unknown = self.0.state.lock().held == Held::Unknown;
            if was_unknown && answer == Some(Ok(())) {
                std::thread::sleep(MEMORY);
                asked = now();
                answer = lock::confirm(&self.0.lock, &self.0.signed);
            }
            let mut state = self.0.state.lock();
            match answer {
                Some(Ok(())) => (state.confirmed, state.held) = (asked, Held::Here),
                Some(Err(by)) => state.held = Held::Lost(by),
                None => {}
            }
            self.0.changed.notify_all();
            if matches!(state.held, Held::Lost(_)) {
                return;
            }
            drop(state);
            std::thread::sleep(BEAT);
        }
    }

    fn watch(&self, serving: &Serving) {
        let mut said = Held::Here;
        loop {
            std::thread::sleep(LOOK);
            let mut state = self.0.state.lock();
            if state.held == Held::Here && now().saturating_sub(state.confirmed) > LIMIT {
                state.held = Held::Unknown;
            }
            let held = state.held.clone();
            drop(state);
            match held {
                Held::Here if said == held => {}
                Held::Here => {
                    serving.resume();
                    log::warn!("the store is this host's still: requests go on");
                }
                // One that began meanwhile, too.
                Held::Unknown => serving.pause(),
                Held::Lost(_) => serving.kill(),
            }
            if said != held && held != Held::Here {
                log::error!("{}", describe(&held));
            }
            said = held;
        }
    }
}

fn describe(held: &Held) -> String {
    match held {
        Held::Lost(by) => {
            format!("another host has taken the store over{by}: this one no longer writes to it")
        }
        _ => format!(
            "the file system below has not said for {} s that the store is this host's: requests wait until it does",
            LIMIT.as_secs()
        ),
    }
}

/// Since the machine was started, also while it slept.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
