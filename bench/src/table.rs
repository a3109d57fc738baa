//! The one table that a run prints.

/// One measured figure beside what it is compared with.
struct Row {
    what: String,
    ours: String,
    theirs: String,
    ratio: Option<f64>,
    goal: &'static str,
}

/// Rows in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a figure; it is also printed at once, for a run takes minutes.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        ours: impl Into<String>,
        theirs: impl Into<String>,
        ratio: Option<f64>,
        goal: &'static str,
    ) {
        let row = Row { what: what.into(), ours: ours.into(), theirs: theirs.into(), ratio, goal };
        eprintln!("  {}: {} | {} | {}", row.what, row.ours, row.theirs, ratio_text(row.ratio));
        self.0.push(row);
    }

    /// Prints the table to standard output, as Markdown.
    pub(crate) fn print(&self) {
        println!("| what | hsci | compared with | ratio | goal |");
        println!("|---|---|---|---|---|");
        for row in &self.0 {
            let ratio = ratio_text(row.ratio);
            println!("| {} | {} | {} | {} | {} |", row.what, row.ours, row.theirs, ratio, row.goal);
        }
    }
}

fn ratio_text(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}
