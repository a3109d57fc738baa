//! Trees of sources: unpacked, walked, searched, checked out, copied, built, removed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Scenario, Stage, Step, shell};
use crate::contenders::run;

pub(super) fn sources(stage: &Stage<'_>) -> Scenario {
    let tree = stage.tree;
    let (archive, origin) = (tree.archive.display().to_string(), tree.stage.join("tree"));
    let about = format!("{}: {} files, {} MiB", tree.name, tree.files, tree.bytes >> 20);
    let copied = format!("rsync -a '{}/' copy/", origin.display());
    let again = copied.clone();
    // What is looked for is not there, so that nothing is printed and nothing is left out.
    let walk = "find tree -newermt 2100-01-01";
    let search = "grep -r 'no such line, anywhere' tree || true";
    let steps = vec![
        Step::timed("unpack", move |place| shell(place, &format!("tar -xf '{archive}'")))
            .writing(tree.bytes),
        Step::timed("walk with stat, after writing", move |place| shell(place, walk)),
        Step::settle(),
        Step::stored(),
        Step::timed("walk with stat, cold", move |place| shell(place, walk)).cold().reading(),
        Step::timed("walk with stat, warm", move |place| shell(place, walk)).reading(),
        Step::timed("du, cold", |place| shell(place, "du -s tree")).cold().reading(),
        Step::timed("grep -r, cold", move |place| shell(place, search)).cold().reading(),
        Step::timed("grep -r, again", move |place| shell(place, search)).reading(),
        Step::timed("grep -r, third", move |place| shell(place, search)).reading(),
        Step::timed("rsync", move |place| shell(place, &copied)).writing(tree.bytes),
        Step::timed("rsync again", move |place| shell(place, &again)),
        Step::timed("rm -rf", |place| shell(place, "rm -rf tree copy")),
    ];
    let scenario = Scenario::new("sources", about, steps).needs(&["tar", "rsync"]);
    Scenario { for_readers: true, ..scenario }
}

/// The tree as a git repository with a branch in which one file of twenty differs.
pub(super) fn repository(stage: &Stage<'_>) -> Result<Scenario> {
    let origin = stage.scratch.join("repository");
    if !origin.exists() {
        make_repository(stage, &origin)?;
    }
    let clone = format!("git clone -q --no-local '{}' repository", origin.display());
    let checkout = |branch: &str| format!("git -C repository checkout -q {branch}");
    let (there, back) = (checkout("origin/other"), checkout("main"));
    let status = "git -C repository status --porcelain";
    let steps = vec![
        Step::timed("git clone", move |place| shell(place, &clone)),
        Step::settle(),
        Step::timed("git status, cold", move |place| shell(place, status)).cold(),
        Step::timed("git status, warm", move |place| shell(place, status)),
        Step::timed("git checkout", move |place| shell(place, &there)),
        Step::timed("git checkout, cold", move |place| shell(place, &back)).cold(),
        Step::timed("rm -rf", |place| shell(place, "rm -rf repository")),
    ];
    let about = format!("a git repository of at most {MOST} files of the tree");
    Ok(Scenario::new("repository", about, steps).needs(&["git"]))
}

/// Most files of the repository.
const MOST: usize = 10_000;

fn make_repository(stage: &Stage<'_>, origin: &Path) -> Result<()> {
    fs::create_dir(origin)?;
    let files = walkdir::WalkDir::new(&stage.tree.stage).sort_by_file_name();
    let files = files.into_iter().filter_map(Result::ok);
    for entry in files.filter(|entry| entry.file_type().is_file()).take(MOST) {
        let target = origin.join(entry.path().strip_prefix(&stage.tree.stage)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(entry.path(), target)?;
    }
    let script = "git init -q -b main . && git config user.name bench \
        && git config user.email bench@localhost && git config gc.auto 0 \
        && git add -A -f . && git commit -q -m first && git checkout -q -b other \
        && git ls-files -z | awk 'BEGIN { RS = ORS = \"\\0\" } NR % 20 == 0' \
        | xargs -0 sed -i '$a one more line' \
        && git commit -q -a -m second && git checkout -q main";
    run(Command::new("sh").args(["-ec", script]).current_dir(origin)).map(drop)
}

/// One crate of this project with all that it depends on.
pub(super) fn build() -> Scenario {
    let manifest = fs::canonicalize("Cargo.toml").unwrap_or_default();
    let build = |crate_name: &str| {
        format!(
            "cargo build --offline --locked --quiet -p {crate_name} --manifest-path '{}' \
             --target-dir \"$PWD/target\"",
            manifest.display()
        )
    };
    let name = "hsci-language";
    let (first, again) = (build(name), build(name));
    let steps = vec![
        Step::timed("cargo build", move |place| shell(place, &first)),
        Step::timed("cargo build again", move |place| shell(place, &again)),
        Step::timed("rm -rf", |place| shell(place, "rm -rf target")),
    ];
    let about = format!("the crate {name} and what it is made of, debug profile");
    Scenario::new("build", about, steps).needs(&["cargo"])
}
