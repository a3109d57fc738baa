//! Sealing: quiet files get their image, batch by batch, with nobody kept waiting.

mod batch;
mod encode;
mod escape;
mod grow;
mod install;
mod pipeline;
mod plan;

use std::sync::Arc;

use hsci_extension::{Error, OpenFile, Settled};

pub(crate) use self::escape::escape;
#[cfg(test)]
pub(crate) use self::grow::SEALED_GROWING;
pub(crate) use self::grow::settle_past;
use self::plan::Plan;
pub(crate) use self::plan::has_past;
use crate::compress::Compress;

/// Logical bytes of one batch, unless a single file has more: what a crash can undo, and what
/// the journal holds at a time.
const BATCH_BYTES: u64 = 128 << 20;
/// Files of one batch.
const BATCH_FILES: usize = 2048;

/// Brings the files into their final form; one answer for each.
pub(crate) fn settle(compress: &Compress, open_files: &[Arc<OpenFile<Compress>>]) -> Vec<Settled> {
    let mut answers = Vec::with_capacity(open_files.len());
    let mut plans = Vec::new();
    let mut bytes = 0;
    for (number, open) in open_files.iter().enumerate() {
        let plan = plan::plan(compress, open, number);
        answers.push(Settled::Unchanged);
        match plan {
            Ok(plan) => {
                bytes += plan.len;
                plans.push(plan);
            }
            Err(answer) => answers[number] = answer,
        }
        if bytes >= BATCH_BYTES || plans.len() >= BATCH_FILES {
            run(compress, &plans, &mut answers);
            plans.clear();
            bytes = 0;
        }
    }
    run(compress, &plans, &mut answers);
    for (open, answer) in open_files.iter().zip(&answers) {
        if let Settled::Failed(error) = answer {
            log_failure(open, error);
        }
    }
    answers
}

/// What an error means for the file that it hit.
fn answer(error: Error) -> Settled {
    match error {
        Error::Busy => Settled::Busy,
        error => Settled::Failed(error),
    }
}

fn run(compress: &Compress, plans: &[Plan<'_>], answers: &mut [Settled]) {
    if plans.is_empty() {
        return;
    }
    let settled = batch::settle(compress, plans)
        .unwrap_or_else(|error| plans.iter().map(|_| Settled::Failed(error.clone())).collect());
    for (plan, answer) in plans.iter().zip(settled) {
        answers[plan.number] = answer;
    }
}

fn log_failure(open: &OpenFile<Compress>, error: &Error) {
    log::warn!("{} stays as it is stored: {error}", open.path().display());
}
