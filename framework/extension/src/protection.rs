//! The names of the protections against those who own or use what is served, so that a test can take each one out and
//! see that an attempt of the suite notices.
//!
//! Only builds with assertions can do without any: there, `HSCI_WITHOUT=NAME` takes one out.

/// All of them. `docs/src/explanation/security.md` says what each stands against.
pub const ALL: [&str; 47] = [
    "apart",
    "attach",
    "callers",
    "capabilities",
    "case",
    "core-dumps",
    "dumpable",
    "elsewhere",
    "environment",
    "export-place",
    "flags",
    "forget-mode",
    "handles",
    "hard-links",
    "inherited",
    "landlock",
    "links",
    "lock",
    "memory",
    "modes",
    "moved",
    "namespace",
    "no-rights",
    "nobody",
    "one-name",
    "others-programs",
    "overlap",
    "owners",
    "policy-files",
    "read-only",
    "recovery",
    "regular-files",
    "scratch",
    "set-ids",
    "shares",
    "store-links",
    "store-programs",
    "below-root",
    "system-calls",
    "unasked",
    "uncovered",
    "unending",
    "unprivileged",
    "users-servers",
    "users-sockets",
    "way-up",
    "whole-images",
];

/// The variable that names the one that is out.
pub const VARIABLE: &str = "HSCI_WITHOUT";

/// True if a protection stands, as it does but in a test.
#[cfg(debug_assertions)]
#[must_use]
pub fn stands(name: &str) -> bool {
    use std::sync::OnceLock;
    static OUT: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    debug_assert!(ALL.contains(&name), "{name} is on no list");
    OUT.get_or_init(|| std::env::var_os(VARIABLE)).as_deref() != Some(name.as_ref())
}

/// True: in an optimised build all stand.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[must_use]
pub const fn stands(_: &str) -> bool {
    true
}
