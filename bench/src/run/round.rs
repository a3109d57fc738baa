//! One round of a scenario: step after step, contender after contender.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use walkdir::WalkDir;

use super::{Outcome, Taken, without};
use crate::contenders::{Contender, Place, run};
use crate::interrupt;
use crate::measures::{Meter, Sample};
use crate::memory::drop_caches;
use crate::workloads::{Action, Stage, Step};

pub(super) struct Runner<'a> {
    pub(super) hsci: &'a Path,
    pub(super) stage: &'a Stage<'a>,
    pub(super) meter: &'a Meter,
}

impl Runner<'_> {
    /// One round of a scenario: fresh file systems, of which another one begins than in the round before. Who fails
    /// takes no further part.
    pub(super) fn run(&self, taken: &mut Taken, outcome: &mut Outcome, round: usize) -> Result<()> {
        eprintln!("{}, round {}: {}", outcome.name, round + 1, outcome.about);
        let part = taken.part;
        let is_in =
            |it: &&Contender| round == 0 || part.is_none_or(|part| !part.once.contains(&it.name));
        let mut order: Vec<Contender> = taken.contenders.iter().filter(is_in).copied().collect();
        let turn = round % order.len().max(1);
        order.rotate_left(turn);
        let mut places = Vec::new();
        for contender in &order {
            interrupt::check()?;
            match self.make(taken, contender) {
                Ok(place) => places.push(place),
                Err(error) => self.fail(taken, contender.name, &error),
            }
        }
        if let Some(script) = &taken.scenario.before {
            run(Command::new("sh").args(["-ec", script]).current_dir(self.stage.scratch))?;
        }
        rustix::fs::sync();
        // A cold step empties everybody's caches: who takes it takes what builds on it before the next one does.
        let mut first = 0;
        let steps = std::mem::take(&mut taken.scenario.steps);
        for group in steps.chunk_by(|_, next| !next.cold) {
            for place in &places {
                for (number, step) in (first..).zip(group) {
                    interrupt::check()?;
                    let name = place.contender.name;
                    let beginner = part.is_some_and(|part| part.beginners.contains(&name));
                    if (place.contender.is_read_only() && !step.reads_only)
                        || (beginner && number > 0)
                        || taken.failures.iter().any(|(failed, _)| *failed == name)
                    {
                        continue;
                    }
                    let sample = self.take(step, place, round == 0, taken.scenario.held);
                    match sample.with_context(|| step.name.clone()) {
                        Ok(Some(sample)) => outcome.steps[number].add(name, sample),
                        Ok(None) => {}
                        Err(error) => self.fail(taken, name, &error),
                    }
                    // It is not to disturb the next one.
                    if place.contender.settles_unasked()
                        && let Some(mut rest) = place.settle()
                        && let Err(error) = run(&mut rest)
                    {
                        self.fail(taken, name, &error);
                    }
                }
            }
            first += group.len();
        }
        taken.scenario.steps = steps;
        outcome.steps.iter().for_each(|measured| eprintln!("  {}", measured.line(&order)));
        Ok(())
    }

    fn make(&self, taken: &Taken, contender: &Contender) -> Result<Place> {
        let (stage, len) = (&self.stage.tree.stage, taken.scenario.device_len);
        Place::make(*contender, self.hsci, self.stage.scratch, stage, len)
    }

    fn fail(&self, taken: &mut Taken, name: &'static str, error: &anyhow::Error) {
        // An interrupt reaches what is being measured as well.
        if !interrupt::is_wanted() {
            let why = without(self.stage.scratch, &format!("{error:#}"));
            taken.contenders.retain(|contender| contender.name != name);
            taken.failures.push((name, why));
        }
    }

    fn take(&self, step: &Step, place: &Place, count: bool, held: bool) -> Result<Option<Sample>> {
        if step.cold {
            drop_caches()?;
            read_programs();
        }
        if let Some(path) = &step.reads {
            read_all(path)?;
        }
        let measure = |command: &Command| self.meter.measure(place, command, count, held);
        let sample = match &step.action {
            Action::Timed(command) => measure(&command(place))?.0,
            Action::Rate(work, command) => {
                let (sample, _) = measure(&command(place))?;
                Sample { figure: work / sample.figure, ..sample }
            }
            Action::Printed(after, command) => {
                let (sample, output) = measure(&command(place))?;
                let text = String::from_utf8_lossy(&output.stdout);
                let figure = printed(&text, after).with_context(|| format!("no `{after}`"))?;
                Sample { figure, ..sample }
            }
            Action::Settle => {
                let mut sync = Command::new("sync");
                sync.arg("-f").arg(&place.directory);
                measure(&place.settle().unwrap_or(sync))?.0
            }
            Action::Stored => {
                let figure = place.stored()? as f64 / f64::from(1 << 20);
                Sample { figure, ..Sample::default() }
            }
            Action::MemoryOf(number, look) => {
                place.remount()?;
                run(&mut look(place))?;
                let Some(kib) = place.memory_kib() else { return Ok(None) };
                let figure = kib as f64 * 1024.0 / *number as f64;
                Sample { figure, ..Sample::default() }
            }
        };
        Ok(Some(sample))
    }
}

/// The number that follows some words.
fn printed(text: &str, after: &str) -> Option<f64> {
    let (_, rest) = text.split_once(after)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Brings what is worked with into memory, but no file that is worked on.
fn read_programs() {
    for program in ["sh", "find", "grep", "du", "git", "rsync", "tar", "rm"] {
        let mut command = Command::new(program);
        let command =
            if program == "sh" { command.args(["-c", ":"]) } else { command.arg("--version") };
        let _ = command.stdin(Stdio::null()).output();
    }
}

/// Brings the files of a step into memory that are no contender's.
fn read_all(path: &Path) -> Result<()> {
    for entry in WalkDir::new(path) {
        let entry = entry?;
        if entry.file_type().is_file() {
            std::io::copy(&mut std::fs::File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_after_its_words() {
        assert_eq!(printed("x\nThroughput 12.5 MB/sec  4 clients", "Throughput"), Some(12.5));
        assert_eq!(printed("tps = 99.25 (without)", "tps ="), Some(99.25));
        assert_eq!(printed("nothing", "tps ="), None);
    }
}
