//! One batch of files: their images are made on all cores and written to a journal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use hsci_extension::{Content, Credentials, Errno, Error, Result, Settled, Whence};

use super::answer;
use super::encode::{self, Encoded};
use super::install::{self, Ready};
use super::pipeline::{self, Pipeline};
use super::plan::{BLOCK, Plan, remember_tried};
use crate::compress::Compress;
use crate::form::{Image, Source};
use crate::format::{Builder, HEAD_LEN};
use crate::journal::Writer;

/// What is asked of the pipeline, file by file and chunk by chunk, in order.
enum Step {
    Begin(usize),
    /// A chunk of a file.
    Chunk(usize, u64),
    /// The next so many chunks are holes.
    Holes(u64),
    /// The file cannot be read.
    Fail(Error),
    End,
}

/// What comes back.
enum Outcome {
    Begin(usize),
    Chunk(Result<Encoded>),
    Holes(u64),
    End,
}

/// Makes and installs images; one answer for each plan. An error means that all files are what
/// they were.
pub(super) fn settle(compress: &Compress, plans: &[Plan<'_>]) -> Result<Vec<Settled>> {
    let given_up: Vec<AtomicBool> = plans.iter().map(|_| AtomicBool::new(false)).collect();
    let budget = compress.budget()?;
    let mut assembly = Assembly {
        plans,
        given_up: &given_up,
        budget: budget.bytes,
        journal: Writer::create(&compress.store)?,
        current: None,
        answers: vec![Settled::Busy; plans.len()],
        ready: Vec::new(),
    };
    let start = || {
        let mut bytes = Vec::new();
        move |step| match step {
            Step::Begin(number) => Outcome::Begin(number),
            Step::Chunk(number, chunk) => {
                // A codec that panics spoils one file and not the batch.
                let encode = || encode::encode(compress, &plans[number], chunk, &mut bytes);
                let panicked = |_| Err(Error::Broken("a codec panicked".to_owned()));
                Outcome::Chunk(catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(panicked))
            }
            Step::Holes(count) => Outcome::Holes(count),
            Step::Fail(error) => Outcome::Chunk(Err(error)),
            Step::End => Outcome::End,
        }
    };
    let chunks: u64 = plans.iter().map(|plan| plan.len.div_ceil(plan.chunk_len.into())).sum();
    let threads = compress.settings.threads.min(chunks as usize).max(1);
    pipeline::run(threads, start, &mut |outcome| assembly.take(outcome), |pipeline| {
        for (number, plan) in plans.iter().enumerate() {
            pipeline.submit(Step::Begin(number));
            if let Err(error) = feed(compress, number, plan, &given_up[number], pipeline) {
                pipeline.submit(Step::Fail(error));
            }
            pipeline.submit(Step::End);
        }
    });
    let Assembly { journal, mut answers, ready, .. } = assembly;
    let (numbers, ready): (Vec<usize>, Vec<Ready<'_>>) = ready.into_iter().unzip();
    let installed = install::install(&*compress.store, journal, ready)?;
    for (number, answer) in numbers.into_iter().zip(installed) {
        answers[number] = answer;
    }
    Ok(answers)
}

/// Submits the chunks of a file, and stops when it is given up.
fn feed(
    compress: &Compress,
    number: usize,
    plan: &Plan<'_>,
    given_up: &AtomicBool,
    pipeline: &mut Pipeline<'_, Step, Outcome>,
) -> Result<()> {
    let chunk_len = u64::from(plan.chunk_len);
    let seek = |offset, whence| match compress.seek(&*plan.read()?, offset, whence) {
        Err(Error::Lower(Errno::NXIO)) => Ok(plan.len),
        found => found,
    };
    let mut chunk = 0;
    while chunk * chunk_len < plan.len {
        let data = seek(chunk * chunk_len, Whence::Data)?;
        let first = if data < plan.len { data / chunk_len } else { plan.len.div_ceil(chunk_len) };
        if first > chunk {
            pipeline.submit(Step::Holes(first - chunk));
        }
        if data >= plan.len {
            break;
        }
        let end = seek(data, Whence::Hole)?.div_ceil(chunk_len);
        for chunk in first..end {
            if given_up.load(Ordering::Relaxed) {
                return Ok(());
            }
            pipeline.submit(Step::Chunk(number, chunk));
        }
        chunk = end;
    }
    Ok(())
}

/// Puts results together: images in the journal.
struct Assembly<'a> {
    plans: &'a [Plan<'a>],
    /// For each plan: nothing more is needed of it.
    given_up: &'a [AtomicBool],
    /// The most bytes that the journal may take.
    budget: u64,
    journal: Writer,
    /// The image that is being written, unless its file is given up.
    current: Option<Current>,
    answers: Vec<Settled>,
    ready: Vec<(usize, Ready<'a>)>,
}

struct Current {
    number: usize,
    /// Where the image starts in the journal.
    base: u64,
    /// Chunks so far.
    chunks: u64,
    builder: Builder,
}

impl<'a> Assembly<'a> {
    fn take(&mut self, outcome: Outcome) {
        let taken = match outcome {
            Outcome::Begin(number) => self.begin(number),
            Outcome::Chunk(Ok(chunk)) => self.chunk(&chunk),
            Outcome::Chunk(Err(error)) => Err(error),
            Outcome::Holes(count) => self.holes(count),
            Outcome::End => self.end(),
        };
        if let Err(error) = taken {
            self.give_up(answer(error));
        }
    }

    fn begin(&mut self, number: usize) -> Result<()> {
        let plan = &self.plans[number];
        let base = self.journal.align();
        let builder = Builder::new(plan.algorithm, plan.chunk_len);
        self.journal.append(&[0; HEAD_LEN])?;
        self.current = Some(Current { number, base, chunks: 0, builder });
        Ok(())
    }

    fn chunk(&mut self, chunk: &Encoded) -> Result<()> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if self.journal.end() + chunk.frame.len() as u64 > self.budget {
            // With the images before it installed, there may be enough room for this one.
            let full = Error::Lower(Errno::NOSPC);
            return Err(if self.ready.is_empty() { full } else { Error::Busy });
        }
        current.chunks += 1;
        current.builder.push(&chunk.record);
        self.journal.append(&chunk.frame)?;
        let plan = &self.plans[current.number];
        if plan.raw_space.is_some_and(|space| current.builder.image_len() >= space) {
            self.decline();
        }
        Ok(())
    }

    fn holes(&mut self, count: u64) -> Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let plan = &self.plans[current.number];
        let first = current.chunks;
        let whole = encode::encode_hole(plan, plan.chunk_len as usize)?;
        for chunk in first..first + count {
            let len = plan.len_of_chunk(chunk);
            if len == plan.chunk_len as usize {
                self.chunk(&whole)?;
            } else {
                self.chunk(&encode::encode_hole(plan, len)?)?;
            }
        }
        Ok(())
    }

    /// Completes an image.
    fn end(&mut self) -> Result<()> {
        let Some(Current { number, base, builder, .. }) = &mut self.current else {
            return Ok(());
        };
        let (number, base) = (*number, *base);
        let plan = &self.plans[number];
        let space = builder.image_len().next_multiple_of(BLOCK);
        if plan.raw_space.is_some_and(|raw_space| space >= raw_space) {
            self.decline();
            return Ok(());
        }
        let builder = std::mem::replace(builder, Builder::new(plan.algorithm, plan.chunk_len));
        let head = builder.finish(plan.len, &mut |bytes| self.journal.append(bytes))?;
        self.journal.file().write_at(Credentials::HOST, base, &head)?;
        let source = Source::new(self.journal.file().clone(), base);
        let image = Image::open(source)?
            .ok_or_else(|| Error::Broken("a new image does not look like one".to_owned()))?;
        let ready = Ready { open: plan.open, changes: plan.changes, image, base };
        self.ready.push((number, ready));
        self.current = None;
        Ok(())
    }

    /// The file is not worth an image.
    fn decline(&mut self) {
        let Some(current) = &self.current else {
            return;
        };
        let remembered = remember_tried(&self.plans[current.number]);
        self.give_up(remembered.map_or_else(answer, |()| Settled::Unchanged));
    }

    fn give_up(&mut self, answer: Settled) {
        let Some(Current { number, base, .. }) = self.current.take() else {
            return;
        };
        self.given_up[number].store(true, Ordering::Relaxed);
        self.answers[number] = answer;
        // If this fails, the rest of the image stays behind in the journal and does no harm.
        if let Err(error) = self.journal.rewind(base) {
            log::debug!("journal: {error}");
        }
    }
}
