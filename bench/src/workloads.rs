//! What is done, in scenarios: steps that each contender takes on a new file system.

mod files;
mod logs;
mod servers;
mod space;
mod tree;

pub(crate) use self::servers::make_logs;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::arguments::Scale;
use crate::client::{Kind, Work};
use crate::contenders::{Place, need};
use crate::corpus::{Corpus, Tree};

/// Steps that build on each other.
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What a reader must know of it.
    pub(crate) about: String,
    pub(crate) steps: Vec<Step>,
    /// Contenders that can only be read have the tree already.
    pub(crate) for_readers: bool,
    /// Programs without which it is skipped.
    pub(crate) needs: &'static [&'static str],
    /// A shell's commands, run once all contenders are mounted: to have in memory what comes from elsewhere.
    pub(crate) before: Option<String>,
    /// Callers and servers are held on one core.
    pub(crate) held: bool,
    /// Bytes of the devices.
    pub(crate) device_len: u64,
}

/// One thing that is measured.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// Before it: what the kernel has cached is dropped.
    pub(crate) cold: bool,
    /// Before it: files of this directory or file are read that are no contender's.
    pub(crate) reads: Option<PathBuf>,
    /// Contenders that can only be read take part.
    pub(crate) reads_only: bool,
    /// Bytes that it writes, as far as they are known.
    pub(crate) writes: u64,
    pub(crate) action: Action,
}

/// What a figure says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    MibPerSecond,
    PerSecond,
    Mib,
    Bytes,
}

impl Unit {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::MibPerSecond => "MiB/s",
            Self::PerSecond => "/s",
            Self::Mib => "MiB",
            Self::Bytes => "B",
        }
    }
}

/// How a figure comes about.
pub(crate) enum Action {
    /// A command, run at a place; the figure is the time it takes.
    Timed(Box<dyn Fn(&Place) -> Command>),
    /// So much work, of which the figure is the rate.
    Rate(f64, Box<dyn Fn(&Place) -> Command>),
    /// A command that prints the figure after these words.
    Printed(&'static str, Box<dyn Fn(&Place) -> Command>),
    /// Compressing everything now; contenders that have done so while writing make it durable.
    Settle,
    /// The space that is used on the device, beyond that of an empty file system.
    Stored,
    /// The memory that a new server takes for each of so many files when a command looks at all of them.
    MemoryOf(u64, Box<dyn Fn(&Place) -> Command>),
}

/// What is at hand for scenarios.
pub(crate) struct Stage<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) tree: &'a Tree,
    pub(crate) corpora: &'a [Corpus],
    pub(crate) scale: Scale,
}

/// All scenarios, in the order in which they run.
pub(crate) fn scenarios(stage: &Stage<'_>) -> Result<Vec<Scenario>> {
    let mut all = vec![
        tree::sources(stage),
        tree::repository(stage),
        files::small(stage),
        files::large(stage),
    ];
    all.extend(stage.scale.also_held.then(|| tree::held(stage)));
    all.extend(stage.scale.builds.then(|| tree::build(stage)));
    all.extend(stage.scale.many.iter().map(|number| files::many(*number)));
    all.extend(servers::all(stage)?);
    all.extend(stage.corpora.iter().map(|corpus| space::of(stage, corpus)));
    // It takes as long as it takes, so others go first.
    all.push(logs::all(stage));
    Ok(all)
}

impl Scenario {
    fn new(name: &str, about: impl Into<String>, steps: Vec<Step>) -> Self {
        let (name, about) = (name.to_owned(), about.into());
        Self {
            name,
            about,
            steps,
            for_readers: false,
            needs: &[],
            before: None,
            held: false,
            device_len: 8 << 30,
        }
    }

    fn needs(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    /// Fails with what it lacks on this machine.
    pub(crate) fn probe(&self) -> Result<()> {
        self.needs.iter().try_for_each(|program| need(program))
    }
}

impl Step {
    fn new(name: impl Into<String>, unit: Unit, action: Action) -> Self {
        Self {
            name: name.into(),
            unit,
            cold: false,
            reads: None,
            reads_only: false,
            writes: 0,
            action,
        }
    }

    fn timed(name: impl Into<String>, command: impl Fn(&Place) -> Command + 'static) -> Self {
        Self::new(name, Unit::Seconds, Action::Timed(Box::new(command)))
    }

    fn settle() -> Self {
        Self::new("settle (others: sync)", Unit::Seconds, Action::Settle)
    }

    fn stored() -> Self {
        Self::new("space", Unit::Mib, Action::Stored).reading()
    }

    fn cold(self) -> Self {
        Self { cold: true, ..self }
    }

    fn with(self, path: PathBuf) -> Self {
        Self { reads: Some(path), ..self }
    }

    fn reading(self) -> Self {
        Self { reads_only: true, ..self }
    }

    fn writing(self, writes: u64) -> Self {
        Self { writes, ..self }
    }
}

/// This program as a client.
fn client(place: &Place, kind: Kind, count: u64, clients: u64) -> Command {
    let work = Work { kind, directory: place.directory.clone(), count, clients };
    command_of(&work).unwrap_or_else(|_| Command::new("false"))
}

fn command_of(work: &Work) -> Result<Command> {
    use clap::ValueEnum as _;
    let kind = work.kind.to_possible_value().context("a kind of work")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("client").arg(kind.get_name()).arg(&work.directory);
    command.args([work.count.to_string(), work.clients.to_string()]);
    Ok(command)
}

/// A shell's command in the directory of a place.
fn shell(place: &Place, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(&place.directory);
    command
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::arguments::Arguments;
    use crate::corpus::kinds;

    /// What a run with some arguments has to choose from, where files of each kind are found.
    pub(crate) fn all_scenarios(arguments: &[&str]) -> Vec<Scenario> {
        let given = std::iter::once("side-by-side").chain(arguments.iter().copied());
        let scale = Arguments::parse_from(given).scale();
        let scratch = tempfile::tempdir().expect("a directory");
        let (stage, name) = (scratch.path().join("stage"), "linux".to_owned());
        let tree = Tree { archive: stage.clone(), stage, name, files: 1, bytes: 1 };
        let corpora: Vec<Corpus> =
            kinds().map(|name| Corpus { name, files: Vec::new(), bytes: 1 }).collect();
        let stage = Stage { scratch: scratch.path(), tree: &tree, corpora: &corpora, scale };
        scenarios(&stage).expect("scenarios")
    }
}
