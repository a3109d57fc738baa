//! What was measured: as Markdown for people, JSON for programs, and a plot of each scenario.

mod markdown;
mod plot;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;

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

    /// Its ratio to another in each round that both took.
    pub(crate) fn ratios(&self, contender: &str, to: &str) -> Vec<f64> {
        let (ours, others) = (self.figures(contender), self.figures(to));
        ours.iter().zip(others).filter(|(_, other)| *other > 0.0).map(|(a, b)| a / b).collect()
    }

    pub(crate) fn figures(&self, contender: &str) -> Vec<f64> {
        let samples = self.samples.get(contender).map_or(&[][..], Vec::as_slice);
        samples.iter().map(|sample| sample.figure).collect()
    }

    /// As many times the time of the yardstick, or its rate.
    pub(crate) fn ratio_to_yardstick(&self, contender: &str) -> Option<f64> {
        self.ratio(contender, YARDSTICK)
    }
}

pub(crate) fn print(results: &Results) -> Result<()> {
    Ok(std::io::stdout().write_all(markdown::report(results).as_bytes())?)
}

/// Writes the results into a directory.
pub(crate) fn save(results: &Results, out: &Path, held: bool) -> Result<()> {
    fs::create_dir_all(out)?;
    let name = if held { "results-held" } else { "results" };
    fs::write(out.join(format!("{name}.json")), serde_json::to_string_pretty(results)?)?;
    let mut text = markdown::report(results);
    for outcome in &results.scenarios {
        let title = outcome.name.replace([' ', ':', ','], "-").replace("--", "-");
        let plot = format!("{title}{}.svg", &name["results".len()..]);
        if plot::draw(outcome, &out.join(&plot))? {
            text += &format!("\n![{}: ratios to {YARDSTICK}]({plot})\n", outcome.name);
        }
    }
    Ok(fs::write(out.join(format!("{name}.md")), text)?)
}
