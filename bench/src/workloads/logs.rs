//! A log that grows all the time, and one that gets a line now and then.

use super::{Scenario, Stage, Step, shell};

/// Lines as a server writes them, 1 MiB of them.
const LINES: &str = r#"awk -v piece=$piece 'BEGIN { for (n = piece * 13000; n < piece * 13000 + 13000; n++)
    printf "2026-11-28T12:%02d:%02d host server[812]: user %d GET /about.html 200 %d, %d bytes\n",
        n / 60 % 60, n % 60, n * 7919 % 1000, n * 104729 % 977, n * 31 % 4099 }' | head -c 1048576"#;

pub(super) fn all(stage: &Stage<'_>) -> Scenario {
    let pieces = stage.scale.seconds * 10;
    let lines = stage.scale.seconds * 3;
    let grow = format!("for piece in $(seq {pieces}); do {LINES} >> log; sleep 0.4; done");
    let trickle = format!(
        "for line in $(seq {lines}); do echo \"line $line of one a second, as long as most\" >> log; sleep 1; done"
    );
    let steps = vec![
        Step::timed("grow", move |place| shell(place, &grow)).writing(pieces << 20),
        Step::settle(),
        Step::stored(),
        Step::timed("a line a second", move |place| shell(place, &trickle)),
    ];
    let about = format!("{pieces} MiB, a MiB each 0.4 s, then {lines} lines");
    Scenario::new("a log", about, steps)
}
