//! The pages: every link leads somewhere, the book holds every page, and what it shows is what happens.

mod transcripts;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use hsci_tests::{Run, Test, machine};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use walkdir::WalkDir;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "book::every_link_leads_somewhere", seconds: 60, body: links },
    Test { name: "book::every_page_is_in_the_summary", seconds: 60, body: summary },
    Test {
        name: "book::transcripts_are_what_happens",
        seconds: 240,
        body: transcripts::are_what_happens,
    },
    Test { name: "book::policies_do_what_is_expected_of_them", seconds: 60, body: policies },
    Test { name: "book::the_tutorial_shows_what_new_makes", seconds: 60, body: shown_code },
    Test { name: "book::the_checker_sees_a_broken_link", seconds: 60, body: checker },
];

/// Sources of the book; its pages do not link out of them.
const BOOK: &str = "docs/src";

fn links(_: &Path) {
    let project = machine::project();
    let pages = pages(project);
    let broken: Vec<String> = pages.iter().flat_map(|page| broken_links(project, page)).collect();
    assert!(pages.len() > 10 && broken.is_empty(), "{broken:#?}");
}

fn summary(_: &Path) {
    let book = machine::project().join(BOOK);
    let listed: BTreeSet<PathBuf> = Page::read(&book.join("SUMMARY.md"))
        .links
        .iter()
        .map(|link| normal(&book.join(link)))
        .collect();
    let there: BTreeSet<PathBuf> =
        pages(&book).into_iter().filter(|page| !page.ends_with("SUMMARY.md")).collect();
    assert_eq!(listed, there);
}

/// The page of whole policies.
const POLICIES: &str = "how-to/policies.md";

fn policies(dir: &Path) {
    let page = fs::read_to_string(machine::project().join(BOOK).join(POLICIES)).expect("a page");
    let blocks: Vec<&str> = page.split("```policy\n").skip(1).collect();
    assert_eq!(blocks.len(), 3, "a mail server, a build farm, homes");
    let file = dir.join("one.policy");
    let policy = |command: &str, text: &str| {
        fs::write(&file, text).expect("written");
        let run = Run::new(machine::hsci()).args(["policy", command, "--machine", "none"]);
        run.arg(&file).done()
    };
    for block in blocks {
        let block = block.split("```").next().expect("an end");
        let expected = block.lines().filter(|line| line.starts_with("expect ")).count();
        assert!(expected > 5, "{block}");
        assert_eq!(policy("check", block).err, "", "nothing to warn of");
        let held = policy("test", block).ok();
        let wanted = format!(": {expected} of {expected} expectations hold\n");
        assert!(held.ends_with(&wanted), "{held}");
        // The opposite of what it expects does not come of it.
        let opposite = block.replace("expect deny: ", "expect pass: ");
        assert_ne!(opposite, block);
        policy("test", &opposite).fails(1, &["do not hold"]);
    }
}

/// What the tutorial shows of the new crate stands in it.
fn shown_code(dir: &Path) {
    let page = machine::project().join(BOOK).join("tutorial/extension.md");
    let page = fs::read_to_string(page).expect("a page");
    let (_, after) = page.split_once("```rust,ignore\n").expect("code");
    let (shown, _) = after.split_once("```").expect("an end");
    let made = dir.join("shout");
    Run::new(machine::hsci()).args(["new", "shout", "--dir"]).arg(&made).ok();
    let made = fs::read_to_string(made.join("src/lib.rs")).expect("a library");
    let parts: Vec<&str> = shown.trim_end().split("\n\n").collect();
    assert!(parts.len() > 3, "{shown}");
    let other: Vec<_> = parts.iter().filter(|part| !made.contains(**part)).collect();
    assert!(other.is_empty(), "not in the crate: {other:#?}");
}

fn checker(dir: &Path) {
    let book = dir.join(BOOK);
    fs::create_dir_all(&book).expect("a directory");
    fs::write(dir.join("top.md"), "# A `good` title, too\n").expect("a page");
    let text =
        "[a](there.md) [b](gone.md) [c](#here) [d](#nowhere)\n\n## Here\n\n[e](../../top.md)";
    fs::write(book.join("page.md"), text).expect("a page");
    fs::write(book.join("there.md"), "[f](page.md#here) [g](https://example.org)").expect("a page");
    let broken: Vec<String> = pages(dir).iter().flat_map(|page| broken_links(dir, page)).collect();
    let of = |link: &str| broken.iter().any(|text| text.contains(link));
    assert!(of("gone.md") && of("#nowhere") && of("../../top.md"), "{broken:#?}");
    assert_eq!(broken.len(), 3, "{broken:#?}");
    assert!(Page::read(&dir.join("top.md")).anchors.contains("a-good-title-too"));
}

/// All pages below a directory, but for what is built or belongs to git.
fn pages(dir: &Path) -> Vec<PathBuf> {
    let is_ours = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !["target", ".git"].iter().any(|&name| entry.file_name() == name)
    };
    let entries = WalkDir::new(dir).sort_by_file_name().into_iter().filter_entry(is_ours);
    let paths = entries.map(|entry| entry.expect("a readable tree").into_path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// What the links of a page that lead nowhere are, with the page.
fn broken_links(project: &Path, path: &Path) -> Vec<String> {
    let book = project.join(BOOK);
    let page = Page::read(path);
    let leads_somewhere = |link: &str| {
        if link.contains("://") || link.starts_with("mailto:") {
            return true;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let to = match file {
            "" => path.to_owned(),
            _ => normal(&path.with_file_name(file)),
        };
        let stays = !path.starts_with(&book) || to.starts_with(&book);
        let anchored = || anchor.is_empty() || Page::read(&to).anchors.contains(anchor);
        stays && to.exists() && anchored()
    };
    let broken = page.links.iter().filter(|link| !leads_somewhere(link));
    broken.map(|link| format!("{}: {link}", path.display())).collect()
}

/// A path without `..`, by its text alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            _ => normal.push(part),
        }
    }
    normal
}

/// What links need to know of a page.
struct Page {
    links: Vec<String>,
    /// Names of its headings.
    anchors: BTreeSet<String>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let text: String =
            text.split_inclusive('\n').map(|line| with_included(path, line)).collect();
        let (mut links, mut anchors) = (Vec::new(), BTreeSet::new());
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(&text, pulldown_cmark::Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    anchors.extend(heading.take().map(|text| slug(&text)));
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        Self { links, anchors }
    }
}

/// A line, or what mdBook includes in its place: a file, or the part of it between two anchors.
fn with_included(page: &Path, line: &str) -> String {
    let include = line.trim().strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
    let Some((file, anchor)) = include.map(|it| it.split_once(':').unwrap_or((it, ""))) else {
        return line.to_owned();
    };
    let file = page.with_file_name(file);
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let part = match anchor {
        "" => Some(text.as_str()),
        _ => text
            .split_once(&format!("ANCHOR: {anchor} "))
            .and_then(|(_, rest)| rest.split_once(&format!("ANCHOR_END: {anchor} ")))
            .map(|(part, _)| part),
    };
    part.unwrap_or_else(|| panic!("{}: no part {anchor}", file.display())).to_owned()
}

/// The name that mdBook and forges give a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}
