//! Files of one kind, by the space that they take.

use super::{Scenario, Stage, Step, shell};
use crate::corpus::Corpus;

pub(super) fn of(stage: &Stage<'_>, corpus: &Corpus) -> Scenario {
    let list = stage.scratch.join(format!("{}.list", corpus.name.replace(' ', "-")));
    let names: Vec<String> = corpus.files.iter().map(|file| file.display().to_string()).collect();
    // Without a list, cp fails and says so.
    let _ = std::fs::write(&list, names.join("\0"));
    let copy = format!("mkdir -p corpus; xargs -0 -a '{}' cp --parents -t corpus", list.display());
    let steps = vec![
        Step::timed("copy", move |place| shell(place, &copy)).writing(corpus.bytes),
        Step::settle(),
        Step::stored(),
    ];
    let about = format!("{} files, {} MiB", corpus.files.len(), corpus.bytes >> 20);
    let before = Some(format!("xargs -0 -a '{}' cat > /dev/null", list.display()));
    Scenario { before, ..Scenario::new(&format!("space: {}", corpus.name), about, steps) }
}
