//! Rules that cannot do what somebody meant: impossible ones, and pairs in which the later rule
//! leaves nothing to the earlier one.

mod terms;

use std::collections::HashMap;

use crate::diagnostic::{Code, Diagnostic};
use crate::glob::{Pattern, Relation};
use crate::policy::{Policy, Rule, Verdict};

/// A rule is compared with this many later rules that might win over it, the nearest first. What
/// lies further away is found by whoever compiles the policy, though not with its reason.
const MAX_RIVALS: usize = 128;
/// So many pairs of different globs are compared with care.
const MAX_WALKS: usize = 4000;

/// What is wrong with rules that are right one by one.
pub(crate) fn analyse(policy: &Policy) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = policy.rules.iter().filter_map(impossible).collect();
    let scopes: Vec<Scope> = policy.rules.iter().map(|rule| Scope::new(rule, policy)).collect();
    let rivals = Rivals::new(&scopes);
    let mut walks = MAX_WALKS;
    for (index, rule) in policy.rules.iter().enumerate() {
        let (scope, mut later) = (&scopes[index], rivals.of(index, &scopes));
        let rival = later.find(|later| {
            let rival = &policy.rules[*later];
            leaves_nothing(&rival.verdict, &rule.verdict)
                && rival.operations.covers(rule.operations)
                && scopes[*later].may_cover(scope)
                && terms::implies(&rule.predicate, &rival.predicate)
                && scopes[*later].covers(scope, &mut walks)
        });
        found.extend(rival.map(|later| {
            let rival = &policy.rules[later];
            let is_mutual = rule.operations == rival.operations
                && terms::implies(&rival.predicate, &rule.predicate)
                && scope.covers(&scopes[later], &mut walks);
            beaten(rule, rival, is_mutual)
        }));
    }
    found
}

fn impossible(rule: &Rule) -> Option<Diagnostic> {
    let title = "this rule can never match: no call meets its conditions";
    terms::is_impossible(&rule.predicate).then(|| {
        Diagnostic::new(Code::ImpossibleRule, rule.span, title)
            .hint("a caller has one user, one executable, one cgroup; `or` joins alternatives")
    })
}

/// True if a later rule that matches takes away all that an earlier one says.
fn leaves_nothing(later: &Verdict, earlier: &Verdict) -> bool {
    match (later, earlier) {
        (Verdict::Pass | Verdict::Deny(_), Verdict::Pass | Verdict::Deny(_))
        | (Verdict::Audit, Verdict::Audit) => true,
        (Verdict::Mark { mark: later, .. }, Verdict::Mark { mark: earlier, .. }) => {
            later == earlier
        }
        (Verdict::Set(later), Verdict::Set(earlier)) => {
            earlier.iter().all(|(key, _)| later.iter().any(|(other, _)| other == key))
        }
        _ => false,
    }
}

fn beaten(rule: &Rule, rival: &Rule, is_mutual: bool) -> Diagnostic {
    let (code, title, hint) = if is_mutual && rule.verdict == rival.verdict {
        let title = "this rule is repeated by a later one";
        (Code::RepeatedRule, title, "remove one of them")
    } else if is_mutual {
        let title = "two rules speak of the same calls and contradict each other";
        (Code::ContradictingRules, title, "the last rule wins: remove one, or narrow the later one")
    } else {
        let title = "this rule never decides: a later rule matches whatever it matches";
        (Code::ShadowedRule, title, "the last rule that matches wins: put exceptions after it")
    };
    Diagnostic::new(code, rule.span, title)
        .label("this rule")
        .related(rival.span, "this later rule wins")
        .hint(hint)
}

/// The paths of a rule.
struct Scope {
    patterns: Vec<Pattern>,
    /// What the matches of each pattern begin and end with.
    prefixes: Vec<Vec<u8>>,
    suffixes: Vec<Vec<u8>>,
}

impl Scope {
    fn new(rule: &Rule, policy: &Policy) -> Self {
        let patterns = rule.patterns(&policy.targets);
        let prefixes = patterns.iter().map(Pattern::literal_prefix).collect();
        let suffixes = patterns.iter().map(Pattern::literal_suffix).collect();
        Self { patterns, prefixes, suffixes }
    }

    /// False if it surely does not cover the other, told by what matches begin and end with.
    fn may_cover(&self, other: &Self) -> bool {
        let (Some(prefix), Some(suffix)) = (other.prefixes.first(), other.suffixes.first()) else {
            return true;
        };
        let mut ends = self.prefixes.iter().zip(&self.suffixes);
        ends.any(|(first, last)| prefix.starts_with(first) && suffix.ends_with(last))
    }

    fn covers(&self, other: &Self, walks: &mut usize) -> bool {
        if other.patterns.iter().all(|pattern| self.patterns.contains(pattern)) {
            return true;
        }
        if *walks == 0 {
            return false;
        }
        *walks -= 1;
        Relation::new(&self.patterns).covers(&Relation::new(&other.patterns))
    }
}

/// Rules by what their matches begin with.
struct Rivals<'a> {
    /// Indices of rules, ascending.
    by_prefix: HashMap<&'a [u8], Vec<usize>>,
}

impl<'a> Rivals<'a> {
    fn new(scopes: &'a [Scope]) -> Self {
        let mut by_prefix: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (index, scope) in scopes.iter().enumerate() {
            for prefix in &scope.prefixes {
                let rules = by_prefix.entry(prefix).or_default();
                if rules.last() != Some(&index) {
                    rules.push(index);
                }
            }
        }
        Self { by_prefix }
    }

    /// Later rules that may cover all paths of a rule: a pattern covers another one only if its
    /// literal beginning is one of the other's.
    fn of(&self, index: usize, scopes: &'a [Scope]) -> impl Iterator<Item = usize> {
        let prefix: &[u8] = scopes[index].prefixes.first().map_or(b"", Vec::as_slice);
        let mut later: Vec<usize> = (0..=prefix.len())
            .filter_map(|len| self.by_prefix.get(&prefix[..len]))
            .flat_map(|rules| {
                let from = rules.partition_point(|rule| *rule <= index);
                rules[from..].iter().take(MAX_RIVALS).copied()
            })
            .collect();
        later.sort_unstable();
        later.dedup();
        later.into_iter().take(MAX_RIVALS)
    }
}
