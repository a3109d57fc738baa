//! The whole program on real mounts, with real clients and real damage.

mod architecture;
mod clients;
mod exerciser;
mod full_disk;
mod licences;
mod model;
mod pjdfstest;

use std::process::ExitCode;

use hsci_tests::{Test, runner};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--exercise") {
        exerciser::process(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    let areas: [&[Test]; 7] = [
        architecture::TESTS,
        full_disk::TESTS,
        licences::TESTS,
        clients::TESTS,
        exerciser::TESTS,
        model::TESTS,
        pjdfstest::TESTS,
    ];
    runner::main(&areas.concat())
}
