//! What building an extension of one's own takes.

use std::process::{Command, Stdio};

use super::Finding;

/// The oldest Rust that builds HSCI, and extensions with it.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

pub(super) fn look() -> Vec<Finding> {
    // Not where the caller stands: a file there may name another cargo for rustup to start.
    let mut cargo = Command::new("cargo");
    let asked = cargo.arg("--version").current_dir("/").stdin(Stdio::null()).output();
    let output = asked.ok().filter(|output| output.status.success());
    vec![judged(output.as_ref().map(|output| String::from_utf8_lossy(&output.stdout)).as_deref())]
}

/// What follows from the line that cargo prints of itself, or from there being none.
fn judged(said: Option<&str>) -> Finding {
    const NAME: &str = "Rust";
    const EFFECT: &str = "no extensions can be built here; those that are installed work without";
    const ADVICE: &str = "https://rustup.rs installs one that is new enough, for a user";
    let Some(version) = said.and_then(|line| line.split_whitespace().nth(1)) else {
        return Finding::missing(NAME, "no cargo on PATH that works", EFFECT, ADVICE);
    };
    if numbers(version) < numbers(OLDEST) {
        let found = format!("{version}, and building takes {OLDEST} or later");
        return Finding::missing(NAME, found, EFFECT, ADVICE);
    }
    Finding::ok(NAME, format!("{version}; building takes {OLDEST} or later"))
}

/// The numbers of a version such as `1.95.0-nightly`, to compare.
fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| part.parse().ok();
    version.split(['.', '-']).map_while(number).collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn an_old_rust_and_none_are_missing() {
        let oldest = format!("cargo {OLDEST}.0 (873a06493 2025-05-10)");
        let state = |said: Option<&str>| judged(said).state;
        assert_eq!(state(Some("cargo 1.104.0-nightly (0ca60e940 2026-02-09)")), State::Ok);
        assert_eq!(state(Some(&oldest)), State::Ok);
        assert_eq!(state(Some("cargo 1.63.0")), State::Missing);
        assert_eq!(state(None), State::Missing);
    }
}
