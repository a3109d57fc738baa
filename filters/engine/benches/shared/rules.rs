//! Policies of any number of rules.

use std::fmt::Write as _;

use hsci_language::names::FixedNames;
use hsci_language::{Policy, check};

pub(crate) const COUNTS: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// Rules on directories, endings and users, in equal parts.
pub(crate) fn text(count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        let rule = match i % 4 {
            0 => format!("deny write on \"/srv/projects/p{i:05}/**\" unless user {i}"),
            1 => format!("audit open on \"/srv/projects/p{i:05}/**/*.key\""),
            2 => format!("deny(ENOENT) open on \"/home/user{i}/.private/**\" unless owner caller"),
            _ => format!("pass * on \"/srv/shared/**\" when user {i}"),
        };
        writeln!(text, "{rule}").expect("a text");
    }
    text
}

/// The same, with 64 marks and 16 rates that nothing exceeds.
pub(crate) fn remembering(count: usize) -> String {
    let mut text = text(count);
    for i in 0..64 {
        let rules = format!(
            "mark m{i} read-data on \"/srv/secret{i}/**\"\n\
             deny write-data on \"/srv/public{i}/**\" when marked m{i}"
        );
        writeln!(text, "{rules}").expect("a text");
    }
    for i in 0..16 {
        let rate = format!("deny unlink on \"/srv/many{i}/**\" when rate > 1000000 per 1s");
        writeln!(text, "{rate}").expect("a text");
    }
    text
}

pub(crate) fn policy(text: &str) -> Policy {
    check(text, &FixedNames::default()).policy.expect("no errors")
}
