//! What the project wants of single steps. A run prints them beside what it has measured; whether they are met is for readers,
//! and fails no run.

use crate::run::{Measured, Outcome};
use crate::statistics::Spread;

/// What a step of ours shall reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) scenario: &'static str,
    pub(crate) step: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) beside: Beside,
    /// At most, where less is better, and at least otherwise.
    pub(crate) bound: f64,
}

/// What it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beside {
    /// The ratio of medians to one of these: the one with the best median.
    Best(&'static [&'static str]),
    /// The figure itself; on a tree of Linux, where it is one of a tree.
    Nothing,
}

/// What was measured of a goal.
pub(crate) struct Reached {
    /// The contender it is compared with.
    pub(crate) other: Option<String>,
    /// Of the medians, or the median itself.
    pub(crate) figure: f64,
    /// Of single rounds.
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) rounds: usize,
    pub(crate) less_is_better: bool,
    pub(crate) is_met: bool,
}

const fn goal(
    scenario: &'static str,
    step: &'static str,
    other: &'static [&'static str],
    bound: f64,
) -> Goal {
    Goal { scenario, step, ours: "compressfs", beside: Beside::Best(other), bound }
}

const fn data(scenario: &'static str, step: &'static str, bound: f64) -> Goal {
    Goal { ours: "compressfs data", ..goal(scenario, step, EXT4, bound) }
}

const fn alone(scenario: &'static str, step: &'static str, bound: f64) -> Goal {
    Goal { beside: Beside::Nothing, ..goal(scenario, step, EXT4, bound) }
}

const EXT4: &[&str] = &["ext4"];
const BTRFS: &[&str] = &["btrfs zstd:3"];
/// File systems of others at user level.
const OTHERS: &[&str] = &["passthrough_hp", "bindfs", "gocryptfs"];

pub(crate) const GOALS: &[Goal] = &[
    goal("sources", "unpack", EXT4, 5.0),
    goal("sources", "unpack", BTRFS, 1.9),
    goal("sources", "unpack", OTHERS, 0.3),
    goal("sources, held", "unpack", EXT4, 3.2),
    goal("sources, held", "unpack", BTRFS, 1.2),
    goal("sources", "walk with stat, cold", EXT4, 1.5),
    goal("sources", "walk with stat, again", EXT4, 1.0),
    goal("sources", "walk with stat, third", EXT4, 1.0),
    goal("sources", "grep -r, cold", EXT4, 1.3),
    goal("sources", "grep -r, again", EXT4, 2.5),
    goal("sources, held", "grep -r, again", EXT4, 1.7),
    goal("sources", "grep -r, third", EXT4, 1.0),
    alone("sources", "settle (others: sync)", 12.0),
    goal("repository", "git status, again", EXT4, 1.0),
    goal("repository", "git status, third", EXT4, 1.0),
    goal("build", "cargo build", EXT4, 1.05),
    goal("small files", "open, read 4K, close, warm", EXT4, 0.85),
    goal("small files", "stat, warm", EXT4, 0.85),
    goal("large file", "read, cold", BTRFS, 1.0),
    data("large file", "write to fsync", 0.95),
    data("large file", "read, warm", 0.9),
    goal("sqlite", "sqlite, insertions", EXT4, 0.8),
    data("sqlite", "sqlite, insertions", 0.95),
    goal("pgbench", "pgbench, 4 clients", EXT4, 0.8),
    data("pgbench", "pgbench, 4 clients", 0.95),
    goal("dbench", "dbench, 4 clients", EXT4, 0.6),
    alone("100000 files", "memory of a new server for an inode", 300.0),
    alone("1000000 files", "memory of a new server for an inode", 300.0),
    goal("space: shared libraries", "space", BTRFS, 0.95),
    goal("space: logs", "space", BTRFS, 0.95),
    goal("space: JSON", "space", BTRFS, 0.95),
    goal("space: media", "space", EXT4, 1.0),
    goal("space: compressed already", "space", EXT4, 1.0),
];

impl Goal {
    /// `None` where it was not measured.
    pub(crate) fn look(&self, scenarios: &[Outcome]) -> Option<Reached> {
        let outcome = scenarios.iter().find(|outcome| outcome.name == self.scenario)?;
        let step = outcome.steps.iter().find(|step| step.name == self.step)?;
        let (other, figure, single) = match self.beside {
            Beside::Best(others) => {
                let other = best(step, others)?;
                (Some(other), step.ratio(self.ours, other)?, step.ratios(self.ours, other))
            }
            Beside::Nothing => {
                let is_tree_of_others =
                    self.scenario == "sources" && !outcome.about.contains("linux");
                if is_tree_of_others {
                    return None;
                }
                (None, step.spread(self.ours)?.median, step.figures(self.ours))
            }
        };
        let less_is_better = step.less_is_better();
        let rounds = single.len();
        let Spread { least, most, .. } = Spread::of(single)?;
        let is_met = if less_is_better { figure <= self.bound } else { figure >= self.bound };
        let other = other.map(str::to_owned);
        Some(Reached { other, figure, least, most, rounds, less_is_better, is_met })
    }
}

fn best<'a>(step: &Measured, contenders: &[&'a str]) -> Option<&'a str> {
    let medians = contenders.iter().filter_map(|name| Some((*name, step.spread(name)?.median)));
    let by_median = |(_, a): &(&str, f64), (_, b): &(&str, f64)| a.total_cmp(b);
    let found =
        if step.less_is_better() { medians.min_by(by_median) } else { medians.max_by(by_median) };
    found.map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::names;
    use crate::workloads::tests::all_scenarios;

    #[test]
    fn goals_name_what_there_is() {
        let names = names().collect::<Vec<_>>();
        let mut scenarios = all_scenarios(&["--goals"]);
        scenarios.extend(all_scenarios(&[]));
        for goal in GOALS {
            let scenario = scenarios.iter().find(|scenario| scenario.name == goal.scenario);
            let scenario = scenario.unwrap_or_else(|| panic!("{}", goal.scenario));
            let is_there = scenario.steps.iter().any(|step| step.name == goal.step);
            assert!(is_there, "{} of {}", goal.step, goal.scenario);
            assert!(names.contains(&goal.ours), "{}", goal.ours);
            if let Beside::Best(others) = goal.beside {
                assert!(others.iter().all(|other| names.contains(other)), "{others:?}");
            }
        }
    }
}
