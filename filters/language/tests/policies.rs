//! Every kind of diagnostic, and what good policies mean: a folder of policies, each named after
//! what it shows.
//!
//! `INSTA_UPDATE=always cargo test -p hsci-language` writes what is said now into the snapshots.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hsci_language::names::FixedNames;
use hsci_language::policy::Outcome;
use hsci_language::{
    Checked, Code, DenyErrno, FileType, OpenFlag, Operations, Policy, check, check_parts, judge,
    render_all,
};

fn names() -> FixedNames {
    let ids =
        |pairs: &[(&str, u32)]| pairs.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
    let options = |pairs: &[(&str, &[&str])]| {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        pairs.iter().map(|(key, values)| ((*key).to_owned(), owned(values))).collect()
    };
    let compressfs =
        options(&[("algorithm", &["zstd", "zstd:9", "zstd:-7", "lz4", "none"]), ("chunk", &[])]);
    FixedNames {
        users: ids(&[("root", 0), ("alice", 1000), ("bob", 1001), ("carol", 1002)]),
        groups: ids(&[("root", 0), ("builders", 2000), ("staff", 2001)]),
        executables: ["/usr/bin/rsync", "/usr/bin/archiver"].map(str::to_owned).to_vec(),
        links: [("/var/run", "/run"), ("/bin", "/usr/bin"), ("/bin/rsync", "/usr/bin/rsync")]
            .map(|(link, real)| (link.to_owned(), real.to_owned()))
            .into(),
        extensions: [
            ("compressfs".to_owned(), compressfs),
            ("nullfs".to_owned(), options(&[("depth", &[])])),
        ]
        .into(),
    }
}

fn policies(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies").join(folder);
    let entries = folder.read_dir().expect("the folder of policies");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("a policy"))
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn bad_policies_are_refused_with_place_reason_and_hint() {
    let policies = policies("bad");
    let mut shown = BTreeSet::new();
    for (name, text) in &policies {
        let checked = check(text, &names());
        assert!(!checked.diagnostics.is_empty(), "{name}: nothing was found");
        let has_errors = checked.diagnostics.iter().any(|one| one.is_error());
        assert_eq!(checked.policy.is_none(), has_errors, "{name}");
        for diagnostic in &checked.diagnostics {
            assert!(diagnostic.hint.is_some(), "{name}: {} without a hint", diagnostic.title);
        }
        shown.extend(checked.diagnostics.iter().map(|one| one.code));
        let rendered = render_all(&checked.diagnostics, &format!("{name}.policy"), text, false);
        insta::assert_snapshot!(format!("bad/{name}").replace('/', "__"), rendered);
    }
    assert!(policies.len() >= 40);
    let missing: Vec<_> = checked_here().filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no bad policy shows {missing:?}");
}

/// Only compiling shows that a policy is too large, and only files what is included again.
fn checked_here() -> impl Iterator<Item = &'static Code> {
    const ELSEWHERE: [Code; 2] = [Code::TooLarge, Code::RepeatedInclude];
    Code::ALL.iter().filter(|code| !ELSEWHERE.contains(code))
}

#[test]
fn a_bad_policy_is_named_after_its_diagnostic() {
    let stems: Vec<String> = policies("bad").into_iter().map(|(name, _)| name).collect();
    for code in checked_here() {
        assert!(
            stems.iter().any(|stem| stem.starts_with(code.name())),
            "no policy is named after `{}`",
            code.name()
        );
    }
}

#[test]
fn good_policies_mean_what_their_expectations_say() {
    for (name, text) in policies("good") {
        let checked = check(&text, &names());
        let rendered = render_all(&checked.diagnostics, &name, &text, false);
        assert!(checked.diagnostics.is_empty(), "{rendered}");
        let policy = checked.policy.expect("no error was found");
        assert!(!policy.expectations.is_empty(), "{name}: nothing is expected");
        for expectation in &policy.expectations {
            let judgement = judge(&policy, &expectation.call);
            for (wanted, outcome) in &expectation.outcomes {
                assert_eq!(
                    outcome.holds(&judgement),
                    *wanted,
                    "{name}, line {}: {outcome:?}, judged {judgement:?}",
                    expectation.span.line(&text)
                );
            }
        }
        let mut shown = String::new();
        for target in &policy.targets {
            let _ = writeln!(shown, "{target:?}");
        }
        for rule in &policy.rules {
            let globs: Vec<_> = rule.globs.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                shown,
                "{:?} {:?} {globs:?} {:?} {:?}",
                rule.target, rule.verdict, rule.operations, rule.predicate
            );
        }
        insta::assert_snapshot!(format!("good__{name}"), shown);
    }
}

/// What is given from outside takes the place of the text's own value, and has to have one.
#[test]
fn parameters_that_are_given_take_the_place_of_their_values() {
    let text = "let dir = \"/a\"\nlet least = 1\ndeny open \"$dir/x\" when size >= $least\n\
                expect deny: open \"/b/x\" by user 0, size 5\n\
                expect pass: open \"/b/x\" by user 0, size 4\n";
    let whole = 0..text.len();
    let check = |given: &[(&str, &str)]| {
        let given = given.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        check_parts(text, std::slice::from_ref(&whole), &given.collect(), &names())
    };
    let holds = |policy: &Policy| {
        let mut all = policy.expectations.iter().flat_map(|one| {
            let judgement = judge(policy, &one.call);
            one.outcomes.iter().map(move |(wanted, outcome)| outcome.holds(&judgement) == *wanted)
        });
        all.all(|held| held)
    };
    assert!(!holds(&check(&[]).policy.expect("a policy")));
    assert!(holds(&check(&[("dir", "/b"), ("least", "5")]).policy.expect("a policy")));
    let codes =
        |checked: Checked| checked.diagnostics.iter().map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(codes(check(&[("dri", "/b")])), [Code::UnknownParameter]);
    assert_eq!(codes(check(&[("least", "many")])), [Code::BadSize]);
}

/// The manual names every word of the language, and its examples are policies without a diagnostic.
#[test]
fn the_manual_is_complete_and_true() {
    let manual =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/policy-language.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let flags = OpenFlag::ALL.iter().map(|flag| flag.name());
    let types = FileType::ALL.iter().map(|one| one.name());
    for word in Operations::names().chain(DenyErrno::names()).chain(flags).chain(types) {
        assert!(manual.contains(&format!("`{word}`")), "the manual does not explain `{word}`");
    }
    let examples: Vec<_> = manual.split("```policy\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let text = example.split("```").next().unwrap_or_default();
        let checked = check(text, &names());
        assert!(
            checked.diagnostics.is_empty(),
            "{}",
            render_all(&checked.diagnostics, "docs", text, false)
        );
        let policy = checked.policy.expect("no error was found");
        for expectation in &policy.expectations {
            let judgement = judge(&policy, &expectation.call);
            let holds = |(wanted, outcome): &(bool, Outcome)| outcome.holds(&judgement) == *wanted;
            assert!(expectation.outcomes.iter().all(holds), "{expectation:?}: {judgement:?}");
        }
    }
}
