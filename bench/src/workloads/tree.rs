//! Trees of sources: unpacked, walked, searched, checked out, copied, built, removed.

use std::fs;
use std::path::Path;

use super::{Scenario, Stage, Step, shell};
use crate::corpus::Tree;

pub(super) fn sources(stage: &Stage<'_>) -> Scenario {
    let tree = stage.tree;
    let origin = tree.stage.join("tree");
    let about = format!("{}: {} files, {} MiB", tree.name, tree.files, tree.bytes >> 20);
    let copied = format!("rsync -a '{}/' copy/", origin.display());
    let again = copied.clone();
    let (walk, search) = (WALK, SEARCH);
    let steps = vec![
        unpack(tree),
        Step::timed("walk with stat, after writing", move |place| shell(place, walk)),
        Step::settle(),
        Step::stored(),
        Step::timed("walk with stat, cold", move |place| shell(place, walk)).cold().reading(),
        Step::timed("walk with stat, again", move |place| shell(place, walk)).reading(),
        Step::timed("walk with stat, third", move |place| shell(place, walk)).reading(),
        Step::timed("du, cold", |place| shell(place, "du -s tree")).cold().reading(),
        Step::timed("grep -r, cold", move |place| shell(place, search)).cold().reading(),
        Step::timed("grep -r, again", move |place| shell(place, search)).reading(),
        Step::timed("grep -r, third", move |place| shell(place, search)).reading(),
        Step::timed("rsync", move |place| shell(place, &copied)).with(origin).writing(tree.bytes),
        Step::timed("rsync again", move |place| shell(place, &again)),
        Step::timed("rm -rf", |place| shell(place, "rm -rf tree copy")),
    ];
    let scenario = Scenario::new("sources", about, steps).needs(&["tar", "rsync"]);
    Scenario { for_readers: true, ..scenario }
}

// What is looked for is not there, so that nothing is printed and nothing is left out.
const WALK: &str = "find tree -newermt 2100-01-01";
const SEARCH: &str = "grep -r 'no such line, anywhere' tree || true";

fn unpack(tree: &Tree) -> Step {
    let script = format!("tar -xf '{}'", tree.archive.display());
    let step = Step::timed("unpack", move |place| shell(place, &script));
    step.cold().with(tree.archive.clone()).writing(tree.bytes)
}

/// What of it depends on how a machine halts idle cores, without that.
pub(super) fn held(stage: &Stage<'_>) -> Scenario {
    let tree = stage.tree;
    let search = |name: &str| Step::timed(name, move |place| shell(place, SEARCH));
    let steps = vec![
        unpack(tree),
        Step::settle(),
        search("grep -r, cold").cold(),
        search("grep -r, again"),
    ];
    let about =
        format!("{}: {} files; callers and servers held on one core", tree.name, tree.files);
    Scenario { held: true, ..Scenario::new("sources, held", about, steps).needs(&["taskset"]) }
}

/// The tree as a git repository with a branch in which one file of twenty differs.
pub(super) fn repository(stage: &Stage<'_>) -> Scenario {
    let origin = stage.scratch.join("repository").display().to_string();
    let clone = format!("git clone -q --no-local '{origin}' repository");
    let checkout = |branch: &str| format!("git -C repository checkout -q {branch}");
    let (there, back) = (checkout("origin/other"), checkout("main"));
    let status = "git -C repository status --porcelain";
    let steps = vec![
        Step::timed("git clone", move |place| shell(place, &clone)),
        Step::settle(),
        Step::timed("git status, cold", move |place| shell(place, status)).cold(),
        Step::timed("git status, again", move |place| shell(place, status)),
        Step::timed("git status, third", move |place| shell(place, status)),
        Step::timed("git checkout", move |place| shell(place, &there)),
        Step::timed("git checkout, cold", move |place| shell(place, &back)).cold(),
        Step::timed("rm -rf", |place| shell(place, "rm -rf repository")),
    ];
    let about = format!("a git repository of at most {MOST} files of the tree");
    let before = format!(
        "[ -e '{origin}' ] || {{ {}; }}; find '{origin}' -type f -exec cat {{}} + > /dev/null",
        make_repository(&stage.tree.stage, &origin)
    );
    let scenario = Scenario::new("repository", about, steps).needs(&["git"]);
    Scenario { before: Some(before), ..scenario }
}

/// Most files of the repository.
const MOST: usize = 10_000;

/// Made when it is first wanted.
fn make_repository(tree: &Path, origin: &str) -> String {
    format!(
        "mkdir '{origin}.new'; cd '{}'; find . -type f -print0 | LC_ALL=C sort -z | head -z -n {MOST} \
         | tar --null -T - -cf - | tar -xf - -C '{origin}.new'; cd '{origin}.new'; \
         git init -q -b main .; git config user.name bench; git config user.email bench@localhost; \
         git config gc.auto 0; git add -A -f .; git commit -q -m first; git checkout -q -b other; \
         git ls-files -z | awk 'BEGIN {{ RS = ORS = \"\\0\" }} NR % 20 == 0' \
         | xargs -0 sed -i '$a one more line'; \
         git commit -q -a -m second; git checkout -q main; cd ..; mv '{origin}.new' '{origin}'",
        tree.display()
    )
}

/// One crate of this project with all that it depends on.
pub(super) fn build(stage: &Stage<'_>) -> Scenario {
    let manifest = fs::canonicalize("Cargo.toml").unwrap_or_default();
    let build_in = |directory: &str, crate_name: &str| {
        format!(
            "cargo build --offline --locked --quiet -p {crate_name} --manifest-path '{}' \
             --target-dir \"{directory}\"",
            manifest.display()
        )
    };
    let build = |crate_name: &str| build_in("$PWD/target", crate_name);
    let name = "hsci-language";
    let (first, again) = (build(name), build(name));
    let steps = vec![
        Step::timed("cargo build", move |place| shell(place, &first)),
        Step::timed("cargo build again", move |place| shell(place, &again)),
        Step::timed("rm -rf", |place| shell(place, "rm -rf target")),
    ];
    let about = format!("the crate {name} and what it is made of, debug profile");
    let elsewhere = stage.scratch.join("target").display().to_string();
    let before = Some(format!("{}; rm -rf '{elsewhere}'", build_in(&elsewhere, name)));
    Scenario { before, ..Scenario::new("build", about, steps).needs(&["cargo"]) }
}
