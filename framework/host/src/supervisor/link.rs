//! The connection between a supervisor and the worker that serves: questions with answers.

use std::collections::HashMap;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use hsci_protocol::control::{FromWorker, Question, ToWorker, WorkerAnswer};
use hsci_protocol::line::{receive_buffered, send};
use parking_lot::Mutex;

/// A worker that takes longer to take a message is stopped.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// Who waits for which answer; `None` once there are no answers any more.
type Waiting = Mutex<Option<HashMap<u64, SyncSender<WorkerAnswer>>>>;

/// The connection to a worker that serves.
pub(super) struct Link {
    /// `None` once a message was cut off: nothing may follow it.
    socket: Mutex<Option<UnixStream>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
}

/// Why a worker has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mute {
    /// It has ended.
    Ended,
    /// Not within the time.
    Late,
}

impl Link {
    pub(super) fn new(socket: UnixStream) -> std::io::Result<Arc<Self>> {
        socket.set_write_timeout(Some(SEND_LIMIT))?;
        let mut answers = BufReader::new(socket.try_clone()?);
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let taken = Arc::clone(&waiting);
        let take = move || {
            while let Ok(Some(FromWorker { number, answer })) = receive_buffered(&mut answers) {
                let waits = taken.lock().as_mut().and_then(|waiting| waiting.remove(&number));
                if let Some(waits) = waits {
                    // The asking thread may have given up.
                    let _ = waits.try_send(answer);
                }
            }
            *taken.lock() = None;
        };
        std::thread::Builder::new().name("answers".to_owned()).spawn(take)?;
        Ok(Arc::new(Self { socket: Mutex::new(Some(socket)), waiting, next: AtomicU64::new(0) }))
    }

    /// Asks, and waits as long as `limit` for the answer.
    pub(super) fn ask(&self, question: Question, limit: Duration) -> Result<WorkerAnswer, Mute> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (waits, answer) = sync_channel(1);
        self.waiting.lock().as_mut().ok_or(Mute::Ended)?.insert(number, waits);
        self.send(&ToWorker { number, question })?;
        answer.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Disconnected => Mute::Ended,
            RecvTimeoutError::Timeout => {
                if let Some(waiting) = self.waiting.lock().as_mut() {
                    waiting.remove(&number);
                }
                Mute::Late
            }
        })
    }

    fn send(&self, message: &ToWorker) -> Result<(), Mute> {
        let mut socket = self.socket.lock();
        let Some(open) = &*socket else { return Err(Mute::Late) };
        send(open, message).map_err(|error| {
            *socket = None;
            match error.kind() {
                std::io::ErrorKind::WouldBlock => Mute::Late,
                _ => Mute::Ended,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_answer_keeps_nobody_waiting() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let link = Link::new(ours).expect("a link");
        let limit = Duration::from_millis(20);
        assert_eq!(link.ask(Question::Ping, limit), Err(Mute::Late));
        // Also not when it takes no messages any more.
        let mut late = 0;
        while link.ask(Question::Ping, Duration::ZERO) == Err(Mute::Late) && late < 10_000 {
            late += 1;
        }
        assert_eq!(late, 10_000);
        drop(theirs);
        let ended = (0..100).any(|_| {
            std::thread::sleep(limit);
            link.ask(Question::Ping, limit) == Err(Mute::Ended)
        });
        assert!(ended, "the end is noticed");
    }

    #[test]
    fn answers_find_who_asked() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let link = Link::new(ours).expect("a link");
        let worker = std::thread::spawn(move || {
            let mut questions = BufReader::new(theirs.try_clone().expect("a copy"));
            let mut asked = Vec::new();
            while asked.len() < 2 {
                let next = receive_buffered(&mut questions).expect("received").expect("a message");
                let ToWorker { number, question: Question::Hits(from) } = next else {
                    panic!("{next:?}")
                };
                asked.push((number, from));
            }
            for (number, from) in asked.into_iter().rev() {
                let answer = WorkerAnswer::Hits(vec![from as u64]);
                send(&theirs, &FromWorker { number, answer }).expect("sent");
            }
        });
        std::thread::scope(|scope| {
            for from in [1, 2] {
                let link = &link;
                scope.spawn(move || {
                    let answer = link.ask(Question::Hits(from), Duration::from_secs(20));
                    assert_eq!(answer, Ok(WorkerAnswer::Hits(vec![from as u64])));
                });
            }
        });
        worker.join().expect("the worker");
    }
}
