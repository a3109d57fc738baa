//! Tables.

use std::fmt::Write as _;

use crate::contenders::YARDSTICK;
use crate::goals::GOALS;
use crate::measures::Sample;
use crate::run::{Measured, Outcome, Results};
use crate::statistics::Spread;

/// The whole report.
pub(super) fn report(results: &Results) -> String {
    let mut text = String::from("# Results\n\n");
    for line in &results.about {
        let _ = writeln!(text, "* {line}");
    }
    text += "\nMedians of all rounds, in brackets the least and the most; in bold the ratio to ";
    let _ = writeln!(text, "{YARDSTICK}.");
    text += &goals(results);
    for outcome in results.scenarios.iter().filter(|outcome| outcome.has_samples()) {
        let _ = writeln!(text, "\n## {}\n\n{}.\n", outcome.name, outcome.about);
        text += &figures(outcome);
        text += &costs(outcome);
    }
    text += &skipped(results);
    text
}

fn table(text: &mut String, head: &[String]) {
    let _ = writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
}

fn figures(outcome: &Outcome) -> String {
    let mut text = String::new();
    let head: Vec<String> =
        std::iter::once("step".to_owned()).chain(outcome.contenders.iter().cloned()).collect();
    table(&mut text, &head);
    for step in &outcome.steps {
        let cells: Vec<String> =
            outcome.contenders.iter().map(|contender| cell(step, contender)).collect();
        let _ = writeln!(text, "| {}, {} | {} |", step.name, step.unit, cells.join(" | "));
    }
    text
}

fn cell(step: &Measured, contender: &str) -> String {
    let Some(Spread { median, least, most }) = step.spread(contender) else {
        return "-".to_owned();
    };
    let mut text = format!("{} [{}, {}]", short(median), short(least), short(most));
    if contender != YARDSTICK
        && let Some(ratio) = step.ratio_to_yardstick(contender)
    {
        let _ = write!(text, " **{ratio:.2}**");
    }
    text
}

/// Three digits that say something.
fn short(figure: f64) -> String {
    match figure.abs() {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

/// What the work cost beside time.
fn costs(outcome: &Outcome) -> String {
    let head = [
        "step",
        "contender",
        "CPU of callers, s",
        "of the server, s",
        "switches of callers",
        "of the server",
        "peak memory, MiB",
        "written below, per byte or in all",
        "sync after it, s",
        "requests",
    ];
    let mut text = String::from("\n");
    table(&mut text, &head.map(str::to_owned));
    for step in &outcome.steps {
        for contender in &outcome.contenders {
            let samples = step.samples.get(contender).map_or(&[][..], Vec::as_slice);
            if samples.iter().all(|sample| sample.caller.cpu_seconds == 0.0) {
                continue;
            }
            let _ = writeln!(text, "| {} | {contender} | {} |", step.name, cost(step, samples));
        }
    }
    text
}

fn cost(step: &Measured, samples: &[Sample]) -> String {
    let median = |figure: &dyn Fn(&Sample) -> Option<f64>| {
        Spread::of(samples.iter().filter_map(figure)).map(|spread| spread.median)
    };
    let seconds = |figure: Option<f64>| figure.map_or("-".to_owned(), |it| format!("{it:.2}"));
    let whole = |figure: Option<f64>| figure.map_or("-".to_owned(), |it| format!("{it:.0}"));
    let server = |sample: &Sample| sample.server;
    let below = median(&|sample| Some(sample.written_below as f64));
    let below = match step.writes {
        0 => below.map_or("-".to_owned(), |below| format!("{:.1} MiB", below / f64::from(1 << 20))),
        writes => seconds(below.map(|below| below / writes as f64)),
    };
    [
        seconds(median(&|sample| Some(sample.caller.cpu_seconds))),
        seconds(median(&|sample| Some(server(sample)?.cpu_seconds))),
        whole(median(&|sample| Some(sample.caller.switches as f64))),
        whole(median(&|sample| Some(server(sample)?.switches as f64))),
        whole(median(&|sample| Some(sample.peak_kib? as f64 / 1024.0))),
        below,
        seconds(median(&|sample| Some(sample.sync_seconds))),
        samples.iter().find_map(requests).unwrap_or("-".to_owned()),
    ]
    .join(" | ")
}

fn requests(sample: &Sample) -> Option<String> {
    let mut counts: Vec<_> = sample.requests.as_ref()?.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let all: u64 = counts.iter().map(|(_, count)| **count).sum();
    let named: Vec<String> =
        counts.iter().take(6).map(|(name, count)| format!("{count} {name}")).collect();
    Some(if all == 0 { "0".to_owned() } else { format!("{all}: {}", named.join(", ")) })
}

fn goals(results: &Results) -> String {
    let mut text = String::from(
        "\n## Beside the goals\n\nIn brackets the least and the most of single rounds.\n\n",
    );
    let head = ["case", "beside", "measured", "goal", "met", "rounds"];
    table(&mut text, &head.map(str::to_owned));
    for (goal, reached) in
        GOALS.iter().filter_map(|goal| Some((goal, goal.look(&results.scenarios)?)))
    {
        let bound = if reached.less_is_better { "at most" } else { "at least" };
        let profile = if goal.ours == "compressfs" { "" } else { " (`profile=data`)" };
        let _ = writeln!(
            text,
            "| {}: {}{profile} | {} | {} [{}, {}] | {bound} {} | {} | {} |",
            goal.scenario,
            goal.step,
            reached.other.as_deref().unwrap_or("-"),
            short(reached.figure),
            short(reached.least),
            short(reached.most),
            goal.bound,
            if reached.is_met { "yes" } else { "no" },
            reached.rounds,
        );
    }
    text
}

fn skipped(results: &Results) -> String {
    if results.skipped.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Left out\n\n");
    for (what, why) in &results.skipped {
        let _ = writeln!(text, "* {what}: {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn step(ext4: f64, ours: f64) -> Measured {
        let sample = |figure| vec![Sample { figure, ..Sample::default() }];
        let samples = BTreeMap::from([
            ("ext4".to_owned(), sample(ext4)),
            ("compressfs".to_owned(), sample(ours)),
        ]);
        Measured { name: "unpack".to_owned(), unit: "s", writes: 0, samples }
    }

    #[test]
    fn ratios_are_to_the_yardstick_and_stand_beside_the_goals() {
        let outcome = Outcome {
            name: "sources".to_owned(),
            about: "few".to_owned(),
            contenders: vec!["ext4".to_owned(), "compressfs".to_owned()],
            steps: vec![step(2.0, 9.0)],
            seconds: vec![],
        };
        let results =
            Results { about: vec![], skipped: vec![], failed: vec![], scenarios: vec![outcome] };
        let text = report(&results);
        assert!(text.contains("| unpack, s | 2.00 [2.00, 2.00] | 9.00 [9.00, 9.00] **4.50** |"));
        assert!(
            text.contains("| sources: unpack | ext4 | 4.50 [4.50, 4.50] | at most 5 | yes | 1 |")
        );
    }
}
