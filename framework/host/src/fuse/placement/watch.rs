//! When staying near does no good any more.

/// Why the near loop is one of many again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There is not much to do.
    Over,
    /// It kept somebody waiting.
    Harm,
}

/// Requests that the near loop has read, those of them that are of many bytes, and of another thread than the one before.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) bulk: u64,
    pub(super) switches: u64,
}

impl Counts {
    pub(super) const NONE: Self = Self { requests: 0, bulk: 0, switches: 0 };

    /// True if there were enough requests since, and all of one thread.
    pub(super) fn are_well_since(self, before: Self) -> bool {
        !self.are_few_since(before) && self.switches == before.switches
    }

    /// Requests of many bytes do not count.
    fn are_few_since(self, before: Self) -> bool {
        self.requests - before.requests < self.bulk - before.bulk + Watch::FEW
    }
}

/// What a look has shown.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) counts: Counts,
    /// It is at one.
    pub(super) busy: bool,
    /// One waits that it has not read.
    pub(super) waits: bool,
}

/// What the looks before have shown.
pub(super) struct Watch {
    counts: Counts,
    /// So many looks in a row have found few requests; none although there was one; callers in turns.
    quiet: u32,
    stuck: u32,
    crowded: u32,
}

impl Watch {
    /// Requests between two looks, of which fewer are few.
    const FEW: u64 = 4;
    const QUIET: u32 = 10;
    const STUCK: u32 = 3;
    const CROWDED: u32 = 2;

    pub(super) fn new(counts: Counts) -> Self {
        Self { counts, quiet: 0, stuck: 0, crowded: 0 }
    }

    /// The last look has found nothing that may end it.
    pub(super) fn is_calm(&self) -> bool {
        self.quiet + self.stuck + self.crowded == 0
    }

    pub(super) fn step(&mut self, seen: Seen) -> Option<End> {
        let before = std::mem::replace(&mut self.counts, seen.counts);
        let more = seen.counts.requests - before.requests;
        let switches = seen.counts.switches - before.switches;
        let count = |looks: &mut u32, is_so: bool, enough: u32| {
            *looks = if is_so { *looks + 1 } else { 0 };
            *looks >= enough
        };
        let stuck = count(&mut self.stuck, more == 0 && (seen.busy || seen.waits), Self::STUCK);
        let crowded = count(&mut self.crowded, 16 * switches > more, Self::CROWDED);
        let quiet = count(&mut self.quiet, seen.counts.are_few_since(before), Self::QUIET);
        match (stuck || crowded, quiet) {
            (true, _) => Some(End::Harm),
            (false, true) => Some(End::Over),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of looks of which each finds so many more requests, switches of callers, and a request under
    /// way or waiting.
    fn looks(seen: &[(u64, u64, bool, bool)]) -> Option<End> {
        let mut watch = Watch::new(Counts::default());
        let mut counts = Counts::default();
        seen.iter().find_map(|&(requests, switches, busy, waits)| {
            counts.requests += requests;
            counts.switches += switches;
            watch.step(Seen { counts, busy, waits })
        })
    }

    #[test]
    fn a_caller_that_is_served_at_once_is_stayed_with() {
        let one_by_one = [(60, 1, false, false), (50, 3, true, true), (55, 0, false, true)];
        assert_eq!(looks(&one_by_one.repeat(100)), None);
    }

    #[test]
    fn what_keeps_somebody_waiting_ends_it() {
        let long =
            [(60, 0, true, false), (0, 0, true, false), (0, 0, true, false), (0, 0, true, false)];
        assert_eq!(looks(&long), Some(End::Harm));
        assert_eq!(looks(&long[..3]), None);
        assert_eq!(looks(&[(0, 0, false, true); 3]), Some(End::Harm));
        let two_callers = [(40, 20, false, true); 2];
        assert_eq!(looks(&two_callers), Some(End::Harm));
        assert_eq!(looks(&two_callers[..1]), None);
    }

    #[test]
    fn a_rush_that_is_over_ends_it_without_harm() {
        assert_eq!(looks(&[(0, 0, false, false); 10]), Some(End::Over));
        assert_eq!(looks(&[(0, 0, false, false); 9]), None);
        assert_eq!(looks(&[(3, 0, false, false); 10]), Some(End::Over));
    }
}
