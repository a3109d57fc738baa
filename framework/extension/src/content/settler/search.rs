//! The search of the tree for files that are not in their final form, which leaves the machine to others.

use std::time::{Duration, Instant};

use super::walk::Walk;
use super::{BATCH_FILES, Hold};

/// Files that are looked at before a rest, while somebody waits for answers.
const FEW_FILES: usize = 128;
/// For each second of work so many of rest, while somebody waits for answers.
const REST: u32 = 9;
/// How often it is looked whether somebody does.
const LOOK: Duration = Duration::from_millis(100);
/// So many requests between two looks are nobody who waits.
const FEW_REQUESTS: u64 = 4;

pub(super) struct Search {
    walk: Walk,
    rest: Rest,
}

impl Search {
    pub(super) fn new(walk: Walk) -> Self {
        Self { walk, rest: Rest::default() }
    }

    /// The next files; none at the end.
    pub(super) fn begin(&mut self, now: Instant, requests: u64) -> Vec<Hold> {
        let files = self.rest.begin(now, requests);
        self.walk.by_ref().take(files).collect()
    }

    /// When to go on, if nothing else is done; asked again at that time, for it may be later by then.
    pub(super) fn due(&mut self, now: Instant, requests: u64) -> Instant {
        self.rest.due(now, requests)
    }
}

/// When a search goes on: after as long as it has worked if nobody waits, and much later if somebody does.
#[derive(Default)]
struct Rest {
    begun: Option<Instant>,
    /// How long to rest at least and at most.
    between: Option<(Instant, Instant)>,
    /// The last look, and the requests up to then.
    looked: Option<(Instant, u64)>,
    calm: bool,
}

impl Rest {
    fn begin(&mut self, now: Instant, requests: u64) -> usize {
        self.begun = Some(now);
        self.between = None;
        self.looked = Some((now, requests));
        if self.calm { BATCH_FILES } else { FEW_FILES }
    }

    fn due(&mut self, now: Instant, requests: u64) -> Instant {
        if let Some(begun) = self.begun.take() {
            let took = now.duration_since(begun);
            self.between = Some((now + took, now + took * (1 + REST)));
        }
        let (at, seen) = *self.looked.get_or_insert((now, requests));
        if now.duration_since(at) >= LOOK {
            self.calm = requests - seen <= FEW_REQUESTS;
            self.looked = Some((now, requests));
        }
        match self.between {
            None => now,
            Some((least, _)) if self.calm => least,
            Some((least, most)) => most.min(least.max(now + LOOK)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Milliseconds of rest after a batch that took 200, with so many requests each millisecond.
    fn rested(rest: &mut Rest, requests_each: u64) -> u128 {
        let begun = Instant::now();
        let requests = |now: Instant| now.duration_since(begun).as_millis() as u64 * requests_each;
        rest.begin(begun, 0);
        let ended = begun + 200 * MS;
        let mut now = ended;
        loop {
            let due = rest.due(now, requests(now));
            if due <= now {
                return now.duration_since(ended).as_millis();
            }
            now = due;
        }
    }

    #[test]
    fn a_search_rests_much_longer_while_somebody_waits() {
        let mut rest = Rest::default();
        assert_eq!(rested(&mut rest, 0), 200);
        assert_eq!(rest.begin(Instant::now(), 0), BATCH_FILES);
        assert_eq!(rested(&mut rest, 1), 200 * u128::from(1 + REST));
        assert_eq!(rest.begin(Instant::now(), 0), FEW_FILES);
    }

    #[test]
    fn a_search_goes_on_soon_after_the_last_request() {
        let mut rest = Rest::default();
        let begun = Instant::now();
        rest.begin(begun, 0);
        let ended = begun + 200 * MS;
        assert!(rest.due(ended, 1000) > ended + 200 * MS - LOOK);
        assert!(rest.due(ended + 300 * MS, 2000) > ended + 300 * MS);
        let calm = ended + 300 * MS + LOOK;
        assert!(rest.due(calm, 2000) <= calm, "nobody asked since the last look");
    }
}
