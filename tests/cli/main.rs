//! The command where nothing is mounted: help texts, complaints and exit codes, word for word.
//!
//! `TRYCMD=overwrite cargo test --test cli` writes what the program says now into the files.

/// A table of bad input and what it gets, and the reference with its transcripts.
#[test]
fn transcripts_are_true() {
    trycmd::TestCases::new()
        .register_bin("hsci", trycmd::cargo::cargo_bin!("hsci"))
        .env("COLUMNS", "100")
        .case("tests/cli/*.trycmd")
        .case("docs/src/reference/command.md");
}
