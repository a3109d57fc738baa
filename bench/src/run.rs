//! Scenario after scenario, step after step, contender after contender.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::arguments::{Arguments, Scale};
use crate::contenders::{Contender, Place, probe};
use crate::corpus::{self, Tree};
use crate::interrupt;
use crate::measures::{Meter, Sample, Tracer};
use crate::workloads::{Action, Scenario, Stage, Step, Unit, scenarios};

/// All that a run has found.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    /// The machine, and how it was used.
    pub(crate) about: Vec<String>,
    /// Contenders and scenarios that were left out, and why.
    pub(crate) skipped: Vec<(String, String)>,
    /// Those of them that could have run, and did not.
    pub(crate) failed: Vec<String>,
    pub(crate) scenarios: Vec<Outcome>,
}

/// What a scenario has shown.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) contenders: Vec<String>,
    pub(crate) steps: Vec<Measured>,
}

/// What a step has shown.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) writes: u64,
    /// By contender.
    pub(crate) samples: BTreeMap<String, Vec<Sample>>,
}

/// Runs everything that was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<Results> {
    if !arguments.hsci.is_file() {
        bail!("there is no {}: build it, or name it with --hsci", arguments.hsci.display());
    }
    let hsci = fs::canonicalize(&arguments.hsci)?;
    let scale = arguments.scale();
    let scratch = tempfile::Builder::new().prefix("hsci-bench-").tempdir_in(&arguments.scratch)?;
    let (contenders, unable) = probe(arguments.quick, &arguments.contenders);
    let mut skipped: Vec<_> =
        unable.into_iter().map(|(name, why)| (name.to_owned(), why)).collect();
    let tracer = Tracer::new(scratch.path());
    if let Err(error) = &tracer {
        skipped.push(("requests by kind".to_owned(), format!("{error:#}")));
    }
    let meter = Meter::new(tracer.ok(), arguments.held);
    let tree = Tree::stage(arguments.tree.as_deref(), scratch.path(), scale.tree_files)?;
    let corpora = corpus::find(scale.corpus_bytes);
    let stage = Stage { scratch: scratch.path(), tree: &tree, corpora: &corpora, scale };
    let clock = Clock { begun: Instant::now(), budget: scale.budget };
    let runner = Runner { hsci: &hsci, stage: &stage, meter: &meter, clock };
    let wanted = |scenario: &Scenario| {
        let only = &arguments.only;
        only.is_empty() || only.iter().any(|part| scenario.name.contains(part.as_str()))
    };
    let (mut taken, mut ended, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for scenario in scenarios(&stage)?.into_iter().filter(wanted) {
        match scenario.probe() {
            Ok(()) => taken.push(Taken::new(scenario, &contenders)),
            Err(error) => leave_out(&mut skipped, &scenario, format!("skipped: {error:#}")),
        }
    }
    // All scenarios in each round, so that less time means fewer rounds and not fewer scenarios.
    for round in 0..scale.rounds {
        for mut one in std::mem::take(&mut taken) {
            if round > 0 && runner.clock.is_over() {
                ended.push(one);
            } else if runner.clock.is_over() {
                leave_out(&mut skipped, &one.scenario, "skipped: no time left".to_owned());
            } else if let Err(error) = runner.run(&mut one, round) {
                interrupt::check()?;
                leave_out(&mut skipped, &one.scenario, format!("failed: {error:#}"));
                failed.push(one.scenario.name);
            } else {
                ended.push(one);
            }
        }
        std::mem::swap(&mut taken, &mut ended);
    }
    let about = about(arguments, scale)?;
    Ok(Results {
        about,
        skipped,
        failed,
        scenarios: taken.into_iter().map(Taken::outcome).collect(),
    })
}

fn leave_out(skipped: &mut Vec<(String, String)>, scenario: &Scenario, why: String) {
    eprintln!("{}: {why}", scenario.name);
    skipped.push((scenario.name.clone(), why));
}

/// A scenario, and what it has shown so far.
struct Taken {
    scenario: Scenario,
    contenders: Vec<Contender>,
    steps: Vec<Measured>,
}

impl Taken {
    fn new(scenario: Scenario, contenders: &[Contender]) -> Self {
        let able = |contender: &&Contender| scenario.for_readers || !contender.is_read_only();
        let contenders = contenders.iter().filter(able).copied().collect();
        let steps = scenario.steps.iter().map(Measured::new).collect();
        Self { scenario, contenders, steps }
    }

    fn outcome(self) -> Outcome {
        let contenders = self.contenders.iter().map(|it| it.name.to_owned()).collect();
        let Scenario { name, about, .. } = self.scenario;
        Outcome { name, about, contenders, steps: self.steps }
    }
}

struct Runner<'a> {
    hsci: &'a Path,
    stage: &'a Stage<'a>,
    meter: &'a Meter,
    clock: Clock,
}

/// The time that a run has.
struct Clock {
    begun: Instant,
    budget: Duration,
}

impl Clock {
    fn is_over(&self) -> bool {
        self.begun.elapsed() > self.budget
    }
}

impl Runner<'_> {
    /// One round of a scenario: fresh file systems, of which another one begins than in the round before.
    fn run(&self, taken: &mut Taken, round: usize) -> Result<()> {
        let Taken { scenario, contenders, steps } = taken;
        eprintln!("{}, round {}: {}", scenario.name, round + 1, scenario.about);
        let mut order = contenders.clone();
        order.rotate_left(round % contenders.len());
        let places = self.make(&order)?;
        // A cold step empties everybody's caches: who takes it takes what builds on it before the next one does.
        let mut first = 0;
        for group in scenario.steps.chunk_by(|_, next| !next.cold) {
            for place in &places {
                for (step, measured) in group.iter().zip(&mut steps[first..]) {
                    if place.contender.is_read_only() && !step.reads_only {
                        continue;
                    }
                    let name = place.contender.name;
                    let sample = self.take(step, place, round);
                    let sample = sample.with_context(|| format!("{} on {name}", step.name))?;
                    measured.add(name, sample);
                }
            }
            first += group.len();
        }
        steps.iter().for_each(|measured| eprintln!("  {}", measured.line(contenders)));
        Ok(())
    }

    fn make(&self, contenders: &[Contender]) -> Result<Vec<Place>> {
        let make = |contender: &Contender| {
            Place::make(*contender, self.hsci, self.stage.scratch, &self.stage.tree.stage)
                .with_context(|| contender.name)
        };
        contenders.iter().map(make).collect()
    }

    fn take(&self, step: &Step, place: &Place, round: usize) -> Result<Sample> {
        interrupt::check()?;
        if step.cold {
            drop_caches(&self.stage.tree.archive)?;
        }
        let count = round == 0;
        let measure = |command: &Command| self.meter.measure(place, command, count);
        match &step.action {
            Action::Timed(command) => Ok(measure(&command(place))?.0),
            Action::Rate(work, command) => {
                let (sample, _) = measure(&command(place))?;
                Ok(Sample { figure: work / sample.figure, ..sample })
            }
            Action::Printed(after, command) => {
                let (sample, output) = measure(&command(place))?;
                let text = String::from_utf8_lossy(&output.stdout);
                let figure = printed(&text, after).with_context(|| format!("no `{after}`"))?;
                Ok(Sample { figure, ..sample })
            }
            Action::Settle => {
                let mut sync = Command::new("sync");
                sync.arg("-f").arg(&place.directory);
                Ok(measure(&place.settle().unwrap_or(sync))?.0)
            }
            Action::Stored => {
                let figure = place.stored()? as f64 / f64::from(1 << 20);
                Ok(Sample { figure, ..Sample::default() })
            }
        }
    }
}

impl Measured {
    fn new(step: &Step) -> Self {
        let (name, unit) = (step.name.clone(), step.unit.text());
        Self { name, unit, writes: step.writes, samples: BTreeMap::new() }
    }

    fn add(&mut self, contender: &str, sample: Sample) {
        self.samples.entry(contender.to_owned()).or_default().push(sample);
    }

    /// True if a smaller figure is the better one.
    pub(crate) fn less_is_better(&self) -> bool {
        [Unit::Seconds.text(), Unit::Mib.text()].contains(&self.unit)
    }

    fn line(&self, contenders: &[Contender]) -> String {
        let figure = |contender: &Contender| {
            let spread = self.spread(contender.name)?;
            Some(format!("{} {:.3}", contender.name, spread.median))
        };
        let figures: Vec<String> = contenders.iter().filter_map(figure).collect();
        format!("{}, {}: {}", self.name, self.unit, figures.join(" | "))
    }
}

/// The number that follows some words.
fn printed(text: &str, after: &str) -> Option<f64> {
    let (_, rest) = text.split_once(after)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Empties the page, dentry and inode caches, but for the archive that is unpacked.
fn drop_caches(archive: &Path) -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    std::io::copy(&mut fs::File::open(archive)?, &mut std::io::sink())?;
    Ok(())
}

fn about(arguments: &Arguments, scale: Scale) -> Result<Vec<String>> {
    let version = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cores = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let held = if arguments.held { "callers and servers held on one core" } else { "not held" };
    Ok(vec![
        format!("Linux {}, {cores} cores", version.trim()),
        format!("at most {} rounds, {held}", scale.rounds),
        format!("load of the machine at the end: {}", load.trim()),
    ])
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
