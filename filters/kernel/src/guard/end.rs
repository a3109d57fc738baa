//! When programs have ended. The kernel releases their links some time after the last name of these is gone,
//! and until then they answer on.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use aya::programs::loaded_programs;

use crate::Error;

/// How long programs have to end.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Waits until none of these programs, by their numbers, is left. A link gives its program back last, when
/// no call reaches it any more.
pub(super) fn wait(programs: &HashSet<u32>) -> Result<(), Error> {
    let begin = Instant::now();
    let mut pause = PAUSE.0;
    loop {
        // A program that ends while it is looked at is an error of that look, and has ended.
        let left =
            loaded_programs().flatten().filter(|program| programs.contains(&program.id())).count();
        if left == 0 {
            return Ok(());
        }
        if begin.elapsed() >= LIMIT {
            return Err(Error::Lingering { left, seconds: LIMIT.as_secs() });
        }
        sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}
