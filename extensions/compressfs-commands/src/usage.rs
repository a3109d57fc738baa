//! `hsci usage`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hsci_command::walk::{Found, Walk};
use hsci_command::{Result, control, ui};
use hsci_host::failure::Failure;
use hsci_protocol::compression::{AlgorithmUsage, FileUsage};
use rustix::fs::FileType;
use serde::Serialize;

use crate::cli::Usage;

/// The question put to the mount.
const QUESTION: &str = "usage";

/// The sum over all files, as `--json` prints it; sizes in bytes.
#[derive(Default, Serialize)]
struct Total {
    files: u64,
    logical: u64,
    /// Space that the stored files take on their file system.
    stored: u64,
    /// Logical bytes for which nothing is stored.
    holes: u64,
    /// Number of files in each stored form.
    forms: BTreeMap<String, u64>,
    algorithms: Vec<Row>,
    /// Number of files and directories that could not be looked at.
    skipped: u64,
}

/// The sum over one algorithm.
#[derive(Serialize)]
struct Row {
    algorithm: String,
    /// Files of which a part is stored so.
    files: u64,
    logical: u64,
    stored: u64,
    chunks: u64,
}

impl Total {
    fn add(&mut self, file: FileUsage) {
        self.files += 1;
        self.logical += file.logical;
        self.stored += file.stored;
        *self.forms.entry(file.form).or_default() += 1;
        let parts: u64 = file.codecs.iter().map(|part| part.logical).sum();
        self.holes += file.logical.saturating_sub(parts);
        for part in file.codecs {
            self.add_part(part);
        }
    }

    fn add_part(&mut self, part: AlgorithmUsage) {
        let place = self.algorithms.binary_search_by(|row| row.algorithm.cmp(&part.algorithm));
        let place = place.unwrap_or_else(|place| {
            let algorithm = part.algorithm;
            self.algorithms
                .insert(place, Row { algorithm, files: 0, logical: 0, stored: 0, chunks: 0 });
            place
        });
        let row = &mut self.algorithms[place];
        row.files += 1;
        row.logical += part.logical;
        row.stored += part.stored;
        row.chunks += part.chunks;
    }

    fn table(&self) -> String {
        let line = |name: &str, files: u64, logical: u64, stored: u64| {
            let ratio = ui::ratio(logical, stored);
            vec![name.to_owned(), files.to_string(), ui::size(logical), ui::size(stored), ratio]
        };
        let head = ["algorithm", "files", "logical", "stored", "ratio"].map(str::to_owned);
        let mut lines = vec![head.to_vec()];
        let rows = self.algorithms.iter();
        lines.extend(rows.map(|row| line(&row.algorithm, row.files, row.logical, row.stored)));
        if self.holes > 0 {
            lines.push(vec!["holes".to_owned(), String::new(), ui::size(self.holes)]);
        }
        lines.push(line("on disk", self.files, self.logical, self.stored));
        let forms = self.forms.iter().map(|(form, files)| format!("{files} {form}"));
        let forms = forms.collect::<Vec<_>>().join(", ");
        format!(
            "{}forms: {}\n",
            ui::table(&lines),
            if forms.is_empty() { "no files" } else { &forms }
        )
    }
}

/// What a walk has found, and the first thing that went wrong.
#[derive(Default)]
struct Census {
    total: Total,
    first_failure: Option<Failure>,
}

impl Census {
    fn visit(&mut self, found: &Found<'_>) {
        if found.kind != FileType::RegularFile {
            return;
        }
        match ask(found) {
            Ok(usage) => self.total.add(usage),
            Err(failure) => self.skip(failure),
        }
    }

    fn skip(&mut self, failure: Failure) {
        self.total.skipped += 1;
        self.first_failure.get_or_insert(failure);
    }
}

fn ask(found: &Found<'_>) -> Result<FileUsage> {
    let fail = |errno| control::failure(found.path, "sizes by algorithm", errno);
    let answer = control::ask(found.reach, QUESTION).map_err(fail)?;
    control::parse(found.path, QUESTION, &answer)
}

/// Prints what files take, by algorithm.
pub(crate) fn run(args: &Usage) -> Result<()> {
    for path in &args.paths {
        control::require_mount(path)?;
    }
    let census = take(&args.paths);
    if args.json {
        ui::print_json(&census.total)?;
    } else {
        ui::print(&census.total.table())?;
    }
    let Some(mut failure) = census.first_failure else { return Ok(()) };
    if census.total.skipped > 1 {
        failure.text += &format!("; {} more could not be looked at", census.total.skipped - 1);
    }
    Err(failure)
}

fn take(paths: &[PathBuf]) -> Census {
    let census = std::cell::RefCell::new(Census::default());
    let progress = ui::spinner("looking at files");
    let visit = |found: &Found<'_>| {
        let mut census = census.borrow_mut();
        census.visit(found);
        if census.total.files.is_multiple_of(64) {
            progress.set_message(census.total.files.to_string());
        }
    };
    let failed = |failure: Failure| census.borrow_mut().skip(failure);
    let mut walk = Walk::new(visit, failed);
    for path in paths {
        walk.run(path);
    }
    drop(walk);
    progress.finish_and_clear();
    census.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(logical: u64, stored: u64, codecs: &[(&str, u64, u64)]) -> FileUsage {
        let part = |&(algorithm, logical, stored): &(&str, u64, u64)| AlgorithmUsage {
            algorithm: algorithm.to_owned(),
            logical,
            stored,
            chunks: 1,
        };
        let codecs = codecs.iter().map(part).collect();
        FileUsage { form: "sealed".to_owned(), logical, stored, segments: 1, codecs }
    }

    #[test]
    fn parts_and_holes_add_up_to_the_logical_size() {
        let mut total = Total::default();
        total.add(file(1000, 512, &[("zstd:3", 600, 100), ("none", 300, 300)]));
        total.add(file(50, 512, &[("lz4", 50, 20)]));
        total.add(file(100, 512, &[("zstd:3", 100, 50)]));
        let names: Vec<_> = total.algorithms.iter().map(|row| row.algorithm.as_str()).collect();
        assert_eq!(names, ["lz4", "none", "zstd:3"]);
        assert_eq!((total.algorithms[2].files, total.algorithms[2].stored), (2, 150));
        let rows: u64 = total.algorithms.iter().map(|row| row.logical).sum();
        assert_eq!((total.logical, rows + total.holes), (1150, 1150));
        assert_eq!(total.forms["sealed"], 3);
    }
}
