//! Who takes part in which scenario, and how often, where a run is to fill the table of goals: everybody
//! everywhere would take a day.

use crate::workloads::Scenario;

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// How the scenario's name begins.
    scenario: &'static str,
    /// Besides the yardstick.
    contenders: &'static [&'static str],
    /// They take the first step only.
    pub(crate) beginners: &'static [&'static str],
    /// They take the first round only.
    pub(crate) once: &'static [&'static str],
    pub(crate) rounds: usize,
}

const fn part(scenario: &'static str, rounds: usize, contenders: &'static [&'static str]) -> Part {
    Part { scenario, contenders, beginners: &[], once: &[], rounds }
}

const PARTS: &[Part] = &[
    part("sources, held", 3, &["btrfs zstd:3", "compressfs"]),
    Part {
        beginners: &["bindfs", "gocryptfs", "nullfs", "compressfs settle=5"],
        once: &["gocryptfs", "squashfs", "erofs", "squashfuse"],
        ..part("sources", 3, &["btrfs zstd:3", "compressfs"])
    },
    part("repository", 5, &["btrfs zstd:3", "bindfs", "nullfs", "compressfs"]),
    part("small files", 5, &["btrfs zstd:3", "bindfs", "nullfs", "compressfs"]),
    part("large file", 5, &["btrfs zstd:3", "bindfs", "compressfs", "compressfs data"]),
    part("build", 5, &["btrfs zstd:3", "bindfs", "nullfs", "compressfs", "compressfs settle=5"]),
    part("sqlite", 5, &["btrfs zstd:3", "bindfs", "compressfs", "compressfs data"]),
    part("pgbench", 5, &["btrfs zstd:3", "compressfs", "compressfs data"]),
    part("dbench", 5, &["btrfs zstd:3", "bindfs", "nullfs", "compressfs"]),
    part("100000 files", 1, &["btrfs zstd:3", "nullfs", "compressfs"]),
    part(
        "space",
        1,
        &[
            "btrfs lzo",
            "btrfs zstd:3",
            "btrfs zstd:15",
            "compressfs lz4",
            "compressfs zstd:1",
            "compressfs",
            "compressfs zstd:19",
        ],
    ),
];

/// What is planned for a scenario; `None` if it stays out.
pub(crate) fn part_of(scenario: &Scenario) -> Option<&'static Part> {
    PARTS.iter().find(|part| scenario.name.starts_with(part.scenario))
}

impl Part {
    pub(crate) fn has(&self, contender: &str) -> bool {
        [self.contenders, self.beginners, self.once].iter().any(|list| list.contains(&contender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::names;
    use crate::workloads::tests::all_scenarios;

    #[test]
    fn plans_name_what_there_is() {
        let (scenarios, names) = (all_scenarios(&["--goals"]), names().collect::<Vec<_>>());
        for part in PARTS {
            for name in [part.contenders, part.beginners, part.once].concat() {
                assert!(names.contains(&name), "{name} of {}", part.scenario);
            }
            let takes_place =
                |it: &Scenario| part_of(it).is_some_and(|of| of.scenario == part.scenario);
            assert!(scenarios.iter().any(takes_place), "{}", part.scenario);
        }
    }
}
