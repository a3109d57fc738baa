//! A set of chunk numbers, kept as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint ranges that do not touch: start to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn contains(&self, chunk: u64) -> bool {
        self.0.range(..=chunk).next_back().is_some_and(|(_, end)| chunk < *end)
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        while let Some((&s, &e)) = self.0.range(..=end).next_back().filter(|(_, e)| **e >= start) {
            self.0.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        self.0.insert(start, end);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set(inserts in prop::collection::vec((0u64..64, 1u64..9), 0..40)) {
            let mut ranges = Ranges::default();
            let mut model = [false; 80];
            for (start, len) in inserts {
                ranges.insert(start..start + len);
                model[start as usize..(start + len) as usize].fill(true);
            }
            for (chunk, expected) in model.iter().enumerate() {
                prop_assert_eq!(ranges.contains(chunk as u64), *expected);
            }
            let listed: Vec<_> = ranges.iter().collect();
            prop_assert!(listed.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(
                listed.iter().map(|range| range.end - range.start).sum::<u64>(),
                model.iter().filter(|bit| **bit).count() as u64
            );
        }
    }
}
