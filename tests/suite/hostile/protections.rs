//! Each protection is taken out once, and an attempt notices. The list stands in the documentation; here it is compared
//! and carried out: `./run test-protections`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use hsci_extension::protection;
use hsci_tests::{Run, Test, machine};

pub(super) const TESTS: &[Test] = &[Test {
    name: "hostile::each_protection_has_an_attempt_that_misses_it",
    seconds: 60,
    body: listed,
}];

const PAGE: &str = "docs/src/explanation/security.md";

/// A row of the list.
struct Row {
    protection: String,
    test: String,
}

/// The rows of the table of which the first cell is a name and the last one a test.
fn rows() -> Vec<Row> {
    let page = fs::read_to_string(machine::project().join(PAGE)).expect(PAGE);
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, test] = cells.as_slice() else { return None };
        let bare = |cell: &str| Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned());
        Some(Row { protection: bare(name)?, test: bare(test)? })
    };
    page.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

fn listed(_: &Path) {
    let rows = rows();
    let named: BTreeSet<_> = rows.iter().map(|row| row.protection.as_str()).collect();
    assert_eq!(named, protection::ALL.into(), "{PAGE} lists them all");
    assert_eq!(rows.len(), named.len(), "each once");
    let own = std::env::current_exe().expect("own path");
    let tests = Run::new(own).arg("--list").ok();
    for row in &rows {
        let line = format!("{}: test", row.test);
        assert!(tests.lines().any(|test| test == line), "there is no test {}", row.test);
    }
}

/// Takes out those whose names contain one of the given parts, or all, one after the other.
pub(crate) fn process(parts: &[String]) -> ExitCode {
    let own = std::env::current_exe().expect("own path");
    let (mut missed, mut unnoticed) = (0, Vec::new());
    for Row { protection, test } in rows() {
        if !parts.is_empty() && !parts.iter().any(|part| protection.contains(part)) {
            continue;
        }
        let run = Run::new(&own).arg(&test).env(protection::VARIABLE, &protection);
        let done = run.done();
        let failed = done.code == 1 && done.out.contains(&format!("test {test} ... FAILED"));
        let panics = done.out.lines().skip_while(|line| !line.contains("panicked at"));
        let why = panics.skip(1).find(|line| !line.trim().is_empty()).unwrap_or_default();
        let why: String = why.trim().chars().take(160).collect();
        let word = if failed { "ok" } else { "FAILED" };
        println!("test without {protection} ... {word}\n    {test}: {why}");
        if failed {
            missed += 1;
        } else {
            unnoticed.push(protection);
        }
    }
    let word = if unnoticed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {missed} passed; {} failed; 0 ignored", unnoticed.len());
    if unnoticed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
