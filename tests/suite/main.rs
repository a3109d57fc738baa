//! The whole program on real mounts, with real clients and real damage.

mod model;

use std::process::ExitCode;

use hsci_tests::{Test, runner};

fn main() -> ExitCode {
    let areas: [&[Test]; 1] = [model::TESTS];
    runner::main(&areas.concat())
}
