//! Makes a failing sequence shorter.

use std::time::{Duration, Instant};

use super::Failure;
use super::operation::Operation;

/// Leaves out ever smaller parts for as long as what remains still fails, and time permits
/// (delta debugging, Zeller 1999). Returns the shortest sequence found, and its failure.
pub(crate) fn shrink(
    mut shortest: Vec<Operation>,
    mut failure: Failure,
    limit: Duration,
    mut replay: impl FnMut(&[Operation]) -> Result<usize, Failure>,
) -> (Vec<Operation>, Failure) {
    let started = Instant::now();
    let mut part = shortest.len().div_ceil(2);
    while part > 0 && started.elapsed() < limit {
        let mut start = 0;
        let mut any = false;
        while start < shortest.len() && started.elapsed() < limit {
            let end = (start + part).min(shortest.len());
            let rest = [&shortest[..start], &shortest[end..]].concat();
            match replay(&rest) {
                Err(still) => {
                    shortest = rest[..still.at].to_vec();
                    failure = still;
                    any = true;
                }
                Ok(_) => start = end,
            }
        }
        if !any || part > 1 {
            part /= 2;
        }
    }
    (shortest, failure)
}
