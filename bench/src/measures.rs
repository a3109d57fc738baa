//! What is measured of a piece of work.

mod process;
mod requests;

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;

pub(crate) use self::process::resident_kib;
use self::process::{Used, callers, server};
pub(crate) use self::requests::Tracer;
use crate::contenders::Place;

/// What one round of one step took.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// In the unit of the step.
    pub(crate) figure: f64,
    /// The callers.
    pub(crate) caller: Used,
    /// The process that serves the file system, if the kernel does not.
    pub(crate) server: Option<Used>,
    /// The most memory that the server had during the step, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_kib: Option<u64>,
    /// Bytes written to the device below, once all is durable.
    pub(crate) written_below: u64,
    /// Until then: seconds after the step.
    pub(crate) sync_seconds: f64,
    /// Requests of the kernel by name. Of the first round only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<BTreeMap<String, u64>>,
}

/// Takes samples.
pub(crate) struct Meter {
    tracer: Option<Tracer>,
    held: bool,
}

/// The core on which callers and servers are held if they are.
const CORE: &str = "1";

impl Meter {
    pub(crate) fn new(tracer: Option<Tracer>, held: bool) -> Self {
        Self { tracer, held }
    }

    /// Runs a command at a place, and measures it. The figure is in seconds; with its output the
    /// caller may make another one of it.
    pub(crate) fn measure(
        &self,
        place: &Place,
        command: &Command,
        count: bool,
        held: bool,
    ) -> Result<(Sample, Output)> {
        let mut command = self.hold(place, command, held)?;
        let pid = place.server_pid();
        let tracer = self.tracer.as_ref().filter(|_| count);
        let trace = place.connection().zip(tracer).map(|(number, tracer)| tracer.watch(number));
        let trace = trace.transpose()?;
        process::forget_peak(pid);
        let (written, callers_before, server_before) =
            (place.written_below()?, callers()?, pid.and_then(server));
        let begun = Instant::now();
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let figure = begun.elapsed().as_secs_f64();
        let caller = callers()?.since(&callers_before);
        let server = pid.and_then(server).zip(server_before).map(|(now, then)| now.since(&then));
        let peak_kib = pid.and_then(process::peak_kib);
        let requests = trace.and_then(|trace| trace.counts());
        let ended = Instant::now();
        place.sync()?;
        let sync_seconds = ended.elapsed().as_secs_f64();
        let written_below = place.written_below()?.saturating_sub(written);
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let sample =
            Sample { figure, caller, server, peak_kib, written_below, sync_seconds, requests };
        Ok((sample, output))
    }

    fn hold(&self, place: &Place, command: &Command, held: bool) -> Result<Command> {
        if !self.held && !held {
            return Ok(copy_of(command, command.get_program()));
        }
        if let Some(pid) = place.server_pid() {
            let mut hold = Command::new("taskset");
            crate::contenders::run(hold.args(["-apc", CORE]).arg(pid.to_string()))?;
        }
        let mut held = Command::new("taskset");
        held.args(["-c", CORE]).arg(command.get_program());
        Ok(with_rest_of(held, command))
    }
}

fn copy_of(command: &Command, program: &std::ffi::OsStr) -> Command {
    with_rest_of(Command::new(program), command)
}

fn with_rest_of(mut copy: Command, command: &Command) -> Command {
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        copy.current_dir(directory);
    }
    copy.stdin(std::process::Stdio::null());
    copy
}
