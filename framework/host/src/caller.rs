//! What a process that goes on after its caller does not take from it.

use std::process::Command;

use hsci_extension::protection;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::sys::process::{close_inherited, reset_signals};

/// The variables that supervisors and workers get, and nothing else.
///
/// `docs/src/reference/command.md` lists them; a test compares.
pub const ENVIRONMENT: [&str; 10] = [
    "HOME",
    "HSCI_LOG",
    "LANG",
    "LC_ALL",
    "NOTIFY_SOCKET",
    "RUST_BACKTRACE",
    "TZ",
    "USER",
    "WATCHDOG_USEC",
    "XDG_RUNTIME_DIR",
];

/// Where root's supervisors find programs of the system.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Limits that say what a user's own programs may do, not what a server of files needs.
const LIMITS: [Resource; 6] = [
    Resource::Fsize,
    Resource::Cpu,
    Resource::As,
    Resource::Data,
    Resource::Rss,
    Resource::Memlock,
];

/// Gives a program the variables of [`ENVIRONMENT`], and a path.
pub(crate) fn filter_environment(command: &mut Command) {
    if !protection::stands("environment") {
        return;
    }
    command.env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Only builds with assertions have points to stop at, and can do without a protection.
    if cfg!(debug_assertions) {
        let tests = ["HSCI_PAUSE", protection::VARIABLE];
        let given = tests.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(given);
    }
    match std::env::var_os("PATH") {
        Some(path) if !geteuid().is_root() => command.env("PATH", path),
        _ => command.env("PATH", PATH),
    };
}

/// Lets go of the caller's descriptors but those in `keep`, of its limits and of how it handles
/// signals. Must come before this program opens anything.
pub(crate) fn leave(keep: &[i32]) {
    if !protection::stands("inherited") {
        return;
    }
    close_inherited(keep);
    reset_signals();
    for resource in LIMITS {
        let limit = getrlimit(resource);
        let maximum = if geteuid().is_root() { None } else { limit.maximum };
        // Root of a container may not raise its maximum.
        if setrlimit(resource, Rlimit { current: maximum, maximum }).is_err() {
            let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
        }
    }
}
