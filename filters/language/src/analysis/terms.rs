//! Predicates as alternatives of terms, each of which holds if all its literals do.

use crate::glob::{Glob, Relation, names};
use crate::policy::{Atom, Predicate};

/// Predicates with more terms than this are taken to be possible.
const MAX_TERMS: usize = 256;
/// And those with longer terms than this.
const MAX_LITERALS: usize = 64;

/// An atom, or its opposite.
type Literal<'a> = (&'a Atom, bool);
type Term<'a> = Vec<Literal<'a>>;

/// True if surely no call meets the predicate.
pub(super) fn is_impossible(predicate: &Predicate) -> bool {
    is_contradiction(&[(predicate, true)])
}

/// True if surely every call that meets `premise` meets `conclusion`.
pub(super) fn implies(premise: &Predicate, conclusion: &Predicate) -> bool {
    match conclusion {
        Predicate::All(parts) if parts.is_empty() => true,
        // Most pairs are of this kind, and differ.
        Predicate::Atom(Atom::User(one)) if matches!(premise, Predicate::Atom(Atom::User(_))) => {
            *premise == Predicate::Atom(Atom::User(*one))
        }
        _ => premise == conclusion || is_contradiction(&[(premise, true), (conclusion, false)]),
    }
}

fn is_contradiction(all: &[(&Predicate, bool)]) -> bool {
    let mut terms: Vec<Term<'_>> = vec![Vec::new()];
    for (predicate, wanted) in all {
        let Some(next) = alternatives(predicate, *wanted) else { return false };
        let Some(joined) = both(&terms, &next) else { return false };
        terms = joined;
    }
    terms.iter().all(|term| is_contradictory(term))
}

/// The terms of a predicate, or of its opposite; nothing if there are too many.
fn alternatives(predicate: &Predicate, wanted: bool) -> Option<Vec<Term<'_>>> {
    match (predicate, wanted) {
        (Predicate::Atom(atom), _) => Some(vec![vec![(atom, wanted)]]),
        (Predicate::Not(inner), _) => alternatives(inner, !wanted),
        (Predicate::All(parts), true) | (Predicate::Any(parts), false) => {
            let mut terms = vec![Vec::new()];
            for part in parts {
                terms = both(&terms, &alternatives(part, wanted)?)?;
            }
            Some(terms)
        }
        (Predicate::Any(parts), true) | (Predicate::All(parts), false) => {
            let mut terms = Vec::new();
            for part in parts {
                terms.extend(alternatives(part, wanted)?);
                if terms.len() > MAX_TERMS {
                    return None;
                }
            }
            Some(terms)
        }
    }
}

fn both<'a>(left: &[Term<'a>], right: &[Term<'a>]) -> Option<Vec<Term<'a>>> {
    let longest = |terms: &[Term<'_>]| terms.iter().map(Vec::len).max().unwrap_or(0);
    if left.len() * right.len() > MAX_TERMS || longest(left) + longest(right) > MAX_LITERALS {
        return None;
    }
    let join = |one: &Term<'a>, other: &Term<'a>| one.iter().chain(other).copied().collect();
    let joined = left.iter().flat_map(|one| right.iter().map(move |other| join(one, other)));
    // What contradicts itself already need not be carried along.
    Some(joined.filter(|term: &Term<'_>| !is_contradictory(term)).collect())
}

/// True if a literal of a term is never true, or two of them exclude each other.
fn is_contradictory(term: &Term<'_>) -> bool {
    // Nothing is smaller than nothing.
    if term.contains(&(&Atom::SizeAtLeast(0), false)) {
        return true;
    }
    let pairs = term.iter().enumerate();
    pairs
        .flat_map(|(index, one)| term[..index].iter().map(move |other| (one, other)))
        .any(|(one, other)| excludes(*one, *other) || excludes(*other, *one))
}

fn excludes(one: Literal<'_>, other: Literal<'_>) -> bool {
    match (one, other) {
        ((one, true), (other, false)) if one == other => true,
        ((Atom::User(one), true), (Atom::User(other), true))
        | ((Atom::Owner(one), true), (Atom::Owner(other), true))
        | ((Atom::Login(one), true), (Atom::Login(other), true))
        | ((Atom::UserNamespace(one), true), (Atom::UserNamespace(other), true))
        | ((Atom::PidNamespace(one), true), (Atom::PidNamespace(other), true)) => one != other,
        ((Atom::Type(one), true), (Atom::Type(other), true)) => one != other,
        ((Atom::SizeAtLeast(large), true), (Atom::SizeAtLeast(small), false))
        | ((Atom::Since(large), true), (Atom::Since(small), false)) => large >= small,
        ((Atom::Day(one), true), (Atom::Day(other), true)) => one != other,
        _ => excludes_glob(one, other),
    }
}

fn excludes_glob(one: Literal<'_>, other: Literal<'_>) -> bool {
    let ((one, true), (other, wanted)) = (one, other) else { return false };
    let globs = match (one, other) {
        (Atom::Executable(one), Atom::Executable(other))
        | (Atom::Command(one), Atom::Command(other))
        | (Atom::Cgroup(one), Atom::Cgroup(other)) => (one, other),
        _ => return false,
    };
    match (globs.0.literal(), wanted) {
        (Some(literal), _) => globs.1.matches(&names(&literal)) != wanted,
        (None, true) => !relation(globs.0).meets(&relation(globs.1)),
        (None, false) => relation(globs.1).covers(&relation(globs.0)),
    }
}

fn relation(glob: &Glob) -> Relation {
    Relation::new(&glob.patterns)
}
