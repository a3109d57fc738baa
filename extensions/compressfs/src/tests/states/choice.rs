//! Which parts of the changes that wait a power cut leaves.

use crate::tests::disk::{Change, Part, Platter, SECTOR};
use crate::tests::random::Random;

/// Places at which one write is torn.
const TEARS: usize = 16;
/// States drawn at random at each point in time.
const DRAWN: usize = 6;

/// The choices for one point in time: nothing and everything, everything but one and only one
/// change, the last write torn or without its bytes, and some at random.
pub(super) fn choices(platter: &Platter, random: &mut Random) -> Vec<Vec<Part>> {
    let count = platter.waiting.len();
    let mut choices = vec![vec![Part::Nothing; count]];
    if count == 0 {
        return choices;
    }
    choices.push(vec![Part::All; count]);
    for one in 0..count {
        for (one_part, others) in [(Part::Nothing, Part::All), (Part::All, Part::Nothing)] {
            let mut parts = vec![others; count];
            parts[one] = one_part;
            choices.push(parts);
        }
    }
    let is_write = |(_, change): &(u64, Change)| matches!(change, Change::Write { .. });
    if let Some(last) = platter.waiting.iter().rposition(is_write) {
        let Change::Write { offset, data, .. } = &platter.waiting[last].1 else {
            unreachable!("it is a write");
        };
        let sectors = (*offset as usize % SECTOR + data.len()).div_ceil(SECTOR);
        for part in tears(sectors, random) {
            let mut parts = vec![Part::All; count];
            parts[last] = part;
            choices.push(parts);
        }
    }
    if count > 1 {
        choices.extend((0..DRAWN).map(|_| Part::draw(platter, random)));
    }
    choices
}

fn tears(sectors: usize, random: &mut Random) -> Vec<Part> {
    let mut parts = vec![Part::Length];
    if sectors <= TEARS {
        parts.extend((1..sectors).map(Part::First));
    } else {
        parts.extend([1, 8, sectors - 1].map(Part::First));
        let drawn = |_| Part::First(1 + random.below(sectors as u64 - 1) as usize);
        parts.extend((3..TEARS).map(drawn));
    }
    if sectors > 1 {
        parts.push(Part::Some(random.next()));
    }
    parts
}
