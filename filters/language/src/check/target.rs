//! Targets.

use super::{Checker, repeated};
use crate::ast::{self, Setting};
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::{Component, Glob, Pattern, Relation};
use crate::names::{OptionFault, OptionScope};
use crate::policy::Target;

impl Checker<'_> {
    pub(super) fn target(&mut self, target: &ast::Target) {
        let same = |known: &&Target| known.name == target.name.value;
        if let Some(first) = self.policy.targets.iter().find(same) {
            let diagnostic = repeated("target", &target.name, first.span);
            self.diagnostics.push(diagnostic);
            return;
        }
        let extension = &target.extension;
        if !self.names.extension(&extension.value) {
            let known = self.names.extensions();
            let title = format!("there is no extension `{}`", extension.value);
            let otherwise = match known.as_slice() {
                [] => "no extension was found: they are programs `hsci-extension-NAME`".to_owned(),
                _ => format!("there are: {}", known.join(", ")),
            };
            let diagnostic = Diagnostic::new(Code::UnknownExtension, extension.span, title)
                .did_you_mean(&extension.value, known.iter().map(String::as_str), &otherwise);
            self.diagnostics.push(diagnostic);
        }
        let options = self.settings(&extension.value, &target.options, OptionScope::Target);
        let root = self.glob(&target.root).filter(|root| self.is_place(root, &target.root));
        let Some(root) = root else {
            self.broken_targets.insert(target.name.value.clone());
            return;
        };
        let (name, extension) = (target.name.value.clone(), extension.value.clone());
        self.policy.targets.push(Target { name, root, extension, options, span: target.span });
    }

    /// True if a directory can be mounted where the glob says.
    fn is_place(&mut self, root: &Glob, written: &ast::Word) -> bool {
        let diagnostic =
            |code, title: &str, hint: &str| Diagnostic::new(code, written.span, title).hint(hint);
        let any_depth = |pattern: &Pattern| pattern.components.contains(&Component::AnyDepth);
        let found = if root.patterns.iter().any(|pattern| !pattern.absolute) {
            let hint = "begin it with `/`";
            diagnostic(Code::TargetNotAbsolute, "a target's path is absolute", hint)
        } else if root.patterns.iter().any(|pattern| pattern.components.is_empty()) {
            let hint = "name a directory below it";
            diagnostic(Code::TargetIsRoot, "the root directory cannot be redirected", hint)
        } else if root.patterns.iter().any(any_depth) {
            let hint = "say how deep it is: `/home/*/mail`, or make several targets";
            diagnostic(
                Code::TargetAnyDepth,
                "`**` in a target: its root could be at any depth",
                hint,
            )
        } else {
            return true;
        };
        self.diagnostics.push(found);
        false
    }

    /// Checks options for an extension; each key may stand once.
    pub(super) fn settings(
        &mut self,
        extension: &str,
        settings: &[Setting],
        scope: OptionScope,
    ) -> Vec<(String, String)> {
        let mut checked: Vec<(String, String)> = Vec::new();
        for (index, Setting { key, value }) in settings.iter().enumerate() {
            let first = settings[..index].iter().find(|earlier| earlier.key.value == key.value);
            let diagnostic = if let Some(first) = first {
                let title = format!("option `{}` is given twice", key.value);
                Diagnostic::new(Code::RepeatedOption, key.span, title)
                    .related(first.key.span, "first here")
                    .hint("keep one of them")
            } else {
                match self.names.option(extension, &key.value, &value.value, scope) {
                    Ok(()) => {
                        checked.push((key.value.clone(), value.value.clone()));
                        continue;
                    }
                    Err(OptionFault::Unknown(known)) => {
                        let title =
                            format!("extension `{extension}` has no option `{}`", key.value);
                        let otherwise = match known.as_slice() {
                            [] => "it takes none".to_owned(),
                            _ => format!("there are: {}", known.join(", ")),
                        };
                        let names = known.iter().map(String::as_str);
                        Diagnostic::new(Code::UnknownOption, key.span, title)
                            .did_you_mean(&key.value, names, &otherwise)
                    }
                    Err(OptionFault::Fixed(free)) => {
                        let title = format!("rules cannot set `{}`", key.value);
                        let hint = match free.as_slice() {
                            [] => {
                                format!(
                                    "give it to the target: `via {extension}({} = …)`",
                                    key.value
                                )
                            }
                            _ => format!("they may set: {}", free.join(", ")),
                        };
                        Diagnostic::new(Code::UnknownOption, key.span, title).hint(hint)
                    }
                    Err(OptionFault::Value(why)) => {
                        let title = format!("`{}` is no value of `{}`", value.value, key.value);
                        Diagnostic::new(Code::BadOptionValue, value.span, title).hint(why)
                    }
                }
            };
            self.diagnostics.push(diagnostic);
        }
        checked
    }

    /// A path in two targets would have two extensions.
    pub(super) fn overlapping_targets(&mut self) {
        let targets = &self.policy.targets;
        let everything = &Glob::everything().patterns[0];
        let all = |target: &Target| {
            let below = target.root.patterns.iter().map(|root| everything.below(root));
            Relation::new(&below.collect::<Vec<_>>())
        };
        let relations: Vec<Relation> = targets.iter().map(all).collect();
        for (index, later) in targets.iter().enumerate() {
            for (earlier, relation) in targets[..index].iter().zip(&relations) {
                if may_meet(&earlier.root, &later.root) && relation.meets(&relations[index]) {
                    let title = format!(
                        "targets `{}` and `{}` overlap: a path may be in both",
                        earlier.name, later.name
                    );
                    let diagnostic = Diagnostic::new(Code::OverlappingTargets, later.span, title)
                        .label("this one")
                        .related(earlier.span, "and this one")
                        .hint("targets lie side by side, never inside of each other");
                    self.diagnostics.push(diagnostic);
                }
            }
        }
    }
}

/// False if two globs surely have nothing in common, told by what they begin with.
fn may_meet(one: &Glob, other: &Glob) -> bool {
    let prefixes =
        |glob: &Glob| -> Vec<_> { glob.patterns.iter().map(Pattern::literal_prefix).collect() };
    let others = prefixes(other);
    prefixes(one)
        .iter()
        .any(|one| others.iter().any(|other| one.starts_with(other) || other.starts_with(one)))
}
