//! Random changes of one file, and of the bytes that it has to hold.

use super::subject::Subject;
use super::{Case, Outcome, noise, same, same_bytes, text};
use crate::{Errno, FallocateFlags};

/// Changes of one run, and the largest size.
const STEPS: usize = 300;
const MOST: usize = 600_000;

pub(super) fn cases<S: Subject>() -> Vec<Case<S>> {
    vec![
        ("random changes add up, seed 1", |subject| run(subject, 1)),
        ("random changes add up, seed 2", |subject| run(subject, 2)),
        ("random changes add up, seed 3", |subject| run(subject, 3)),
    ]
}

/// Numbers from a fixed seed, so that a failure comes again.
struct Dice(Vec<u8>);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let tail = self.0.split_off(self.0.len() - 4);
        let number = tail.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        number % bound
    }
}

fn run<S: Subject>(subject: &S, seed: u64) -> Outcome {
    let file = subject.create("file")?;
    let mut model: Vec<u8> = Vec::new();
    let mut dice = Dice(noise(seed, STEPS * 20));
    for step in 0..STEPS {
        let at = dice.below(MOST / 2);
        let most = if dice.below(4) == 0 { MOST / 4 } else { 9_000 };
        let len = 1 + dice.below(most);
        let what = change(subject, &file, &mut model, dice.below(8), at, len, step as u64)?;
        same!(subject.stat(&file)?.size, model.len() as u64, "size after step {step}, {what}");
        let from = dice.below(MOST).min(model.len());
        let to = (from + 20_000).min(model.len());
        let read = subject.read(&file, from as u64, to - from)?;
        same_bytes(&read, &model[from..to], &format!("from {from} after step {step}, {what}"))?;
        if step % 10 == 9 {
            same_bytes(&subject.read(&file, 0, MOST)?, &model, &format!("after step {step}"))?;
        }
    }
    Ok(())
}

/// One change; says which.
fn change<S: Subject>(
    subject: &S,
    file: &S::File,
    model: &mut Vec<u8>,
    kind: usize,
    at: usize,
    len: usize,
    seed: u64,
) -> Result<String, super::Broken> {
    let end = at + len;
    match kind {
        0..=2 => {
            let data = if kind == 0 { noise(seed + 1, len) } else { text(seed, len) };
            subject.write(file, at as u64, &data)?;
            if model.len() < end {
                model.resize(end, 0);
            }
            model[at..end].copy_from_slice(&data);
            Ok(format!("a write at {at}..{end}"))
        }
        3 => {
            let data = text(seed, len.min(MOST - model.len()));
            subject.write(file, model.len() as u64, &data)?;
            model.extend_from_slice(&data);
            Ok(format!("an append of {}", data.len()))
        }
        4 => {
            subject.set_len(file, at as u64)?;
            model.resize(at, 0);
            Ok(format!("a truncation to {at}"))
        }
        5 => {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match subject.allocate(file, mode, at as u64, len as u64) {
                Err(error) if error.errno() == Errno::OPNOTSUPP => {}
                done => {
                    done?;
                    let size = model.len();
                    model[at.min(size)..end.min(size)].fill(0);
                }
            }
            Ok(format!("a hole at {at}..{end}"))
        }
        6 => {
            subject.sync(file)?;
            Ok("a sync".to_owned())
        }
        _ => {
            subject.disturb();
            Ok("work in the background".to_owned())
        }
    }
}
