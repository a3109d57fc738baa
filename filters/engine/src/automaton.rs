//! All globs of a policy as one deterministic automaton.
//!
//! Patterns are first joined in a nondeterministic automaton that is a tree: what two patterns begin
//! with is there once. The subset construction then follows only those bytes that a state names; all
//! others share one transition.

mod nfa;
mod pack;
mod subsets;

pub(crate) use nfa::Nfa;
pub(crate) use pack::pack;
pub(crate) use subsets::{Dfa, determinize};

/// The automaton may have this many states.
pub(crate) const MAX_STATES: usize = 1 << 19;
/// And this many transitions of their own.
pub(crate) const MAX_TRANSITIONS: usize = 1 << 20;
