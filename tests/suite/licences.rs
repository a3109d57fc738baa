//! Every crate that is built is under a licence that goes with ours, and comes from the registry.

use std::path::Path;

use hsci_tests::{Run, Test, machine};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "licences::all_crates_are_compatible", seconds: 60, body: crates },
    Test { name: "licences::expressions_are_understood", seconds: 60, body: expressions },
];

/// The list in `deny.toml`, so that there is one.
fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(machine::project().join("deny.toml")).expect("deny.toml");
    let list = text.split("allow = [").nth(1).and_then(|rest| rest.split(']').next());
    let names = list.expect("a list of licences").split('"').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

fn crates(_: &Path) {
    let version = Run::new("rustc").arg("-vV").ok();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1"];
    let run = Run::new("cargo").args(arguments).args(["--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&run.dir(machine::project()).ok()).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let allowed = allowed();
    let mut complaints = Vec::new();
    for package in packages {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        if !is_allowed(&licence, &allowed) {
            complaints.push(format!("{name} is under `{licence}`"));
        }
        let source = text(package, "source");
        if !source.is_empty() && !source.starts_with("registry+") {
            complaints.push(format!("{name} comes from {source}"));
        }
    }
    println!("{} crates", packages.len());
    assert!(packages.len() > 50 && complaints.is_empty(), "{complaints:#?}");
}

/// True if an SPDX expression can be met by licences of the list. Parentheses are read as far as
/// crates use them: around one choice.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let bare = expression.replace(['(', ')'], "").replace('/', " OR ");
    let is_listed = |name: &str| allowed.iter().any(|listed| listed == name.trim());
    let one_of = |choice: &str| choice.split(" OR ").any(is_listed);
    !bare.is_empty() && bare.split(" AND ").all(one_of)
}

fn expressions(_: &Path) {
    let list = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned);
    let is_allowed = |expression: &str| is_allowed(expression, &list);
    assert!(is_allowed("MIT OR Apache-2.0"));
    assert!(is_allowed("MIT/GPL-3.0"));
    assert!(is_allowed("(MIT OR GPL-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("MIT AND GPL-3.0-only"));
    assert!(!is_allowed("GPL-3.0-only"));
    assert!(!is_allowed(""));
}
