//! Targets.

use super::{Checker, repeated};
use crate::ast::{self, Served, Setting};
use crate::diagnostic::{Code, Diagnostic};
use crate::glob::{Component, Glob, Pattern, Relation};
use crate::names::{OptionFault, OptionScope};
use crate::policy::{MOUNT_FLAGS, Target};

impl Checker<'_> {
    pub(super) fn target(&mut self, target: &ast::Target) {
        let same = |known: &&Target| known.name == target.name.value;
        if let Some(first) = self.policy.targets.iter().find(same) {
            let diagnostic = repeated("target", &target.name, first.span);
            self.diagnostics.push(diagnostic);
            return;
        }
        for (index, served) in target.stack.iter().enumerate() {
            self.extension(&served.extension, &target.stack[..index]);
        }
        let options = self.target_options(&target.stack);
        let flags = target.flags.iter().filter_map(|flag| self.mount_flag(flag)).collect();
        let root = self.glob(&target.root).filter(|root| self.is_place(root, &target.root));
        let Some(root) = root else {
            self.broken_targets.insert(target.name.value.clone());
            return;
        };
        let mut extensions = Vec::new();
        for Served { extension, .. } in &target.stack {
            // One that stands twice is an error already, and named once in others.
            if !extensions.contains(&extension.value) {
                extensions.push(extension.value.clone());
            }
        }
        let (name, span) = (target.name.value.clone(), target.span);
        self.policy.targets.push(Target { name, root, extensions, options, flags, span });
    }

    /// Checks the name of an extension that stands below others.
    fn extension(&mut self, extension: &ast::Word, above: &[Served]) {
        if let Some(first) = above.iter().find(|one| one.extension.value == extension.value) {
            let title = format!("extension `{}` stands twice in the stack", extension.value);
            let diagnostic = Diagnostic::new(Code::RepeatedName, extension.span, title)
                .related(first.extension.span, "first here")
                .hint("keep one of them");
            self.diagnostics.push(diagnostic);
        } else if !self.names.extension(&extension.value) {
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
    }

    /// The options of a whole stack, where each goes to all that have one of its name.
    fn target_options(&mut self, stack: &[Served]) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (index, Served { extension, options }) in stack.iter().enumerate() {
            let above = stack[..index].iter().flat_map(|one| &one.options);
            let shared = above.filter_map(|first| {
                let again = options.iter().find(|again| again.key.value == first.key.value)?;
                Some((first, again))
            });
            for (first, again) in shared {
                let title = format!("option `{}` is given twice in the stack", again.key.value);
                let diagnostic = Diagnostic::new(Code::RepeatedOption, again.key.span, title)
                    .related(first.key.span, "first here")
                    .hint("keep one of them: it holds for all that have an option of this name");
                self.diagnostics.push(diagnostic);
            }
            let one = std::slice::from_ref(&extension.value);
            all.extend(self.settings(one, options, OptionScope::Target));
        }
        all
    }

    fn mount_flag(&mut self, written: &ast::Word) -> Option<&'static str> {
        let found = MOUNT_FLAGS.iter().find(|flag| **flag == written.value).copied();
        if found.is_none() {
            self.unknown(Code::UnknownFlag, "flag of a mount", written, MOUNT_FLAGS);
        }
        found
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
            self.warn_of_links(root, written);
            return true;
        };
        self.diagnostics.push(found);
        false
    }

    /// Asks the extensions of a stack for an option: the topmost that has it, or all, which have not.
    fn option(
        &self,
        extensions: &[String],
        Setting { key, value }: &Setting,
        scope: OptionScope,
    ) -> Result<(), OptionFault> {
        let mut others = Vec::new();
        for extension in extensions {
            match self.names.option(extension, &key.value, &value.value, scope) {
                Err(OptionFault::Unknown(known)) => others.extend(known),
                answer => return answer,
            }
        }
        Err(OptionFault::Unknown(others))
    }

    /// Checks options for the extensions of a stack; each key may stand once.
    pub(super) fn settings(
        &mut self,
        extensions: &[String],
        settings: &[Setting],
        scope: OptionScope,
    ) -> Vec<(String, String)> {
        let mut checked: Vec<(String, String)> = Vec::new();
        for (index, setting) in settings.iter().enumerate() {
            let Setting { key, value } = setting;
            let first = settings[..index].iter().find(|earlier| earlier.key.value == key.value);
            let diagnostic = if let Some(first) = first {
                let title = format!("option `{}` is given twice", key.value);
                Diagnostic::new(Code::RepeatedOption, key.span, title)
                    .related(first.key.span, "first here")
                    .hint("keep one of them")
            } else {
                match self.option(extensions, setting, scope) {
                    Ok(()) => {
                        checked.push((key.value.clone(), value.value.clone()));
                        continue;
                    }
                    Err(OptionFault::Unknown(known)) => {
                        let title =
                            format!("extension {} has no option `{}`", or(extensions), key.value);
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
                                let extension = match extensions {
                                    [extension] => extension,
                                    _ => "EXTENSION",
                                };
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

/// Names as in `a` or `b`.
fn or(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}
