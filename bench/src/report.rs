//! What was measured: as Markdown for people, JSON for programs, and a plot of each scenario.

mod markdown;
mod plot;

use std::fs;
use std::io::Write as _;

use anyhow::Result;

use crate::arguments::Arguments;
use crate::contenders::YARDSTICK;
use crate::run::{Measured, Results};
use crate::statistics::Spread;

impl Measured {
    pub(crate) fn spread(&self, contender: &str) -> Option<Spread> {
        let samples = self.samples.get(contender)?;
        Spread::of(samples.iter().map(|sample| sample.figure))
    }

    /// The ratio of a contender's median to another's.
    pub(crate) fn ratio(&self, contender: &str, to: &str) -> Option<f64> {
        let (ours, other) = (self.spread(contender)?.median, self.spread(to)?.median);
        (other > 0.0).then(|| ours / other)
    }

    /// As many times the time of the yardstick, or its rate.
    pub(crate) fn ratio_to_yardstick(&self, contender: &str) -> Option<f64> {
        self.ratio(contender, YARDSTICK)
    }
}

/// Prints the results; with a directory to write to, writes them as files as well.
pub(crate) fn write(results: &Results, arguments: &Arguments) -> Result<()> {
    let text = markdown::report(results);
    std::io::stdout().write_all(text.as_bytes())?;
    let Some(out) = &arguments.out else { return Ok(()) };
    fs::create_dir_all(out)?;
    let name = if arguments.held { "results-held" } else { "results" };
    fs::write(out.join(format!("{name}.json")), serde_json::to_string_pretty(results)?)?;
    let mut text = text;
    for outcome in &results.scenarios {
        let plot = format!("{}{}.svg", outcome.name.replace([' ', ':'], "-"), &name[7..]);
        if plot::draw(outcome, &out.join(&plot))? {
            text += &format!("\n![{}: ratios to {YARDSTICK}]({plot})\n", outcome.name);
        }
    }
    Ok(fs::write(out.join(format!("{name}.md")), text)?)
}
