//! `hsci policy test`: the expectations of policies, judged by the tables that would be loaded.

use hsci_engine::Tables;
use hsci_host::failure::{Exit, Failure};
use hsci_language::Judgement;
use hsci_language::policy::{Expectation, Policy};

use super::Reviewed;
use super::source::{Place, Source};
use crate::cli::PolicyTest;
use crate::{Result, ui};

/// Runs the expectations, and prints those that do not hold.
pub(super) fn run(args: &PolicyTest) -> Result<()> {
    let (mut broken, mut total) = (0, 0);
    for file in &args.files {
        let reviewed = Reviewed::new(file, &args.parameters, args.machine)?;
        let Some((policy, tables)) = &reviewed.usable else { return Err(reviewed.failure(file)) };
        let mut broken_here = 0;
        for expectation in &policy.expectations {
            let judgement = tables.judge(&expectation.call);
            if !holds(expectation, &judgement) {
                broken_here += 1;
                ui::print(&finding(&reviewed.source, policy, expectation, &judgement))?;
            }
        }
        let count = policy.expectations.len();
        let held = count - broken_here;
        ui::print(&format!("{}: {held} of {count} expectations hold\n", file.display()))?;
        (broken, total) = (broken + broken_here, total + count);
    }
    if broken == 0 {
        return Ok(());
    }
    let text = format!(
        "{broken} of {total} expectations do not hold; `hsci policy explain` shows which rules decide"
    );
    Err(Failure::new(Exit::No, text))
}

/// The first expectation that does not hold.
pub(super) fn first_unmet<'a>(policy: &'a Policy, tables: &Tables) -> Option<&'a Expectation> {
    let mut all = policy.expectations.iter();
    all.find(|expectation| !holds(expectation, &tables.judge(&expectation.call)))
}

fn holds(expectation: &Expectation, judgement: &Judgement) -> bool {
    let mut outcomes = expectation.outcomes.iter();
    outcomes.all(|(wanted, outcome)| outcome.holds(judgement) == *wanted)
}

fn finding(
    source: &Source,
    policy: &Policy,
    expectation: &Expectation,
    judgement: &Judgement,
) -> String {
    let statement = source.statement(expectation.span);
    let mut found = match judgement.denied {
        Some(errno) => format!("deny({errno})"),
        None => "pass".to_owned(),
    };
    let by = |rule: usize| format!(" ({})", source.place(policy.rules[rule].span));
    found += &judgement.decider.map(by).unwrap_or_default();
    if let Some(rule) = judgement.auditor {
        found += &format!(", audit{}", by(rule));
    }
    if let Some(target) = judgement.target {
        found += &format!(", redirect {}", policy.targets[target].name);
    }
    for (key, (value, rule)) in &judgement.options {
        found += &format!(", set {key} = {value}{}", by(*rule));
    }
    for (mark, (sets, rule)) in &judgement.marks {
        let verb = if *sets { "mark" } else { "unmark" };
        found += &format!(", {verb} {}{}", policy.marks[*mark], by(*rule));
    }
    let Place { file, line, .. } = source.place(expectation.span);
    let file = file.display();
    format!("{file}:{line}: {statement}\n  found: {found}\n")
}
