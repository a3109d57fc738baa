//! What of a policy cannot be enforced here, line by line.

use std::fs;

use hsci_engine::Tables;
use hsci_host::control as channel;
use hsci_host::mounts;
use hsci_host::policy::{OPENING, UNSEEN, spoken};
use hsci_kernel::guard::Kernel;
use hsci_kernel::{Error, guard};
use hsci_language::glob::Pattern;
use hsci_language::policy::{Atom, Rule, Verdict};
use hsci_language::{Operation, Operations, Policy};

use super::failure;
use super::source::Source;
use crate::Result;

/// What this machine makes of policies.
pub(super) struct Here {
    /// What takes the guard, or why there is none.
    pub(super) kernel: std::result::Result<Kernel, String>,
    /// The kernel knows as whom the person behind a process has logged in.
    keeps_logins: bool,
}

impl Here {
    /// Asks the kernel, which root alone may.
    pub(super) fn look() -> Result<Self> {
        let kernel = match guard::probe() {
            Ok(kernel) => Ok(kernel),
            Err(
                error @ (Error::Types(_)
                | Error::NotAsked
                | Error::Object(_)
                | Error::Program { .. }),
            ) => Err(error.to_string()),
            Err(error) => return Err(failure(&error)),
        };
        Ok(Self { kernel, keeps_logins: fs::read("/proc/self/loginuid").is_ok() })
    }

    /// What of a policy is not enforced here, a line each.
    pub(super) fn missing(
        &self,
        source: &Source,
        policy: &Policy,
        tables: &Tables,
    ) -> Result<Vec<String>> {
        let logins = if self.keeps_logins { Vec::new() } else { without_logins(source, policy) };
        let beside = match &self.kernel {
            Ok(kernel) => [kernel.missing(), &beside_the_guard(source, policy)].concat(),
            Err(_) => without_guard(source, policy, tables)?,
        };
        Ok([beside, logins].concat())
    }
}

/// Rules about operations that no hook sees. Groups are not meant by this, as they hold what implies
/// them.
fn beside_the_guard(source: &Source, policy: &Policy) -> Vec<String> {
    let unseen = guard::UNSEEN.iter().filter_map(|name| Operations::parse(name));
    let unseen = unseen.fold(Operations::default(), Operations::union);
    let lines = judging(policy).filter(|rule| unseen.covers(rule.operations)).map(|rule| {
        let place = source.place(rule.span);
        format!("{place}: the kernel does not show this operation by itself; judge `write-data`")
    });
    let mut lines: Vec<String> = lines.collect();
    let grow = Operations::of(&[Operation::Grow]);
    let beside =
        judging(policy).filter(|rule| grow.covers(rule.operations) && rule.target.is_none());
    lines.extend(beside.map(|rule| {
        let place = source.place(rule.span);
        format!("{place}: how long a file becomes is known in targets only")
    }));
    lines
}

/// Rules that ask for logins, where the kernel is built without what keeps them.
fn without_logins(source: &Source, policy: &Policy) -> Vec<String> {
    let asks = |rule: &&Rule| {
        let mut asks = false;
        rule.predicate.each_atom(&mut |atom| asks |= matches!(atom, Atom::Login(_)));
        asks
    };
    let line = |rule: &Rule| {
        let place = source.place(rule.span);
        format!(
            "{place}: this kernel keeps no logins of processes (it is built without CONFIG_AUDIT)"
        )
    };
    policy.rules.iter().filter(asks).map(line).collect()
}

/// What hosts do not see.
fn without_guard(source: &Source, policy: &Policy, tables: &Tables) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let unseen = Operations::of(UNSEEN);
    for rule in judging(policy) {
        let place = source.place(rule.span);
        if !is_in_targets(policy, rule) {
            lines.push(format!("{place}: without a guard, only calls in targets are judged"));
        } else if is_unmark_by_exec(rule) {
            lines.push(format!("{place}: without a guard, executing a program takes no mark"));
        } else if unseen.covers(rule.operations) {
            lines.push(format!("{place}: without a guard, this operation is not judged"));
        }
    }
    let opening = Operations::of(OPENING);
    let mut mounts = mounts::all()?;
    mounts.retain(|mounted| spoken(tables, &mounted.dir).judged.meets(opening));
    for (mounted, status) in mounts.iter().zip(channel::statuses(&mounts)) {
        let hides_opens = status.worker.is_some_and(|worker| worker.profile == "no-open");
        if hides_opens {
            let dir = mounted.dir.display();
            lines.push(format!(
                "{dir}: mounted so that opens are not seen; mount it anew with the policy loaded"
            ));
        }
    }
    Ok(lines)
}

/// True if all paths that a rule speaks of lie in targets.
fn is_in_targets(policy: &Policy, rule: &Rule) -> bool {
    let roots = || policy.targets.iter().flat_map(|target| &target.root.patterns);
    let is_below =
        |pattern: &Pattern, root: &Pattern| pattern.components.starts_with(&root.components);
    let mut patterns = rule.globs.iter().flat_map(|glob| &glob.patterns);
    rule.target.is_some() || patterns.all(|one| roots().any(|root| is_below(one, root)))
}

fn is_unmark_by_exec(rule: &Rule) -> bool {
    let exec = Operations::of(&[Operation::Exec]);
    matches!(rule.verdict, Verdict::Mark { sets: false, .. }) && rule.operations.meets(exec)
}

/// Rules that deny, report or remember.
fn judging(policy: &Policy) -> impl Iterator<Item = &Rule> {
    let is_judging = |verdict: &Verdict| {
        matches!(verdict, Verdict::Deny(_) | Verdict::Audit | Verdict::Mark { .. })
    };
    policy.rules.iter().filter(move |rule| is_judging(&rule.verdict))
}

#[cfg(test)]
mod tests {
    use hsci_language::names::FixedNames;

    use super::*;

    fn missing(text: &str, keeps_logins: bool) -> Vec<String> {
        let mut source = Source::default();
        let file = source.file("a".as_ref(), text.to_owned());
        source.part(file, 0..text.len());
        let extensions = [("nullfs".to_owned(), Default::default())].into();
        let names = FixedNames { extensions, ..FixedNames::default() };
        let checked = source.check(&Default::default(), &names);
        let diagnostics = &checked.diagnostics;
        let policy = checked.policy.unwrap_or_else(|| panic!("no policy: {diagnostics:?}"));
        let tables = hsci_engine::compile(&policy).expect("it fits").tables;
        let here = Here { kernel: Err("none".to_owned()), keeps_logins };
        here.missing(&source, &policy, &tables).expect("mounts are listed")
    }

    #[test]
    fn rules_about_logins_are_named_where_the_kernel_keeps_none() {
        let text = "target t = \"/srv/t\" via nullfs\n\
                    in t: deny mkdir when user 7\n\
                    in t: deny mkdir on \"a\" when user 1 or not login 7\n\
                    in t: deny rmdir unless login none\n";
        let lines = missing(text, false);
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, place) in lines.iter().zip(["line 3: ", "line 4: "]) {
            assert!(line.starts_with(place) && line.contains("CONFIG_AUDIT"), "{line}");
        }
        assert_eq!(missing(text, true), [""; 0]);
    }
}
