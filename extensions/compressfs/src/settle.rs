//! Sealing: quiet files get their image, batch by batch, with nobody kept waiting.

mod batch;
mod encode;
mod install;
mod pipeline;
mod plan;

use std::sync::Arc;

use hsci_extension::{Cell, Error, Settled};

pub(crate) use self::install::{copy, restore_times};
use crate::fs::Compress;

/// Logical bytes of one batch, unless a single file has more: what a crash can undo, and what
/// the journal holds at a time.
const BATCH_BYTES: u64 = 128 << 20;
/// Files of one batch.
const BATCH_FILES: usize = 2048;

/// Brings the files into their final form; one answer for each.
pub(crate) fn settle(compress: &Compress, cells: &[Arc<Cell<Compress>>]) -> Vec<Settled> {
    let mut answers = Vec::with_capacity(cells.len());
    let mut plans = Vec::new();
    let mut bytes = 0;
    for (number, cell) in cells.iter().enumerate() {
        let plan = plan::plan(compress, cell, number);
        answers.push(Settled::Unchanged);
        match plan {
            Ok(plan) => {
                bytes += plan.len;
                plans.push(plan);
            }
            Err(answer) => answers[number] = answer,
        }
        if bytes >= BATCH_BYTES || plans.len() >= BATCH_FILES {
            run(compress, std::mem::take(&mut plans), &mut answers);
            bytes = 0;
        }
    }
    run(compress, plans, &mut answers);
    for (cell, answer) in cells.iter().zip(&answers) {
        if let Settled::Failed(error) = answer {
            log_failure(cell, error);
        }
    }
    answers
}

fn run(compress: &Compress, plans: Vec<plan::Plan<'_>>, answers: &mut [Settled]) {
    let numbers: Vec<usize> = plans.iter().map(|plan| plan.number).collect();
    if numbers.is_empty() {
        return;
    }
    let settled = batch::settle(compress, &plans);
    match settled {
        Ok(settled) => {
            for (number, answer) in numbers.into_iter().zip(settled) {
                answers[number] = answer;
            }
        }
        Err(error) => {
            for number in numbers {
                answers[number] = Settled::Failed(error.clone());
            }
        }
    }
}

fn log_failure(cell: &Cell<Compress>, error: &Error) {
    log::warn!("{} stays as it is stored: {error}", cell.path().display());
}
