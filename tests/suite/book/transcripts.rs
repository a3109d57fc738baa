//! Commands in the book are run, and print what stands there.
//!
//! `HSCI_BOOK=overwrite` writes into the pages what happens now. What a page takes for granted is prepared by comments in it,
//! `<!-- before: COMMAND -->`. All commands have a machine of their own: empty `/srv` and `/mnt`, and copies of
//! `/etc` and `/usr/sbin` to write to.

use std::fs;
use std::path::Path;

use hsci_tests::{Run, machine};

use super::{BOOK, pages};
use crate::policies::InForce;

/// The command's page, whose transcripts are run by its own tests.
const BY_TRYCMD: &str = "reference/command.md";
/// The page that `./run test-package` follows in a fresh root.
const BY_PACKAGE: &str = "tutorial/extension.md";
/// Kinds of blocks that have no commands, are run here in another way, or cannot be run without what they are for.
const OTHERS: [&str; 6] = ["rust,ignore", "rust", "toml", "ebnf", "policy", "docker"];

pub(super) fn are_what_happens(dir: &Path) {
    machine::need_root();
    for program in ["gzip", "setpriv", "rsync", "zstdcat", "findmnt"] {
        machine::need(program);
    }
    // Pages load policies, and mounts of other tests are not to be asked.
    let _turn = InForce::take(dir);
    let book = machine::project().join(BOOK);
    let mut blocks = 0;
    for path in pages(&book) {
        let page = fs::read_to_string(&path).expect("a page");
        if path.ends_with(BY_TRYCMD) {
            continue;
        }
        fresh_machine(dir);
        let happened = replay(dir, &page, path.ends_with(BY_PACKAGE), &mut blocks);
        if std::env::var("HSCI_BOOK").is_ok_and(|wish| wish == "overwrite") {
            fs::write(&path, &happened).expect("written");
            continue;
        }
        for (happened, there) in happened.lines().zip(page.lines()) {
            assert_eq!(happened, there, "{}", path.display());
        }
        assert_eq!(happened.len(), page.len(), "{}", path.display());
    }
    assert!(blocks > 12, "{blocks}");
}

/// Takes away what the page before has left, and makes the places that pages use.
fn fresh_machine(dir: &Path) {
    let script = r"
        for at in $(findmnt -n -o TARGET -t fuse.hsci | grep -e ^/srv -e ^/mnt -e ^$PWD/place); do $HSCI unmount --force $at; done
        umount -l /etc /usr/sbin /srv /mnt layers 2> /dev/null || true
        rm -rf place
        mkdir -p layers place
        for at in layers /srv /mnt; do mount -t tmpfs none $at; done
        for at in /etc /usr/sbin; do
            mkdir -p layers/upper$at layers/work$at
            mount -t overlay -o lowerdir=$at,upperdir=layers/upper$at,workdir=layers/work$at none $at
        done
        mkdir -p /etc/hsci
        rm -f /etc/hsci/*
        ln -sf $HSCI /usr/sbin/mount.fuse.hsci
    ";
    let done = Run::shell(script).dir(dir).env("HSCI", machine::hsci()).done();
    if done.code != 0 {
        hsci_tests::skip(&format!("no overlays here: {}", done.err.trim()));
    }
}

/// The page, with what its commands print now.
fn replay(dir: &Path, page: &str, is_followed_elsewhere: bool, blocks: &mut usize) -> String {
    let mut happened = String::new();
    let mut kind: Option<&str> = None;
    let mut place = dir.join("place");
    for line in page.lines() {
        let fence = line.strip_prefix("```");
        match (kind, fence) {
            (None, Some(opened)) => {
                kind = Some(opened);
                *blocks += usize::from(opened == "console");
                place = dir.join("place").join(blocks.to_string());
                fs::create_dir_all(&place).expect("a directory");
            }
            (Some(_), Some(_)) => kind = None,
            (None, None) => {
                let command = line.strip_prefix("<!-- before: ");
                if let Some(command) = command.and_then(|rest| rest.strip_suffix(" -->")) {
                    bash(&place, command).ok();
                }
            }
            (Some("console"), None) => match line.strip_prefix("$ ") {
                Some(command) => happened += &transcript(&place, command),
                None => continue,
            },
            (Some("fstab"), None) => {
                let line = format!("echo '{line}' >> /etc/fstab");
                bash(&place, &line).ok();
            }
            (Some("systemd"), None) => enabled(&place, line),
            (Some("text"), None) => {
                let is_command = line.starts_with("hsci ") || line.starts_with("sudo ");
                assert!(is_followed_elsewhere || !is_command, "nobody runs `{line}`");
            }
            (Some(other), None) => assert!(
                other.is_empty() || OTHERS.contains(&other),
                "nobody knows what to do with a block of kind {other}"
            ),
        }
        if !(kind == Some("console") && fence.is_none()) {
            happened += line;
            happened.push('\n');
        }
    }
    happened
}

fn bash(place: &Path, command: &str) -> hsci_tests::command::Done {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", machine::programs().display());
    let run = Run::new("bash").args(["-c", command]).dir(place);
    run.env("PATH", &path).env("LC_ALL", "C").done()
}

/// A command with what it prints: standard output, standard error, and the exit code if it is not 0. Paths are
/// shown relative to the directory.
fn transcript(place: &Path, command: &str) -> String {
    let done = bash(place, command);
    let code = if done.code == 0 { String::new() } else { format!("[{}]\n", done.code) };
    let said = format!("{}{}{code}", done.out, done.err);
    format!("$ {command}\n{}", said.replace(&format!("{}/", place.display()), ""))
}

/// Runs a line about units as far as that goes without systemd as the first process: units are enabled in a root of
/// their own, and a unit's command is run with its configuration.
fn enabled(place: &Path, line: &str) {
    if machine::find("systemctl").is_none() || machine::find("systemd-escape").is_none() {
        return;
    }
    let Some(unit) = line.strip_prefix("systemctl enable --now ") else {
        bash(place, line).ok();
        return;
    };
    let script = format!(
        "set -eu
        hsci generate --program \"$(command -v hsci)\" share > /dev/null
        mkdir -p root/etc/systemd/system root/usr/lib/systemd/system /srv/files
        cp share/hsci/*.service root/usr/lib/systemd/system/
        unit={unit}
        systemctl --root=root --quiet enable \"$unit\"
        name=${{unit#hsci@}} name=${{name%.service}}
        HSCI_ARGUMENTS=$(sed -n s/^HSCI_ARGUMENTS=//p \"/etc/hsci/$name.conf\")
        dir=/$(systemd-escape --unescape --path \"$name\" | sed s,^/,,)
        hsci mount $HSCI_ARGUMENTS \"$dir\"
        seq 100000 > \"$dir/numbers\"
        hsci settle \"$dir\"
        hsci usage \"$dir\"
        hsci unmount \"$dir\""
    );
    let usage = bash(place, &script).ok();
    assert!(usage.contains("zstd:9"), "{usage}");
}
