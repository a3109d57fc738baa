//! The whole program on real mounts, with real clients and real damage.

mod architecture;
mod bad_input;
mod big_tree;
mod book;
mod callers;
mod clients;
mod command;
mod conformance;
mod containers;
mod contract;
mod control;
mod damage;
mod data;
mod database;
mod everyday;
mod examples;
mod exerciser;
mod full_disk;
mod fuzz;
mod hostile;
mod learning;
mod licences;
mod model;
mod monitoring;
mod mounting;
mod older;
mod pjdfstest;
mod policies;
mod power;
mod predicates;
mod remembering;
mod requests;
mod sandbox;
mod survival;
mod users;

use std::process::ExitCode;

use hsci_tests::{Test, runner};

const AREAS: &[&[Test]] = &[
    architecture::TESTS,
    bad_input::TESTS,
    big_tree::TESTS,
    book::TESTS,
    clients::TESTS,
    command::TESTS,
    conformance::TESTS,
    containers::TESTS,
    control::TESTS,
    contract::TESTS,
    damage::TESTS,
    data::TESTS,
    callers::TESTS,
    everyday::TESTS,
    everyday::ends::TESTS,
    everyday::grows::TESTS,
    everyday::journals::TESTS,
    everyday::shared::TESTS,
    everyday::below::TESTS,
    everyday::stays::TESTS,
    examples::TESTS,
    exerciser::TESTS,
    full_disk::TESTS,
    fuzz::TESTS,
    licences::TESTS,
    model::TESTS,
    learning::TESTS,
    monitoring::TESTS,
    mounting::TESTS,
    pjdfstest::TESTS,
    older::TESTS,
    policies::TESTS,
    predicates::TESTS,
    remembering::TESTS,
    power::TESTS,
    requests::TESTS,
    sandbox::TESTS,
    survival::TESTS,
    users::TESTS,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--exercise") {
        exerciser::process(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    if arguments.first().is_some_and(|first| first == "--latency") {
        hostile::fairness::process(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    if arguments.first().is_some_and(|first| first == "--without") {
        return hostile::protections::process(&arguments[1..]);
    }
    if arguments.first().is_some_and(|first| first == "--load") {
        survival::load::process(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    runner::main(&[AREAS, hostile::TESTS].concat().concat())
}
