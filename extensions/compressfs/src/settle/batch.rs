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
use crate::form::{Awaited, Source};
use crate::format::{self, Builder, HEAD_LEN};
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

/// Images in a journal that is not committed yet.
pub(super) struct Made<'a> {
    pub(super) journal: Writer,
    /// One for each plan.
    pub(super) answers: Vec<Settled>,
    /// The finished images, with the numbers of their plans.
    pub(super) ready: Vec<(usize, Ready<'a>)>,
}

/// Makes and installs images; one answer for each plan. An error means that all files are what
/// they were.
pub(super) fn settle(compress: &Compress, plans: &[Plan<'_>]) -> Result<Vec<Settled>> {
    let Made { journal, mut answers, ready } = make(compress, plans)?;
    let (numbers, ready): (Vec<usize>, Vec<Ready<'_>>) = ready.into_iter().unzip();
    let installed = install::install(compress, journal, ready)?;
    for (number, answer) in numbers.into_iter().zip(installed) {
        answers[number] = answer;
    }
    Ok(answers)
}

/// Makes images.
pub(super) fn make<'a>(compress: &Compress, plans: &'a [Plan<'a>]) -> Result<Made<'a>> {
    let given_up: Vec<AtomicBool> = plans.iter().map(|_| AtomicBool::new(false)).collect();
    let promised = compress.budget()?;
    let (journal, budget) = match Writer::in_reserve(&compress.store, promised.bytes)? {
        Some(reserved) => reserved,
        None => (Writer::create(&compress.store)?, promised.bytes),
    };
    let mut assembly = Assembly {
        compress,
        plans,
        given_up: &given_up,
        budget,
        journal,
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
    let chunks: u64 = plans.iter().map(Plan::chunks).sum();
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
    let Assembly { journal, answers, ready, .. } = assembly;
    Ok(Made { journal, answers, ready })
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
        Err(Error::Lower(Errno::NXIO)) => Ok(u64::MAX),
        found => found,
    };
    let mut chunk = plan.kept.chunks;
    let mut len = plan.goal()?;
    while chunk * chunk_len < len {
        let data = seek(chunk * chunk_len, Whence::Data)?.min(len);
        let first = if data < len { data / chunk_len } else { len.div_ceil(chunk_len) };
        if first > chunk {
            pipeline.submit(Step::Holes(first - chunk));
        }
        let end = match data < len {
            true => seek(data, Whence::Hole)?.min(len).div_ceil(chunk_len),
            false => first,
        };
        for chunk in first..end {
            if given_up.load(Ordering::Relaxed) {
                return Ok(());
            }
            pipeline.submit(Step::Chunk(number, chunk));
        }
        chunk = end;
        if chunk * chunk_len >= len {
            len = plan.goal()?;
        }
    }
    Ok(())
}

/// Puts results together: images in the journal.
struct Assembly<'a, 'b> {
    compress: &'b Compress,
    plans: &'a [Plan<'a>],
    /// For each plan: nothing more is needed of it.
    given_up: &'b [AtomicBool],
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
    /// Where its images start in the journal.
    base: u64,
    /// The next chunk of the file.
    chunk: u64,
    /// Where the segment that is being written starts, and its first chunk.
    start: u64,
    first: u64,
    builder: Builder,
}

impl Assembly<'_, '_> {
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
        let (chunk, continues) = (plan.kept.chunks, plan.kept.checksum);
        let builder = Builder::new(plan.algorithm, plan.chunk_len).continuing(continues);
        self.journal.append(&[0; HEAD_LEN])?;
        let start = base;
        self.current = Some(Current { number, base, chunk, start, first: chunk, builder });
        Ok(())
    }

    fn chunk(&mut self, chunk: &Encoded) -> Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        if self.journal.end() + chunk.frame.len() as u64 > self.budget {
            // With the images before it installed, there may be enough room for this one.
            let full = Error::Lower(Errno::NOSPC);
            return Err(if self.ready.is_empty() { full } else { Error::Busy });
        }
        let plan = &self.plans[current.number];
        let is_whole = plan.len_of_chunk(current.chunk) == plan.chunk_len as usize;
        if plan.splits && !is_whole && current.chunk > current.first {
            self.begin_next()?;
        }
        let current = self.current.as_mut().expect("it was there");
        current.chunk += 1;
        current.builder.push(&chunk.record);
        self.journal.append(&chunk.frame)?;
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
        let first = current.chunk;
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

    /// Completes the segment so far, and begins another.
    fn begin_next(&mut self) -> Result<()> {
        let continues = Some(self.complete()?);
        let start = self.journal.end();
        self.journal.append(&[0; HEAD_LEN])?;
        let current = self.current.as_mut().expect("it was completed just now");
        let plan = &self.plans[current.number];
        (current.start, current.first) = (start, current.chunk);
        current.builder = Builder::new(plan.algorithm, plan.chunk_len).continuing(continues);
        Ok(())
    }

    /// Writes what ends an image, and its head; returns the checksum of its header.
    fn complete(&mut self) -> Result<u32> {
        let current = self.current.as_mut().expect("an image is being written");
        let plan = &self.plans[current.number];
        let chunk_len = u64::from(plan.chunk_len);
        let end = match plan.grows {
            true => current.chunk * chunk_len,
            false => plan.len.min(current.chunk * chunk_len),
        };
        let len = end - current.first * chunk_len;
        let next = Builder::new(plan.algorithm, plan.chunk_len);
        let builder = std::mem::replace(&mut current.builder, next);
        let head = builder.finish(len, &mut |bytes| self.journal.append(bytes))?;
        self.journal.file().write_at(Credentials::HOST, current.start, &head)?;
        format::checksum_of_head(&head)
            .ok_or_else(|| Error::Broken("a new image does not look like one".to_owned()))
    }

    /// Completes the images of a file.
    fn end(&mut self) -> Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let (number, base, chunk) = (current.number, current.base, current.chunk);
        let plan = &self.plans[number];
        let space = current.builder.image_len().next_multiple_of(BLOCK);
        if plan.raw_space.is_some_and(|raw_space| space >= raw_space) {
            self.decline();
            return Ok(());
        }
        self.complete()?;
        let images = Awaited {
            source: Source::new(self.journal.file().clone(), base),
            at: plan.kept.end,
            len: self.journal.end() - base,
            log_len: 0,
        };
        let (open, changes) = (plan.open, plan.changes);
        self.ready.push((number, Ready { open, changes, images, chunks: chunk }));
        self.current = None;
        Ok(())
    }

    /// The file is not worth an image.
    fn decline(&mut self) {
        let Some(current) = &self.current else {
            return;
        };
        let remembered = remember_tried(self.compress, &self.plans[current.number]);
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
