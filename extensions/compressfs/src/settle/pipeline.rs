//! Work on all cores whose results come back in order, with a bound on what is under way.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Jobs under way for each thread: one being worked on, one ready, one waiting to be collected.
const DEPTH: usize = 3;

/// Feeds jobs to threads, and their results, in the order of the jobs, to one sink.
pub(crate) struct Pipeline<'a, J, R> {
    jobs: SyncSender<(J, SyncSender<R>)>,
    results: VecDeque<Receiver<R>>,
    depth: usize,
    sink: &'a mut dyn FnMut(R),
}

impl<J: Send, R: Send> Pipeline<'_, J, R> {
    /// Submits a job, after waiting for the oldest one while too many are under way.
    pub(crate) fn submit(&mut self, job: J) {
        while self.results.len() >= self.depth {
            self.collect();
        }
        let (answer, result) = sync_channel(1);
        self.results.push_back(result);
        // A closed channel means that the threads have panicked: `collect` tells.
        let _ = self.jobs.send((job, answer));
    }

    fn collect(&mut self) {
        let oldest = self.results.pop_front().expect("only called with jobs under way");
        (self.sink)(oldest.recv().expect("a thread of the pipeline panicked"));
    }
}

/// Runs `feed` with a pipeline of `threads` threads. Each thread makes itself a worker with
/// `start`, a function from a job to its result.
pub(crate) fn run<J: Send, R: Send, W: FnMut(J) -> R>(
    threads: usize,
    start: impl Fn() -> W + Sync,
    sink: &mut dyn FnMut(R),
    feed: impl FnOnce(&mut Pipeline<'_, J, R>),
) {
    let depth = threads * DEPTH;
    let (jobs, queue) = sync_channel::<(J, SyncSender<R>)>(depth);
    let queue = Arc::new(Mutex::new(queue));
    thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, start) = (Arc::clone(&queue), &start);
            scope.spawn(move || {
                let mut work = start();
                let next = || queue.lock().expect("no panic while it is held").recv().ok();
                while let Some((job, answer)) = next() {
                    // Nobody waits for the answer if the feeding side has panicked.
                    let _ = answer.send(work(job));
                }
            });
        }
        // Only the threads hold the queue now: if all are gone, submitting fails.
        drop(queue);
        let mut pipeline = Pipeline { jobs, results: VecDeque::new(), depth, sink };
        feed(&mut pipeline);
        while !pipeline.results.is_empty() {
            pipeline.collect();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_order_and_no_more_than_the_depth_is_under_way() {
        let under_way = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let mut results = Vec::new();
        let mut sink = |result| {
            under_way.fetch_sub(1, Ordering::SeqCst);
            results.push(result);
        };
        let start = || {
            |job: u64| {
                thread::sleep(Duration::from_micros(job * 7919 % 300));
                job * 2
            }
        };
        run(4, start, &mut sink, |pipeline| {
            for job in 0..500 {
                pipeline.submit(job);
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            }
        });
        assert_eq!(results, (0..500).map(|job| job * 2).collect::<Vec<_>>());
        let most = most.into_inner();
        assert!(most <= 4 * DEPTH, "{most} jobs under way");
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_in_a_job_ends_the_run() {
        let start = || |job: u32| assert!(job < 3, "the job that panics");
        run(2, start, &mut |()| {}, |pipeline| (0..100).for_each(|job| pipeline.submit(job)));
    }
}
