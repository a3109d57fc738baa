//! What only compiling shows, as diagnostics.

use hsci_language::policy::{Policy, Rule};
use hsci_language::{Code, Diagnostic, Span};

use crate::{Limit, Refusal, Tables, compile};

/// Compiles a checked policy, and adds to its diagnostics that it is too large, or which further
/// rules decide nothing. The tables, unless it is too large.
pub fn review(policy: &Policy, diagnostics: &mut Vec<Diagnostic>) -> Option<Tables> {
    match compile(policy) {
        Err(refusal) => {
            diagnostics.push(too_large(policy, refusal));
            None
        }
        Ok(compiled) => {
            let known: Vec<Span> = diagnostics.iter().map(|one| one.span).collect();
            let unused = compiled.unused.iter().map(|index| &policy.rules[*index]);
            diagnostics.extend(unused.filter(|rule| !known.contains(&rule.span)).map(undecided));
            diagnostics.sort_by_key(|one| (one.span, one.code));
            Some(compiled.tables)
        }
    }
}

fn undecided(rule: &Rule) -> Diagnostic {
    let title = "this rule never decides: later rules together match whatever it matches";
    Diagnostic::new(Code::ShadowedRule, rule.span, title)
        .hint("the last rule that matches wins: put exceptions after it")
}

fn too_large(policy: &Policy, refusal: Refusal) -> Diagnostic {
    let first_target = || policy.targets.first().map_or(Span::default(), |target| target.span);
    let span = refusal.rule.map_or_else(first_target, |index| policy.rules[index].span);
    let title = format!("too large with this rule: {}", refusal.limit);
    Diagnostic::new(Code::TooLarge, span, title).hint(match refusal.limit {
        Limit::States => "`**` before a name multiplies: say where it is, or how deep",
        Limit::Ancestors => "join them into fewer globs: `ancestor \"/usr/sbin/{a,b}\"`",
        Limit::Groups => "name users, or fewer groups",
        Limit::Conditions => "use the same sizes and flags in several rules",
        Limit::Diagrams | Limit::Image => {
            "rules with one path and all users, or one user and all \
                                           paths, multiply least"
        }
    })
}
