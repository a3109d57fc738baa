//! How the paths of two sets of patterns relate: found by walking both at once, byte by byte.

use std::collections::HashSet;

use super::{ByteSet, Component, Pattern, Piece};

/// Walks give up after this many steps; what they then say is on the safe side.
const MAX_STEPS: usize = 4000;

/// A nondeterministic automaton of patterns, as positions in sequences of steps.
#[derive(Debug)]
pub struct Relation {
    steps: Vec<Step>,
    starts: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// One of these bytes, then the next step.
    Piece(Piece),
    Slash,
    /// `**` before its first name, at the end of a name, or at the end.
    AnyDepth,
    /// Inside the names of the `**` one step before.
    Inside,
    End,
}

type Positions = Vec<u32>;

impl Relation {
    /// The automaton of absolute patterns.
    #[must_use]
    pub fn new(patterns: &[Pattern]) -> Self {
        let (mut steps, mut starts) = (Vec::new(), Vec::new());
        for pattern in patterns {
            starts.push(u32::try_from(steps.len()).expect("patterns are bounded"));
            for component in &pattern.components {
                match component {
                    Component::AnyDepth => steps.extend([Step::AnyDepth, Step::Inside]),
                    Component::Name(pieces) => {
                        steps.push(Step::Slash);
                        steps.extend(pieces.iter().map(|piece| Step::Piece(*piece)));
                    }
                }
            }
            steps.push(Step::End);
        }
        Self { steps, starts }
    }

    /// True if it surely matches everything that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let is_counterexample = |mine: bool, theirs: bool| theirs && !mine;
        self.walk(other, false, is_counterexample) == Some(false)
    }

    /// True if there may be something that both match.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.walk(other, true, |mine, theirs| mine && theirs) != Some(false)
    }

    /// True if the walk over all that `other` can match, and if `both` that this one can match as
    /// well, finds a path for which `wanted` holds, given who accepts it. Nothing if it gave up.
    fn walk(&self, other: &Self, both: bool, wanted: impl Fn(bool, bool) -> bool) -> Option<bool> {
        let start = (self.close(&self.starts), other.close(&other.starts));
        let mut seen = HashSet::from([start.clone()]);
        let mut queue = vec![start];
        while let Some((mine, theirs)) = queue.pop() {
            if wanted(self.accepts(&mine), other.accepts(&theirs)) {
                return Some(true);
            }
            for byte in self.bytes(&mine, other, &theirs) {
                let next = (self.step(&mine, byte), other.step(&theirs, byte));
                let is_over = next.1.is_empty() || (both && next.0.is_empty());
                if !is_over && seen.insert(next.clone()) {
                    queue.push(next);
                }
            }
            if seen.len() > MAX_STEPS {
                return None;
            }
        }
        Some(false)
    }

    /// One byte of each kind that the positions tell apart.
    fn bytes(&self, mine: &Positions, other: &Self, theirs: &Positions) -> Vec<u8> {
        let mut named = ByteSet::default();
        named.insert(b'/');
        let (mut sets, mut is_open) = (Vec::new(), false);
        let theirs = theirs.iter().map(|at| other.steps[*at as usize]);
        let mine = mine.iter().map(|at| self.steps[*at as usize]);
        for step in theirs.chain(mine) {
            match step {
                Step::Piece(Piece::Byte(byte)) => named.insert(byte),
                Step::Piece(Piece::Set(set)) => sets.push(set),
                Step::Piece(Piece::Star) | Step::Inside => is_open = true,
                Step::Slash | Step::AnyDepth | Step::End => {}
            }
        }
        let mut bytes: Vec<u8> = named.iter().collect();
        if is_open || !sets.is_empty() {
            // Among the bytes that are not named, the sets they belong to make the kinds.
            let mut kinds = HashSet::new();
            let kind = |byte| sets.iter().map(|set| set.contains(byte)).collect::<Vec<_>>();
            let others = (1..=255).filter(|byte| !named.contains(*byte));
            bytes.extend(others.filter(|byte| kinds.insert(kind(*byte))));
        }
        bytes
    }

    fn accepts(&self, positions: &Positions) -> bool {
        positions.iter().any(|at| matches!(self.steps[*at as usize], Step::End))
    }

    fn step(&self, positions: &Positions, byte: u8) -> Positions {
        let mut next = Positions::new();
        for &at in positions {
            match self.steps[at as usize] {
                Step::Piece(Piece::Byte(wanted)) if byte == wanted => next.push(at + 1),
                Step::Piece(Piece::Set(set)) if set.contains(byte) => next.push(at + 1),
                Step::Piece(Piece::Star) if byte != b'/' => next.push(at),
                Step::Slash if byte == b'/' => next.push(at + 1),
                Step::AnyDepth if byte == b'/' => next.push(at + 1),
                Step::Inside => next.push(at),
                _ => {}
            }
        }
        self.close(&next)
    }

    /// Adds what is reached without a byte; sorted, each once.
    fn close(&self, positions: &[u32]) -> Positions {
        let mut closed = positions.to_vec();
        let mut done = 0;
        while let Some(&at) = closed.get(done) {
            done += 1;
            match self.steps[at as usize] {
                Step::AnyDepth => closed.push(at + 2),
                Step::Inside | Step::Piece(Piece::Star) => closed.push(at + 1),
                _ => {}
            }
        }
        closed.sort_unstable();
        closed.dedup();
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Lists, parse};
    use super::*;

    fn relation(text: &str) -> Relation {
        Relation::new(&parse(text, &Lists::default()).expect("a glob"))
    }

    #[test]
    fn what_covers_what() {
        let covers = |large: &str, small: &str| relation(large).covers(&relation(small));
        assert!(covers("/**", "/a/*/b"));
        assert!(covers("/a/**", "/a"));
        assert!(covers("/a*", "/abc"));
        assert!(covers("/a/**/*.jpg", "/a/b/*.jpg"));
        assert!(covers("/{a,b}", "/b"));
        assert!(covers("/?", "/[a-c]"));
        assert!(covers("/[a-z]", "/[c-e]"));
        assert!(covers("/[a-m]", "/[b-c]"));
        assert!(!covers("/[a-m]", "/[b-n]"));
        assert!(!covers("/[ad]", "/[a-d]"));
        assert!(!covers("/{b,m}", "/[b-m]"));
        assert!(!covers("/a/*", "/a/**"));
        assert!(!covers("/abc", "/a*"));
        assert!(!covers("/a/*", "/a"));
        assert!(!covers("/*.jpg", "/*"));
    }

    #[test]
    fn what_meets_what() {
        let meets = |one: &str, other: &str| relation(one).meets(&relation(other));
        assert!(meets("/a*", "/*b"));
        assert!(meets("/[a-c]", "/[c-e]"));
        assert!(meets("/a/**", "/**/b"));
        assert!(!meets("/a", "/b"));
        assert!(!meets("/a/*", "/*"));
        assert!(!meets("/[a-c]", "/[d-e]"));
        assert!(!meets("/*.a", "/*.b"));
    }
}
