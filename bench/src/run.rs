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
    let runner =
        Runner { hsci: &hsci, stage: &stage, meter: &meter, contenders: &contenders, clock };
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for scenario in scenarios(&stage)? {
        if !arguments.only.is_empty()
            && !arguments.only.iter().any(|part| scenario.name.contains(part.as_str()))
        {
            continue;
        }
        if let Err(error) = scenario.probe().and_then(|()| runner.clock.check()) {
            eprintln!("{}: skipped: {error:#}", scenario.name);
            skipped.push((scenario.name, format!("{error:#}")));
            continue;
        }
        match runner.run(&scenario) {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                interrupt::check()?;
                eprintln!("{}: failed: {error:#}", scenario.name);
                failed.push(scenario.name.clone());
                skipped.push((scenario.name, format!("{error:#}")));
            }
        }
    }
    Ok(Results { about: about(arguments, scale)?, skipped, failed, scenarios: outcomes })
}

struct Runner<'a> {
    hsci: &'a Path,
    stage: &'a Stage<'a>,
    meter: &'a Meter,
    contenders: &'a [Contender],
    clock: Clock,
}

/// The time that a run has.
struct Clock {
    begun: Instant,
    budget: Duration,
}

impl Clock {
    fn check(&self) -> Result<()> {
        if self.begun.elapsed() > self.budget {
            bail!("no time left");
        }
        Ok(())
    }
}

impl Runner<'_> {
    fn run(&self, scenario: &Scenario) -> Result<Outcome> {
        eprintln!("{}: {}", scenario.name, scenario.about);
        let mut steps: Vec<Measured> = scenario.steps.iter().map(Measured::new).collect();
        let taking_part = self.contenders.iter();
        let taking_part: Vec<Contender> = taking_part
            .filter(|contender| scenario.for_readers || !contender.is_read_only())
            .copied()
            .collect();
        for round in 0..self.stage.scale.rounds {
            if round > 0 && self.clock.check().is_err() {
                break;
            }
            // Fresh file systems, and in each round another one begins.
            let mut order = taking_part.clone();
            let len = order.len();
            order.rotate_left(round % len);
            let places = self.make(&order)?;
            for (step, measured) in scenario.steps.iter().zip(&mut steps) {
                for place in &places {
                    if place.contender.is_read_only() && !step.reads_only {
                        continue;
                    }
                    let sample = self.take(step, place, round);
                    let sample = sample
                        .with_context(|| format!("{} on {}", step.name, place.contender.name))?;
                    measured.add(place.contender.name, sample);
                }
            }
        }
        for measured in &steps {
            eprintln!("  {}", measured.line(&taking_part));
        }
        let contenders = taking_part.iter().map(|contender| contender.name.to_owned()).collect();
        let (name, about) = (scenario.name.clone(), scenario.about.clone());
        Ok(Outcome { name, about, contenders, steps })
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
        format!("{} rounds, {held}", scale.rounds),
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
