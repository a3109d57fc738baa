//! What a worker that serves answers its supervisor, and what signals mean to it.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hsci_protocol::control::{FromWorker, Question, ToWorker, WorkerAnswer};
use hsci_protocol::line::{receive_buffered, send};
use hsci_protocol::status::WorkerStatus;
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
        }
    }

    fn status(&self) -> WorkerStatus {
        let (inodes, descriptors) = self.tree.counts();
        WorkerStatus {
            inodes: inodes as u64,
            descriptors: descriptors as u64,
            quarantined: (self.quarantined)(),
            requests: self.requests.counts(),
            policy: self.policy.status(),
            ..self.fixed.clone()
        }
    }
}

/// Answers the supervisor, until it is gone.
pub(super) fn answer(
    control: UnixStream,
    knowledge: Knowledge,
    supervised: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let mut questions = BufReader::new(control.try_clone()?);
    let answer = move || {
        while let Ok(Some(ToWorker { number, question })) = receive_buffered(&mut questions) {
            let answer = FromWorker { number, answer: knowledge.answer(&question) };
            if send(&control, &answer).is_err() {
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
