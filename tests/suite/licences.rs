//! Every crate that is built is under a licence that goes with ours, and comes from crates.io.

use std::path::Path;

use hsci_tests::{Run, Test, machine};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "licences::all_crates_are_compatible", seconds: 60, body: crates },
    Test { name: "licences::expressions_are_understood", seconds: 60, body: expressions },
];

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn crates(_: &Path) {
    let version = Run::new("rustc").arg("-vV").ok();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1"];
    let run = Run::new("cargo").args(arguments).args(["--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&run.dir(machine::project()).ok()).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut complaints = Vec::new();
    for package in packages {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        if !is_allowed(&licence) {
            complaints.push(format!("{name} is under `{licence}`"));
        }
        let source = text(package, "source");
        if !source.is_empty() && !source.contains("crates.io-index") {
            complaints.push(format!("{name} comes from {source}"));
        }
    }
    println!("{} crates", packages.len());
    assert!(packages.len() > 50 && complaints.is_empty(), "{complaints:#?}");
}

/// True if an SPDX expression can be met by licences of the list. Parentheses are read as far as
/// crates use them: around one choice.
fn is_allowed(expression: &str) -> bool {
    let bare = expression.replace(['(', ')'], "").replace('/', " OR ");
    let one_of = |choice: &str| choice.split(" OR ").any(|name| ALLOWED.contains(&name.trim()));
    !bare.is_empty() && bare.split(" AND ").all(one_of)
}

fn expressions(_: &Path) {
    assert!(is_allowed("MIT OR Apache-2.0"));
    assert!(is_allowed("MIT/GPL-3.0"));
    assert!(is_allowed("(MIT OR GPL-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("MIT AND GPL-3.0-only"));
    assert!(!is_allowed("GPL-3.0-only"));
    assert!(!is_allowed(""));
}
