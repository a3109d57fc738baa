//! What a worker that serves answers its supervisor, and what signals mean to it.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hsci_extension::content::{NOTICES, SETTLES, UNCOMMITTED};
use hsci_extension::{Call, Error, FileSystem, Ino};
use hsci_protocol::control::{FromWorker, Question, ToWorker, WorkerAnswer};
use hsci_protocol::line::{receive_buffered, send};
use hsci_protocol::settle::Settles;
use hsci_protocol::status::WorkerStatus;
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::fuse::{ListQuarantined, Requests};
use crate::lower::LowerTree;
use crate::policy::Policy;

/// The end of a process is known to another by then.
const MOMENT: Duration = Duration::from_secs(2);

/// What a worker knows of itself.
pub(super) struct Knowledge {
    /// What does not change.
    pub(super) fixed: WorkerStatus,
    pub(super) tree: Arc<LowerTree>,
    pub(super) top: Arc<dyn FileSystem>,
    pub(super) requests: Arc<Requests>,
    pub(super) policy: Arc<Policy>,
    pub(super) quarantined: ListQuarantined,
}

impl Knowledge {
    fn answer(&self, question: &Question) -> WorkerAnswer {
        match question {
            Question::Ping => WorkerAnswer::Done,
            Question::Status => WorkerAnswer::Status(Box::new(self.status())),
            Question::Hits(from) => WorkerAnswer::Hits(self.policy.hits(*from)),
            Question::Reports(from) => WorkerAnswer::Reports(self.policy.reports(*from)),
            Question::Commit => WorkerAnswer::Uncommitted(commit(&self.tree, &*self.top)),
        }
    }

    fn status(&self) -> WorkerStatus {
        let (inodes, descriptors) = self.tree.counts();
        WorkerStatus {
            inodes: inodes as u64,
            descriptors: descriptors as u64,
            quarantined: (self.quarantined)(),
            requests: self.requests.counts(),
            latencies: self.requests.latencies(),
            policy: self.policy.status(),
            notices: notices(&*self.top),
            settles: settles(&*self.top),
            ..self.fixed.clone()
        }
    }
}

/// What the extensions of the stack have to say.
fn notices(top: &dyn FileSystem) -> Vec<String> {
    let said = top.control_get(&Call::internal(), Ino::ROOT, NOTICES).unwrap_or_default();
    serde_json::from_slice(&said).unwrap_or_default()
}

/// What settling has come to in all layers of the stack.
fn settles(top: &dyn FileSystem) -> Option<Settles> {
    let said = top.control_get(&Call::internal(), Ino::ROOT, SETTLES).ok()?;
    let lines = said.split(|byte| *byte == b'\n');
    let layers = lines.filter_map(|line| serde_json::from_slice::<Settles>(line).ok());
    layers.reduce(|sum, layer| Settles {
        changed: sum.changed.saturating_add(layer.changed),
        failed: sum.failed.saturating_add(layer.failed),
        pending: sum.pending.saturating_add(layer.pending),
    })
}

/// Brings all that was acknowledged into the store; returns the files for which that fails, and why. No request
/// may have opened, in this worker, a file of which the worker before has left notes: then nobody but this
/// one does.
pub(super) fn commit(tree: &LowerTree, top: &dyn FileSystem) -> Vec<String> {
    let call = Call::internal();
    let noted = tree.noted().into_iter().filter_map(|ino| {
        let error = top.fsync(&call, ino, false).err()?;
        Some(format!("inode {}: {error}", ino.0))
    });
    let mut failed: Vec<String> = noted.collect();
    match top.control_get(&call, Ino::ROOT, UNCOMMITTED) {
        Ok(files) => failed.extend(String::from_utf8_lossy(&files).lines().map(str::to_owned)),
        // No extension of the stack keeps anything.
        Err(Error::NoAttribute) => {}
        Err(error) => failed.push(error.to_string()),
    }
    failed
}

/// Answers the supervisor, until it is gone.
pub(super) fn answer(
    control: UnixStream,
    knowledge: Knowledge,
    supervised: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let mut questions = BufReader::new(control.try_clone()?);
    let (knowledge, control) = (Arc::new(knowledge), Arc::new(Mutex::new(control)));
    let answer = move || {
        while let Ok(Some(ToWorker { number, question })) = receive_buffered(&mut questions) {
            let (knowledge, control) = (Arc::clone(&knowledge), Arc::clone(&control));
            let is_slow = question == Question::Commit;
            let answer = move || {
                let answer = FromWorker { number, answer: knowledge.answer(&question) };
                send(&*control.lock(), &answer)
            };
            // A disk may take longer than the supervisor waits for a sign of life.
            let answered = match is_slow {
                true => std::thread::Builder::new()
                    .name("commit all".to_owned())
                    .spawn(answer)
                    .map(drop),
                false => answer(),
            };
            if answered.is_err() {
                break;
            }
        }
        supervised.store(false, Ordering::Release);
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(answer).map(drop)
}

/// Leaves SIGTERM, SIGINT and SIGHUP to the supervisor, which unmounts: so nothing acknowledged is lost
/// when both get them. Without a supervisor the worker ends the connection itself, and then in order.
pub(super) fn leave_signals_to_supervisor(
    supervised: Arc<AtomicBool>,
    end: impl Fn() + Send + 'static,
) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let obey = move || {
        for _ in signals.forever() {
            // The supervisor may have been killed by the same hand, which is noticed a moment later.
            let begun = Instant::now();
            while supervised.load(Ordering::Acquire) && begun.elapsed() < MOMENT {
                std::thread::sleep(MOMENT / 50);
            }
            if supervised.load(Ordering::Acquire) {
                log::debug!("a signal is left to the supervisor");
            } else {
                end();
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(obey).map(drop)
}
