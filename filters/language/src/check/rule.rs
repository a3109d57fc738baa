//! Rules, one at a time.

use super::Checker;
use crate::ast::{self, Word};
use crate::diagnostic::{Code, Diagnostic};
use crate::errno::DenyErrno;
use crate::glob::Glob;
use crate::names::OptionScope;
use crate::operation::Operations;
use crate::parser;
use crate::policy::{Label, Predicate, Rule, SEVERITIES, Verdict};

impl Checker<'_> {
    /// Adds a rule to the policy. What is wrong with one part does not hide what is wrong with
    /// another.
    pub(super) fn rule(&mut self, rule: &ast::Rule) {
        let target = rule.target.as_ref().map(|name| self.named_target(name));
        let verdict = self.verdict(rule, target.flatten());
        let globs = self.rule_globs(rule);
        self.rate = None;
        let predicate = self.conditions(&rule.conditions);
        let predicate = self.after(rule, predicate);
        if let Some(None) = target {
            return;
        }
        let (Some((verdict, operations)), Some(globs), Some(predicate)) =
            (verdict, globs, predicate)
        else {
            return;
        };
        let (target, span) = (target.flatten(), rule.span);
        self.take_rate(rule, &predicate);
        self.early_size(rule, operations, &predicate);
        let label = self.label(&rule.label);
        let rule = Rule { target, operations, globs, predicate, verdict, label, span };
        self.policy.rules.push(rule);
    }

    fn label(&mut self, label: &ast::Label) -> Label {
        if let Some(name) = &label.name {
            let known = self.rule_names.insert(name.value.clone(), name.span);
            self.diagnostics.extend(known.map(|first| super::repeated("rule", name, first)));
        }
        let severity = label.severity.as_ref().and_then(|written| {
            let found = SEVERITIES.iter().find(|severity| **severity == written.value).copied();
            if found.is_none() {
                self.unknown(Code::UnknownSeverity, "severity", written, SEVERITIES);
            }
            found
        });
        let plain = |text: &Word| parser::unescaped(&text.value);
        let name = label.name.as_ref().map(|name| name.value.clone());
        Label { name, reason: label.reason.as_ref().map(plain), severity }
    }

    /// The index of a target.
    pub(super) fn named_target(&mut self, name: &Word) -> Option<usize> {
        let targets = &self.policy.targets;
        let found = targets.iter().position(|target| target.name == name.value);
        if found.is_none() && !self.broken_targets.contains(&name.value) {
            let title = format!("there is no target `{}`", name.value);
            let names = targets.iter().map(|target| target.name.as_str());
            let otherwise = "make it: `target NAME = \"GLOB\" via EXTENSION`";
            let diagnostic = Diagnostic::new(Code::UnknownTarget, name.span, title).did_you_mean(
                &name.value,
                names,
                otherwise,
            );
            self.diagnostics.push(diagnostic);
        }
        found
    }

    fn verdict(
        &mut self,
        rule: &ast::Rule,
        target: Option<usize>,
    ) -> Option<(Verdict, Operations)> {
        match &rule.verdict {
            ast::Verdict::Pass { operations } => {
                Some((Verdict::Pass, self.operations(operations)?))
            }
            ast::Verdict::Audit { operations } => {
                Some((Verdict::Audit, self.operations(operations)?))
            }
            ast::Verdict::Deny { errno, operations } => {
                let errno = errno.as_ref().map_or(Some(DenyErrno::EACCES), |name| self.errno(name));
                let operations = self.operations(operations);
                Some((Verdict::Deny(errno?), operations?))
            }
            ast::Verdict::Mark { sets, name, operations } => {
                let operations = self.operations(operations);
                let mark = self.marks.number(&name.value);
                Some((Verdict::Mark { mark: mark?, sets: *sets }, operations?))
            }
            ast::Verdict::Set { settings } => {
                if rule.target.is_none() {
                    let title = "`set` without a target: there is no extension that could obey";
                    let diagnostic = Diagnostic::new(Code::SetWithoutTarget, rule.span, title);
                    self.diagnostics.push(diagnostic.hint("begin the rule with `in TARGET:`"));
                    return None;
                }
                let extensions = self.policy.targets.get(target?)?.extensions.clone();
                Some((
                    Verdict::Set(self.settings(&extensions, settings, OptionScope::Call)),
                    Operations::all(),
                ))
            }
        }
    }

    pub(super) fn errno(&mut self, name: &Word) -> Option<DenyErrno> {
        if name.value == "ENOSYS" {
            let title = "`deny` cannot answer ENOSYS: the kernel would never ask again";
            let diagnostic = Diagnostic::new(Code::ForbiddenErrno, name.span, title);
            self.diagnostics
                .push(diagnostic.hint("EOPNOTSUPP says that something is not supported"));
            return None;
        }
        let found = DenyErrno::parse(&name.value);
        if found.is_none() {
            let title = format!("`{}` is no error that a rule can answer with", name.value);
            let known: Vec<_> = DenyErrno::names().collect();
            let otherwise = format!("there are: {}", known.join(", "));
            let diagnostic = Diagnostic::new(Code::UnknownErrno, name.span, title).did_you_mean(
                &name.value,
                known.iter().copied(),
                &otherwise,
            );
            self.diagnostics.push(diagnostic);
        }
        found
    }

    pub(super) fn operations(&mut self, written: &[Word]) -> Option<Operations> {
        let mut all = Operations::default();
        let mut is_complete = true;
        for word in written {
            let Some(operations) = self.operation_group(word) else {
                is_complete = false;
                continue;
            };
            if all.covers(operations) {
                let title = format!("`{}` is among the operations before it", word.value);
                let diagnostic = Diagnostic::new(Code::RepeatedOperation, word.span, title);
                self.diagnostics.push(diagnostic.hint("remove it"));
            }
            all = all.union(operations);
        }
        is_complete.then_some(all)
    }

    fn operation_group(&mut self, word: &Word) -> Option<Operations> {
        let found = Operations::parse(&word.value);
        if found.is_none() {
            let title = format!("there is no operation `{}`", word.value);
            let known: Vec<_> = Operations::names().collect();
            let otherwise = format!("there are: {}", known.join(", "));
            let diagnostic = Diagnostic::new(Code::UnknownOperation, word.span, title)
                .did_you_mean(&word.value, known.iter().copied(), &otherwise);
            self.diagnostics.push(diagnostic);
        }
        found
    }

    fn rule_globs(&mut self, rule: &ast::Rule) -> Option<Vec<Glob>> {
        if rule.globs.is_empty() {
            if rule.target.is_some() {
                return Some(vec![Glob::everything()]);
            }
            if !matches!(rule.verdict, ast::Verdict::Set { .. }) {
                let title = "a rule without target and path would hold for the whole machine";
                let diagnostic = Diagnostic::new(Code::RuleWithoutPath, rule.span, title);
                self.diagnostics.push(diagnostic.hint(
                    "name a path: `on \"/srv/**\"`; `on \"/**\"` if it is really for everything",
                ));
            }
            return None;
        }
        self.anchored_globs(&rule.globs, rule.target.is_some())
    }

    pub(super) fn anchored_globs(
        &mut self,
        written: &[Word],
        in_target: bool,
    ) -> Option<Vec<Glob>> {
        let globs = written.iter().map(|written| {
            let glob = self.glob(written)?;
            self.is_anchored(&glob, written, in_target).then_some(glob)
        });
        // Not `collect::<Option<_>>` at once: that would stop at the first bad glob.
        let globs: Vec<Option<Glob>> = globs.collect();
        globs.into_iter().collect()
    }

    fn is_anchored(&mut self, glob: &Glob, written: &Word, in_target: bool) -> bool {
        let fits = glob.patterns.iter().all(|pattern| pattern.absolute != in_target);
        if !fits {
            let diagnostic = if in_target {
                let title = "within a target, globs begin at its root";
                Diagnostic::new(Code::AbsoluteGlob, written.span, title)
                    .hint("leave out the leading `/`, or leave out `in TARGET:`")
            } else {
                let title = "without a target, globs are absolute";
                Diagnostic::new(Code::RelativeGlob, written.span, title)
                    .hint("begin it with `/`, or the rule with `in TARGET:`")
            };
            self.diagnostics.push(diagnostic);
        }
        self.warn_of_links(glob, written);
        fits
    }

    /// Rules are about files' own paths. Users can make links, and are not to keep policies from being loaded by that:
    /// this is no error.
    pub(super) fn warn_of_links(&mut self, glob: &Glob, written: &Word) {
        let behind = |directory: Vec<u8>| Some((self.names.behind_links(&directory)?, directory));
        let links = glob.patterns.iter().map(|one| one.directories().find_map(behind));
        // Of `/{usr/bin,bin}/*`, one may be a link.
        let Some(links) = links.collect::<Option<Vec<_>>>() else { return };
        let Some((real, link)) = links.first() else { return };
        let [real, link] = [real, link].map(|path| String::from_utf8_lossy(path));
        let title =
            format!("`{link}` is a symbolic link here, and no file's own path leads through it");
        let diagnostic = Diagnostic::new(Code::SymbolicLink, written.span, title);
        self.diagnostics.push(diagnostic.hint(format!("write `{real}`, where it leads to")));
    }

    fn conditions(&mut self, conditions: &[ast::Condition]) -> Option<Predicate> {
        let all = conditions.iter().map(|condition| {
            let predicate = self.predicate(&condition.predicate)?;
            Some(if condition.negated { Predicate::Not(Box::new(predicate)) } else { predicate })
        });
        let all: Vec<Option<Predicate>> = all.collect();
        let mut all: Vec<Predicate> = all.into_iter().collect::<Option<_>>()?;
        Some(if all.len() == 1 { all.remove(0) } else { Predicate::All(all) })
    }
}
