//! What the project wants of single steps. A run prints them beside what it has measured, and judges
//! nothing.

/// A ratio of medians.
pub(crate) struct Goal {
    pub(crate) scenario: &'static str,
    pub(crate) step: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) other: &'static str,
    /// As many times the other's figure, at most where less is better, and at least otherwise.
    pub(crate) ratio: f64,
}

const fn goal(scenario: &'static str, step: &'static str, other: &'static str, ratio: f64) -> Goal {
    Goal { scenario, step, ours: "compressfs", other, ratio }
}

const fn data(scenario: &'static str, step: &'static str, ratio: f64) -> Goal {
    Goal { scenario, step, ours: "compressfs data", other: "ext4", ratio }
}

pub(crate) const GOALS: &[Goal] = &[
    goal("sources", "unpack", "ext4", 5.0),
    goal("sources", "unpack", "btrfs zstd:3", 1.9),
    goal("sources", "unpack", "bindfs", 0.3),
    goal("sources", "unpack", "gocryptfs", 0.3),
    goal("sources", "walk with stat, cold", "ext4", 1.5),
    goal("sources", "walk with stat, warm", "ext4", 1.0),
    goal("sources", "grep -r, cold", "ext4", 1.3),
    goal("sources", "grep -r, again", "ext4", 2.5),
    goal("sources", "grep -r, third", "ext4", 1.0),
    goal("repository", "git status, warm", "ext4", 1.0),
    goal("build", "cargo build", "ext4", 1.05),
    goal("small files", "open, read 4K, close, warm", "ext4", 0.85),
    goal("small files", "stat, warm", "ext4", 0.85),
    goal("large file", "read, cold", "btrfs zstd:3", 1.0),
    goal("sqlite", "sqlite, insertions", "ext4", 0.8),
    goal("pgbench", "pgbench, 4 clients", "ext4", 0.8),
    data("large file", "write to fsync", 0.95),
    data("large file", "read, warm", 0.9),
    data("sqlite", "sqlite, insertions", 0.95),
    data("pgbench", "pgbench, 4 clients", 0.95),
    goal("dbench", "dbench, 4 clients", "ext4", 0.6),
    goal("space: shared libraries", "space", "btrfs zstd:3", 0.95),
    goal("space: logs", "space", "btrfs zstd:3", 0.95),
    goal("space: JSON", "space", "btrfs zstd:3", 0.95),
    goal("space: media", "space", "ext4", 1.0),
    goal("space: compressed already", "space", "ext4", 1.0),
];
