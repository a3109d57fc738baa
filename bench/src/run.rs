//! Scenario after scenario, round after round.

mod round;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use self::round::Runner;
use crate::arguments::{Arguments, Scale};
use crate::contenders::{Contender, YARDSTICK, probe};
use crate::corpus::{self, Tree};
use crate::measures::{Meter, Sample, Tracer};
use crate::memory::Warm;
use crate::plan::{Part, part_of};
use crate::workloads::{Scenario, Stage, Step, Unit, make_logs, scenarios};
use crate::{interrupt, report};

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
    /// What each round took, with all that is not measured.
    pub(crate) seconds: Vec<f64>,
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

/// Runs everything that was asked for. What was found is written after each scenario, so that nothing of it is lost when a
/// later one fails or the run is interrupted.
pub(crate) fn run(arguments: &Arguments) -> Result<Results> {
    if !arguments.hsci.is_file() {
        bail!("there is no {}: build it, or name it with --hsci", arguments.hsci.display());
    }
    let clock = Clock::start(arguments.scale().budget);
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
    let logs = (!arguments.quick && is_named(&arguments.only, "space: logs"))
        .then(|| make_logs(scratch.path(), &tree.stage));
    let logs = logs.transpose().unwrap_or_else(|error| {
        skipped.push(("logs of PostgreSQL and rsync".to_owned(), format!("{error:#}")));
        None
    });
    let corpora = corpus::find(scale.corpus_bytes, logs.as_deref());
    let stage = Stage { scratch: scratch.path(), tree: &tree, corpora: &corpora, scale };
    // A short run says nothing about time, and has none to prepare.
    let warm = if arguments.quick { None } else { Warm::keep()? };
    let about = about(arguments, scale, warm.is_some())?;
    let mut session = Session {
        arguments,
        results: Results { about, skipped, failed: Vec::new(), scenarios: Vec::new() },
        taken: Vec::new(),
    };
    session.take(scenarios(&stage)?, &contenders);
    session.go(&Runner { hsci: &hsci, stage: &stage, meter: &meter }, &clock, scale.rounds)?;
    let load = fs::read_to_string("/proc/loadavg")?;
    session.results.about.push(format!("load of the machine at the end: {}", load.trim()));
    session.save()?;
    Ok(session.results)
}

fn is_named(only: &[String], scenario: &str) -> bool {
    only.is_empty() || only.iter().any(|part| scenario.contains(part.as_str()))
}

/// A run that goes on.
struct Session<'a> {
    arguments: &'a Arguments,
    results: Results,
    /// One for each of the results' scenarios.
    taken: Vec<Taken>,
}

/// A scenario that takes place.
pub(crate) struct Taken {
    pub(crate) scenario: Scenario,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) part: Option<&'static Part>,
    /// Who failed in it stays out of the rounds that follow.
    pub(crate) failures: Vec<(&'static str, String)>,
}

impl Session<'_> {
    fn take(&mut self, scenarios: Vec<Scenario>, contenders: &[Contender]) {
        let Arguments { only, goals, .. } = self.arguments;
        for scenario in scenarios {
            let part = part_of(&scenario).filter(|_| *goals);
            if !is_named(only, &scenario.name) || (*goals && part.is_none()) {
                continue;
            }
            if let Err(error) = scenario.probe() {
                self.leave_out(&scenario.name, format!("skipped: {error:#}"));
                continue;
            }
            let taken = Taken::new(scenario, contenders, part);
            self.results.scenarios.push(Outcome::of(&taken));
            self.taken.push(taken);
        }
    }

    /// All scenarios in each round, so that less time means fewer rounds and not fewer scenarios.
    fn go(&mut self, runner: &Runner<'_>, clock: &Clock, rounds: usize) -> Result<()> {
        for round in 0..rounds {
            for number in 0..self.taken.len() {
                let (taken, outcome) =
                    (&mut self.taken[number], &mut self.results.scenarios[number]);
                if taken.part.is_some_and(|part| round >= part.rounds) {
                    continue;
                }
                if clock.is_over_after(outcome.seconds.last().copied()) {
                    if round == 0 {
                        let name = outcome.name.clone();
                        self.leave_out(&name, "skipped: no time left".to_owned());
                    }
                    continue;
                }
                let begun = Instant::now();
                let ended = runner.run(taken, outcome, round);
                outcome.seconds.push(begun.elapsed().as_secs_f64());
                self.note_failures(number, ended);
                self.save()?;
                if interrupt::is_wanted() {
                    self.leave_out("the rest", "interrupted".to_owned());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn note_failures(&mut self, number: usize, ended: Result<()>) {
        let name = self.results.scenarios[number].name.clone();
        for (contender, why) in std::mem::take(&mut self.taken[number].failures) {
            self.fail(&format!("{name}, {contender}"), &why);
        }
        if let Err(error) = ended
            && !interrupt::is_wanted()
        {
            self.fail(&name, &format!("{error:#}"));
        }
    }

    fn fail(&mut self, what: &str, why: &str) {
        self.leave_out(what, format!("failed: {why}"));
        self.results.failed.push(what.to_owned());
    }

    fn leave_out(&mut self, what: &str, why: String) {
        eprintln!("{what}: {why}");
        self.results.skipped.push((what.to_owned(), why));
    }

    fn save(&self) -> Result<()> {
        match &self.arguments.out {
            Some(out) => report::save(&self.results, out, self.arguments.held),
            None => Ok(()),
        }
    }
}

impl Taken {
    fn new(scenario: Scenario, contenders: &[Contender], part: Option<&'static Part>) -> Self {
        let takes_part = |contender: &&Contender| {
            (scenario.for_readers || !contender.is_read_only())
                && part.is_none_or(|part| contender.name == YARDSTICK || part.has(contender.name))
        };
        let contenders = contenders.iter().filter(takes_part).copied().collect();
        Self { scenario, contenders, part, failures: Vec::new() }
    }
}

impl Outcome {
    fn of(taken: &Taken) -> Self {
        let Scenario { name, about, steps, .. } = &taken.scenario;
        Self {
            name: name.clone(),
            about: about.clone(),
            contenders: taken.contenders.iter().map(|it| it.name.to_owned()).collect(),
            steps: steps.iter().map(Measured::new).collect(),
            seconds: Vec::new(),
        }
    }

    pub(crate) fn has_samples(&self) -> bool {
        self.steps.iter().any(|step| !step.samples.is_empty())
    }
}

/// The time that a run has.
struct Clock {
    begun: Instant,
    budget: Duration,
}

impl Clock {
    fn start(budget: Duration) -> Self {
        Self { begun: Instant::now(), budget }
    }

    fn is_over_after(&self, seconds: Option<f64>) -> bool {
        self.begun.elapsed() + Duration::from_secs_f64(seconds.unwrap_or(0.0)) > self.budget
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
        [Unit::Seconds, Unit::Mib, Unit::Bytes].iter().any(|unit| unit.text() == self.unit)
    }

    fn line(&self, contenders: &[Contender]) -> String {
        let figure = |contender: &Contender| {
            let last = self.samples.get(contender.name)?.last()?;
            Some(format!("{} {:.3}", contender.name, last.figure))
        };
        let figures: Vec<String> = contenders.iter().filter_map(figure).collect();
        format!("{}, {}: {}", self.name, self.unit, figures.join(" | "))
    }
}

fn about(arguments: &Arguments, scale: Scale, warm: bool) -> Result<Vec<String>> {
    let version = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // Without what a builder of kernels has added.
    let version = version.trim().split('-').next().unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let held = if arguments.held { "callers and servers held on one core" } else { "not held" };
    let mut about = vec![
        format!("Linux {version}, {cores} cores"),
        format!("at most {} rounds, {held}", scale.rounds),
        format!("load of the machine at the beginning: {}", load.trim()),
    ];
    if warm {
        about.push(
            "a virtual machine that returns free memory to its host: kept from it during the run"
                .to_owned(),
        );
    }
    Ok(about)
}

/// Where the images of a run lie is of no interest to readers of its report.
pub(crate) fn without(scratch: &Path, text: &str) -> String {
    text.replace(&scratch.display().to_string(), "…")
}
