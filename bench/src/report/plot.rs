//! Plots: for each step a bar for each contender, as long as its ratio to the yardstick.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::contenders::YARDSTICK;
use crate::run::Outcome;

/// Lines of a plot: a step's name, or a contender and its ratio.
enum Line<'a> {
    Step(&'a str),
    Bar(&'a str, f64),
}

const LINE: i32 = 16;
const MARGIN: i32 = 24;
const NAMES: i32 = 190;
const WIDTH: i32 = 760;

/// Draws a scenario; false if there is nothing to compare.
pub(super) fn draw(outcome: &Outcome, path: &Path) -> Result<bool> {
    let lines = lines(outcome);
    let ratios = lines.iter().filter_map(|line| match line {
        Line::Bar(_, ratio) => Some(*ratio),
        Line::Step(_) => None,
    });
    let (least, most) =
        ratios.fold((1.0_f64, 1.0_f64), |(a, b), ratio| (a.min(ratio), b.max(ratio)));
    if most / least <= 1.0 {
        return Ok(false);
    }
    draw_lines(&outcome.name, &lines, least, most, path)
        .map_err(|error| anyhow!("{}: {error}", path.display()))?;
    Ok(true)
}

fn lines(outcome: &Outcome) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for step in outcome.steps.iter().filter(|step| !step.name.starts_with("once:")) {
        let others = outcome.contenders.iter().filter(|name| *name != YARDSTICK);
        let bars: Vec<_> = others
            .filter_map(|name| Some(Line::Bar(name, step.ratio_to_yardstick(name)?)))
            .filter(|line| matches!(line, Line::Bar(_, ratio) if *ratio > 0.0))
            .collect();
        if !bars.is_empty() {
            lines.push(Line::Step(&step.name));
            lines.extend(bars);
        }
    }
    lines
}

fn draw_lines(
    name: &str,
    lines: &[Line<'_>],
    least: f64,
    most: f64,
    path: &Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let height = 2 * MARGIN + LINE * (lines.len() as i32 + 1);
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    // Logarithmic: half and double are as far from one.
    let room = f64::from(WIDTH - NAMES - 3 * MARGIN);
    let at = |ratio: f64| NAMES + ((ratio / least).ln() / (most / least).ln() * room) as i32;
    let font = |size: i32| ("sans-serif", size).into_font();
    let title = format!("{name}: ratios to {YARDSTICK}, logarithmic");
    area.draw(&Text::new(title, (MARGIN / 2, 6), font(15)))?;
    let grey = BLACK.mix(0.5);
    area.draw(&PathElement::new([(at(1.0), MARGIN), (at(1.0), height - MARGIN)], grey))?;
    for (number, line) in lines.iter().enumerate() {
        let top = MARGIN + LINE * number as i32 + LINE / 2;
        match line {
            Line::Step(step) => {
                area.draw(&Text::new((*step).to_owned(), (MARGIN / 2, top), font(13)))?;
            }
            Line::Bar(contender, ratio) => {
                let (from, to) = (at(1.0).min(at(*ratio)), at(1.0).max(at(*ratio)));
                let bar = [(from, top + 2), (to, top + LINE - 3)];
                area.draw(&Rectangle::new(bar, colour(contender).filled()))?;
                area.draw(&Text::new((*contender).to_owned(), (2 * MARGIN, top + 2), font(11)))?;
                let text = format!("{ratio:.2}");
                area.draw(&Text::new(text, (to + 4, top + 2), font(11)))?;
            }
        }
    }
    Ok(area.present()?)
}

/// Ours stand out.
fn colour(contender: &str) -> RGBColor {
    match contender {
        name if name.starts_with("compressfs") => RGBColor(200, 80, 30),
        name if name.starts_with("nullfs") => RGBColor(230, 160, 60),
        name if name.starts_with("btrfs") => RGBColor(70, 120, 180),
        _ => RGBColor(140, 140, 150),
    }
}
