//! Output: sizes, tables, progress bars, colours on terminals only.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use hsci_host::failure::{Exit, Failure};
use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use rustix::io::Errno;
use serde::{Serialize, Serializer};

use crate::Result;

/// Writes to standard output. A reader that has seen enough is no failure.
pub fn print(text: &str) -> Result<()> {
    print_on(text).map(drop)
}

/// The same for output without end, which ends with its reader.
pub fn print_on(text: &str) -> Result<ControlFlow<()>> {
    let mut out = anstream::stdout().lock();
    match out.write_all(harmless(text).as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::new(Exit::Internal, format!("standard output: {error}"))),
    }
}

/// Writes a line to standard error. Nobody can be told that nobody reads it.
pub fn warn(line: &str) {
    let _ = writeln!(anstream::stderr(), "{}", harmless(line));
}

/// Text as a terminal may show it. Names in it may be anybody's: what would move the cursor or do more than that is
/// written out, and line ends, tabs and styles stay.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_control() && !"\n\t".contains(letter)) {
        let (before, from) = rest.split_at(at);
        shown += before;
        let style = style_len(from);
        shown += &from[..style];
        rest = &from[style..];
        if style == 0 {
            let letter = from.chars().next().expect("it was found");
            shown.extend(letter.escape_default());
            rest = &from[letter.len_utf8()..];
        }
    }
    shown + rest
}

/// How long the sequence is that sets a style, if the text begins with one.
fn style_len(text: &str) -> usize {
    let Some(inner) = text.strip_prefix("\u{1b}[") else { return 0 };
    let end = inner.find(|letter: char| !letter.is_ascii_digit() && letter != ';');
    end.filter(|end| inner[*end..].starts_with('m')).map_or(0, |end| end + 3)
}

/// Writes a path in JSON, which has no bytes that are not UTF-8.
pub fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The number of an error; EIO where it has none.
pub fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Writes JSON to standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("our own types are valid JSON");
    print(&format!("{text}\n"))
}

/// A size for people: `1.25 MiB`.
pub fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A number with what is counted: `1 file`, `2 files`.
pub fn counted(count: impl Into<u64>, what: &str) -> String {
    let count = count.into();
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// How many times smaller `stored` is than `logical`; a dash where nothing is stored.
pub fn ratio(logical: u64, stored: u64) -> String {
    if stored == 0 {
        return "-".to_owned();
    }
    format!("{:.2}", logical as f64 / stored as f64)
}

/// Lines of cells as aligned text: the first column to the left, the others to the right, the
/// first line as a heading.
pub fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let mut row = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(row, "{cell:<width$}"),
                _ => write!(row, "  {cell:>width$}"),
            };
        }
        let _ = match number {
            0 => writeln!(text, "{}", bold(row.trim_end())),
            _ => writeln!(text, "{}", row.trim_end()),
        };
    }
    text
}

/// Bold on a terminal.
pub fn bold(text: &str) -> String {
    let style = anstyle::Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// Coloured on a terminal.
pub fn coloured(text: &str, colour: anstyle::AnsiColor) -> String {
    let style = colour.on_default();
    format!("{style}{text}{style:#}")
}

/// True where somebody sees a bar.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// How many bytes are done of how many, once that is known; on standard error if that is a terminal.
pub struct Bar(ProgressBar);

/// Begins a bar.
pub fn bar(what: &'static str) -> Bar {
    let style = ProgressStyle::with_template("{spinner} {prefix}: {binary_bytes} [{elapsed}]");
    let bar = ProgressBar::no_length().with_style(style.expect("a valid template"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(120));
    Bar(bar)
}

impl Bar {
    /// It is known from now on how many there are.
    pub fn set_total(&self, bytes: u64) {
        const STYLE: &str =
            "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} [{elapsed}{to_go}]";
        if self.0.length() != Some(bytes) {
            let style = ProgressStyle::with_template(STYLE).expect("a valid template");
            self.0.set_style(style.with_key("to_go", to_go));
            self.0.set_length(bytes);
        }
    }

    /// So many are done.
    pub fn set_position(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// So many more are done.
    pub fn inc(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Nothing of it is left to be seen.
    pub fn finish_and_clear(&self) {
        self.0.finish_and_clear();
    }
}

/// How long the rest takes, once there is something to tell it from.
fn to_go(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let seconds = state.eta().as_secs();
    if state.pos() > 0 && seconds > 0 {
        // A bar that cannot be drawn is no failure.
        let _ = write!(out, ", {} to go", HumanDuration(state.eta()));
    }
}

/// A sign of life without a known end, on standard error if that is a terminal.
pub fn spinner(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix}: {msg} [{elapsed}]");
    let bar = ProgressBar::new_spinner().with_style(style.expect("a valid template"));
    bar.set_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let lines = [vec!["name", "size"], vec!["a", "1"], vec!["longer", "100"]]
            .map(|line| line.into_iter().map(str::to_owned).collect());
        let plain = anstream::adapter::strip_str(&table(&lines)).to_string();
        assert_eq!(plain, "name    size\na          1\nlonger   100\n");
    }

    #[test]
    fn names_of_others_cannot_act_on_a_terminal() {
        let bold = bold("heading");
        let text = format!("{bold}\n\ta\u{1b}[2Jb\u{1b}]0;title\u{7}\rc\u{9b}31m\u{1b}[1");
        let expected =
            format!("{bold}\n\ta\\u{{1b}}[2Jb\\u{{1b}}]0;title\\u{{7}}\\rc\\u{{9b}}31m\\u{{1b}}[1");
        assert_eq!(harmless(&text), expected);
    }

    #[test]
    fn nothing_stored_has_no_ratio() {
        assert_eq!(ratio(100, 0), "-");
        assert_eq!(ratio(1000, 250), "4.00");
    }
}
