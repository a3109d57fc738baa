//! Large policies: what fits, how large it is, and who is blamed for what does not.

use std::fmt::Write as _;
use std::time::Instant;

use hsci_engine::{Limit, MAX_IMAGE_LEN, compile, review};
use hsci_language::names::FixedNames;
use hsci_language::{Call, Code, Operation, Policy, Subject, check, judge};

const RULES: usize = 10_000;

fn policy(text: &str) -> Policy {
    let names = FixedNames {
        extensions: [("plug".to_owned(), [("algorithm".to_owned(), Vec::new())].into())].into(),
        ..FixedNames::default()
    };
    let checked = check(text, &names);
    checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}

fn rules(rule: impl Fn(usize) -> String) -> String {
    let mut text = "target t = \"/t\" via plug\n".to_owned();
    (0..RULES).for_each(|index| writeln!(text, "{}", rule(index)).expect("a text"));
    text
}

/// Compiles a policy, which must fit, and compares some calls with the interpreter.
fn fits(text: &str, calls: &[(&str, u32)]) {
    let started = Instant::now();
    let policy = policy(text);
    let checked = started.elapsed();
    let compiled = compile(&policy).expect("it fits");
    println!("checked in {checked:.2?}, compiled in {:.2?}", started.elapsed() - checked);
    let len = compiled.tables.image().len();
    println!("{} states, {} nodes, {len} bytes", compiled.tables.states(), compiled.tables.nodes());
    assert!(len <= MAX_IMAGE_LEN && compiled.unused.is_empty());
    for (path, uid) in calls {
        let subject = Subject { uid: *uid, ..Subject::default() };
        let call = Call::new(Operation::Open, path.as_bytes(), subject);
        assert_eq!(compiled.tables.judge(&call), judge(&policy, &call), "{path} by {uid}");
    }
}

#[test]
fn ten_thousand_directories() {
    let text = rules(|i| format!("deny open on \"/srv/projects/p{i:05}/**\" unless user {i}"));
    fits(&text, &[("/srv/projects/p00017/a/b", 17), ("/srv/projects/p09999", 17), ("/srv", 1)]);
}

#[test]
fn ten_thousand_rules_that_remember() {
    let text = rules(|i| match i {
        ..64 => format!("mark m{i} read-data on \"/srv/secret{i}/**\""),
        64..95 => format!("deny unlink on \"/srv/many{i}/**\" when rate > {i} per 10s"),
        _ => format!("deny open on \"/srv/projects/p{i:05}/**\" when marked m{}", i % 64),
    });
    fits(&text, &[("/srv/projects/p00100/a", 17), ("/srv/many70/a", 1), ("/srv/secret1", 1)]);
}

#[test]
fn ten_thousand_users() {
    let text = rules(|i| format!("in t: set algorithm = lz4 when user {i}"));
    fits(&text, &[("/t/a", 0), ("/t/a", 9_999), ("/t/a", 10_000), ("/u", 1)]);
}

#[test]
fn ten_thousand_endings_at_any_depth() {
    let text = rules(|i| format!("in t: deny open on \"**/*.e{i:04}\" when size > {}", i % 30));
    fits(&text, &[("/t/a/b.e0017", 0), ("/t/b.e17.e9999", 0), ("/t/.e0000/x", 0)]);
}

#[test]
fn ten_thousand_endings_each_in_its_directory() {
    let text =
        rules(|i| format!("audit open on \"/srv/p{i:05}/**/*.key\", \"/home/u{i}/.ssh/**\""));
    fits(&text, &[("/srv/p00001/x/y.key", 0), ("/srv/p00001/x/y.kez", 0), ("/home/u1/.ssh", 0)]);
}

#[test]
fn users_and_directories_at_once() {
    let text = rules(|i| match i % 2 {
        0 => format!("in t: set algorithm = lz4 when user {i}"),
        _ => format!("in t: deny open on \"d{i}/**\" unless user {i}"),
    });
    fits(&text, &[("/t/d17/x", 18), ("/t/d17/x", 17), ("/t/d18", 18)]);
}

/// Directories at any depth: a path may be below any of them, so that states double with each rule.
#[test]
fn what_multiplies_is_refused_and_its_rule_is_named() {
    let text: Vec<_> = (0..40).map(|i| format!("audit open on \"/**/d{i:02}/**\"")).collect();
    let small = policy(&text[..5].join("\n"));
    assert!(compile(&small).is_ok());
    let policy = policy(&text.join("\n"));
    let refusal = compile(&policy).expect_err("too large");
    let rule = refusal.rule.expect("a rule is to blame");
    let mut diagnostics = Vec::new();
    assert!(review(&policy, &mut diagnostics).is_none());
    assert_eq!(diagnostics[0].code, Code::TooLarge);
    assert_eq!(diagnostics[0].span, policy.rules[rule].span);
    let part = |count: usize| Policy { rules: policy.rules[..count].to_vec(), ..policy.clone() };
    assert!(compile(&part(rule)).is_ok() && compile(&part(rule + 1)).is_err());
}

#[test]
fn groups_and_conditions_are_counted() {
    let groups = |count: usize| -> String {
        (0..count)
            .fold(String::new(), |text, i| text + &format!("deny open \"/g{i}\" when group {i}\n"))
    };
    assert!(compile(&policy(&groups(64))).is_ok());
    let refusal = compile(&policy(&groups(65))).expect_err("too many");
    assert_eq!((refusal.limit, refusal.rule), (Limit::Groups, Some(64)));
    let ancestors = |count: usize| -> String {
        (0..count).fold(String::new(), |text, i| {
            text + &format!("deny open \"/a{i}\" when ancestor \"/bin/a{i}*\"\n")
        })
    };
    assert!(compile(&policy(&ancestors(32))).is_ok());
    let refusal = compile(&policy(&ancestors(33))).expect_err("too many");
    assert_eq!((refusal.limit, refusal.rule), (Limit::Ancestors, Some(32)));
    let sizes = |count: usize| -> String {
        (0..count)
            .fold(String::new(), |text, i| text + &format!("deny open \"/s{i}\" when size > {i}\n"))
    };
    assert!(compile(&policy(&sizes(32))).is_ok());
    let refusal = compile(&policy(&sizes(33))).expect_err("too many");
    assert_eq!((refusal.limit, refusal.rule), (Limit::Conditions, Some(32)));
}

#[test]
fn rules_that_decide_nothing_are_found() {
    let policy = policy(
        "deny open \"/a/b\" when user 1\npass open \"/a/**\" when user {1, 2}\naudit open \"/a/**\"\n",
    );
    assert_eq!(compile(&policy).expect("it fits").unused, [0]);
    // Only together do the later two take everything away from the first.
    let policy = self::policy(
        "deny open \"/a\"\npass open \"/a\" when user 1\npass open \"/a\" unless user 1\n",
    );
    assert_eq!(compile(&policy).expect("it fits").unused, [0]);
}
