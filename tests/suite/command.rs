//! The command as people use it: in pipes, from inside of a mount, on any name, with a shell's help.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, Test, machine, mount};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "command::ends_quietly_where_nobody_reads", seconds: 60, body: nobody_reads },
    Test { name: "command::unmounts_the_directory_it_is_in", seconds: 60, body: from_inside },
    Test { name: "command::checks_nothing_but_stores_at_rest", seconds: 60, body: no_store },
    Test { name: "command::takes_every_name_that_the_kernel_takes", seconds: 60, body: raw_names },
    Test { name: "command::completes_what_is_there", seconds: 60, body: completion },
    Test { name: "command::recompresses_all_and_then_nothing", seconds: 60, body: recompress },
    Test { name: "command::tells_of_extensions_and_runs_the_kit", seconds: 60, body: authors },
    Test { name: "command::becomes_the_program_of_who_brings_it", seconds: 120, body: brought },
    Test { name: "command::has_pages_in_the_manual", seconds: 60, body: manual },
    Test { name: "command::the_manual_says_what_help_says", seconds: 120, body: manual_and_help },
    Test { name: "command::options_of_extensions_are_on_their_pages", seconds: 60, body: options },
];

/// The algorithms by which files below a directory are stored.
fn algorithms(dir: &Path) -> Vec<String> {
    let usage = Run::new(machine::hsci()).args(["usage", "--json"]).arg(dir).ok();
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    let name = |one: &Value| one["algorithm"].as_str().expect("a name").to_owned();
    usage["algorithms"].as_array().expect("a list").iter().map(name).collect()
}

fn recompress(dir: &Path) {
    let mount = Mount::new(dir, "files", "compressfs", "algorithm=lz4");
    fs::create_dir_all(mount.path("a/b")).expect("directories");
    fs::create_dir_all(mount.path("other")).expect("directories");
    let hsci =
        |arguments: &[&str]| Run::new(machine::hsci()).args(arguments).dir(mount.dir()).done();
    hsci(&["algorithm", "set", "deflate:1", "--for", "a/b"]).ok();
    let text = |number: usize| format!("line {number} of a text\n").repeat(5000);
    let names = ["a/one", "a/two", "a/b/three", "other/four"];
    for (number, name) in names.iter().enumerate() {
        fs::write(mount.path(name), text(number)).expect("written");
    }
    hsci(&["algorithm", "set", "none", "--for", "a/two"]).ok();
    mount.settle();
    assert_eq!(algorithms(&mount.path("a")), ["deflate:1", "lz4", "none"]);
    let run = || hsci(&["recompress", "a", "--algorithm", "zstd:9"]).ok();
    assert_eq!(run(), "a: 2 choices below it taken back\n");
    assert_eq!(algorithms(&mount.path("a")), ["zstd:9"]);
    assert_eq!(algorithms(&mount.path("other")), ["lz4"]);
    let states = || -> Vec<_> {
        let state = |name: &&str| {
            let meta = fs::metadata(mount.lower().join(name)).expect("stored");
            (meta.ino(), meta.blocks(), meta.ctime(), meta.ctime_nsec())
        };
        names.iter().chain(&["a", "a/b"]).map(state).collect()
    };
    let before = states();
    assert_eq!(run(), "");
    assert_eq!(states(), before, "a second run writes nothing");
    for (number, name) in names.iter().enumerate() {
        assert_eq!(fs::read_to_string(mount.path(name)).expect("read"), text(number));
    }
    hsci(&["recompress", "a", "--algorithm", "zstd:23"]).fails(2, &["zstd:23", "from -7 to 22"]);
    hsci(&["recompress", "/", "--algorithm", "lz4"]).fails(4, &["not inside a mount"]);
}

fn authors(dir: &Path) {
    let mount = Mount::new(dir, "files", "compressfs", "");
    let hsci = |arguments: &[&str]| Run::new(machine::hsci()).args(arguments).dir(dir).done();
    let listed = hsci(&["extensions"]).ok();
    assert!(listed.starts_with("compressfs  ") && listed.contains("\ncrypt  "), "{listed}");
    let shown = hsci(&["extensions", "compressfs"]).ok();
    for word in
        ["format 3", "the store alone", "algorithm", "default zstd", "rules of policies may set it"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let crypt = hsci(&["extensions", "crypt", "--json"]).ok();
    let crypt: Value = serde_json::from_str(&crypt).expect("JSON");
    assert_eq!(crypt["options"][0]["kind"], "secret");
    assert!(crypt["program"].as_str().is_some_and(|path| path.ends_with("/hsci-extension-crypt")));
    hsci(&["extensions", "compresfs"]).fails(2, &["did you mean `compressfs`"]);
    assert_eq!(hsci(&["conformance", "files"]).ok(), "files: all cases are kept\n");
    assert_eq!(fs::read_dir(mount.dir()).expect("a directory").count(), 0, "nothing is left");
    hsci(&["conformance", "nowhere"]).fails(4, &["nowhere"]);
    // Where nothing can be made.
    let proc = hsci(&["conformance", "/proc"]);
    assert!(proc.code > 0 && proc.err.lines().count() == 1, "{}", proc.err);
}

/// Documented exit codes are below this; a panic has another.
const CODES: i32 = 8;

fn nobody_reads(dir: &Path) {
    let mount = Mount::new(dir, "files", "compressfs", "");
    let root = mount.dir().to_str().expect("UTF-8");
    let program = |name: &str| machine::programs().join(name);
    let hsci = |arguments: &[&str]| {
        let mut command = Command::new(machine::hsci());
        command.args(arguments);
        command
    };
    let mut describe = Command::new(program("hsci-extension-compressfs"));
    describe.arg("describe");
    let mut usage = Command::new(program("hsci-extension-compressfs"));
    usage.args(["check"]).stdin(std::process::Stdio::null());
    let commands = [
        hsci(&[]),
        hsci(&["--help"]),
        hsci(&["mout"]),
        hsci(&["status"]),
        hsci(&["status", "--json", root]),
        hsci(&["usage", root]),
        hsci(&["doctor"]),
        hsci(&["check", root]),
        hsci(&["export", "/nonexistent", "/nonexistent/x"]),
        hsci(&["completions", "bash"]),
        hsci(&["policy", "check", "/nonexistent"]),
        hsci(&["down", "/nonexistent"]),
        describe,
        usage,
    ];
    for mut command in commands {
        let code = code_without_reader(&mut command);
        assert!((0..CODES).contains(&code), "{command:?} ended with {code}");
    }
}

/// The exit code of a program both of whose outputs are pipes that nobody reads.
fn code_without_reader(command: &mut Command) -> i32 {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let both = writer.try_clone().expect("a descriptor");
    command.stdin(Stdio::null()).stdout(both).stderr(writer);
    command.status().expect("it starts").code().unwrap_or(-1)
}

fn from_inside(dir: &Path) {
    let mut mount = Mount::new(dir, "files", "compressfs", "");
    Run::new(machine::hsci()).args(["unmount", "."]).dir(mount.dir()).ok();
    mount::hsci(["status"], mount.dir()).fails(4, &["not inside a mount"]);
    mount.mount();
}

fn no_store(dir: &Path) {
    let mount = Mount::new(dir, "files", "compressfs", "");
    mount::hsci(["check"], mount.dir()).fails(5, &["mounted", "unmount"]);
    let export = Run::new(machine::hsci()).arg("export").arg(mount.dir()).arg(dir.join("copy"));
    export.done().fails(5, &["mounted"]);
    let plain = dir.join("plain");
    fs::create_dir(&plain).expect("a directory");
    fs::write(plain.join("file"), "content").expect("a file");
    mount::hsci(["check"], &plain).fails(4, &["no store", "--extension"]);
    mount::hsci(["check", "--extension", "compressfs"], &plain).ok();
}

fn raw_names(dir: &Path) {
    let name = |text: &[u8]| dir.join(OsStr::from_bytes(text));
    let (lower, point, policy) = (name(b"lower-\xff"), name(b"mo\xfeunt"), name(b"\xff.policy"));
    fs::create_dir(&lower).expect("a directory");
    fs::create_dir(&point).expect("a directory");
    fs::write(&policy, "target t = \"/srv/a\" via compressfs\n").expect("a policy");
    let hsci = |arguments: &[&str], paths: &[&PathBuf]| {
        Run::new(machine::hsci()).args(arguments).args(paths)
    };
    let mount = Mount::at(&lower, &point, "compressfs", "");
    fs::write(mount.dir().join(OsStr::from_bytes(b"fi\xffle")), "content").expect("a file");
    for arguments in [["status", "--json"], ["usage", "--json"]] {
        let text = hsci(&arguments, &[&point]).ok();
        serde_json::from_str::<Value>(&text).expect("JSON");
    }
    hsci(&["algorithm", "list", "--json"], &[&point]).ok();
    drop(mount);
    let text = hsci(&["check", "--json"], &[&lower]).ok();
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["files"], 1);
    let copy = name(b"co\xffpy");
    hsci(&["export"], &[&lower, &copy]).ok();
    assert_eq!(fs::read(copy.join(OsStr::from_bytes(b"fi\xffle"))).expect("a copy"), b"content");
    hsci(&["policy", "check", "--json"], &[&policy]).ok();
}

fn completion(dir: &Path) {
    let mount = Mount::new(dir, "files", "compressfs", "");
    let root = mount.dir().to_str().expect("UTF-8");
    let begun = &root[..root.len() - 2];
    assert_eq!(offered(&["unmount", begun]), [root]);
    assert_eq!(offered(&["status", begun]), [root]);
    let extensions = offered(&["mount", "--extension", ""]);
    assert!(extensions.contains(&"compressfs".to_owned()), "{extensions:?}");
    let stacked = offered(&["mount", "--extension", "nullfs,compr"]);
    assert_eq!(stacked, ["nullfs,compressfs"]);
    let operations = offered(&["policy", "explain", "--op", "un"]);
    assert_eq!(operations, ["unlink"]);
    assert_eq!(offered(&["algorithm", "set", "zs"]), ["zstd"]);
    assert_eq!(offered(&["recompress", root, "--algorithm", "de"]), ["deflate", "default"]);
    let commands = offered(&[""]);
    assert!(commands.contains(&"mount".to_owned()), "{commands:?}");
    for brought in ["algorithm", "settle", "usage"] {
        assert!(commands.contains(&brought.to_owned()), "{commands:?}");
    }
    assert_eq!(offered(&["usage", "--js"]), ["--json"]);
    assert_eq!(offered(&["settle", begun]), [root]);
    assert_eq!(offered(&["algorithm", "g"]), ["get"]);
    for internal in ["supervise", "generate"] {
        assert!(!commands.contains(&internal.to_owned()), "{commands:?}");
    }
}

/// A program of an extension that brings a command, and one that does not answer.
fn brought(dir: &Path) {
    let program = |name: &str, script: &str| {
        let path = dir.join(format!("hsci-extension-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    };
    program(
        "polite",
        r#"case $1 in
describe) echo >> asked; echo '[{"name": "polite", "about": "", "format": 0, "options": [],
    "verbs": [{"name": "greet", "about": "Say hello"}, {"name": "mount", "about": "Say other things"}]}]' ;;
verb) shift; echo "$*"; exit 4 ;;
esac"#,
    );
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").expect("a path"));
    let asked = dir.join("asked");
    fs::write(&asked, "").expect("written");
    fs::set_permissions(&asked, fs::Permissions::from_mode(0o666)).expect("mode");
    let hsci = |words: &[&str]| {
        Run::as_user(ALICE, machine::hsci()).args(words).env("PATH", &path).dir(dir).done()
    };
    let greeted = hsci(&["greet", "--loud", "--", "you and  me"]);
    assert_eq!((greeted.out.as_str(), greeted.code), ("-- greet --loud -- you and  me\n", 4));
    assert_eq!(hsci(&["help", "greet"]).out, "-- greet --help\n");
    assert!(hsci(&["--help"]).ok().contains("greet        Say hello"));
    fs::write(&asked, "").expect("emptied");
    assert!(hsci(&["gret"]).err.contains("did you mean `greet`"));
    assert_eq!(fs::read_to_string(&asked).expect("read").lines().count(), 1, "asked once");
    assert!(hsci(&["mount", "--help"]).ok().starts_with("Mount a directory"), "ours stay ours");
    program("a-silent-one", "exec sleep 600");
    assert_eq!(hsci(&["greet"]).out, "-- greet\n", "one that is silent is left out");
}

/// What bash would offer for the last of the words after `hsci`.
fn offered(words: &[&str]) -> Vec<String> {
    let run = Run::new(machine::hsci()).env("HSCI_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    let run = run.env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let text = run.args(["--", "hsci"]).args(words).ok();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn manual(dir: &Path) {
    Run::new(machine::hsci()).arg("generate").arg(dir).ok();
    let pages = Run::shell("cd man && find . -type f | sort").dir(dir).ok();
    for page in [
        "man1/hsci.1",
        "man1/hsci-mount.1",
        "man1/hsci-policy-explain.1",
        "man1/hsci-usage.1",
        "man1/hsci-algorithm-set.1",
        "man5/hsci-compressfs.5",
        "man5/hsci-policy.5",
        "man8/mount.fuse.hsci.8",
    ] {
        assert!(pages.contains(page), "{page} is not in {pages}");
    }
    assert!(!pages.contains("supervise"), "{pages}");
    let usage = fs::read_to_string(dir.join("man/man1/hsci-usage.1")).expect("a page");
    assert!(usage.contains("several names"), "written by the extension's program: {usage}");
    machine::need("man");
    let checked =
        "for page in man/*/*; do man --warnings -E UTF-8 -l -Tutf8 -Z \"$page\"; done > all";
    let complaints = Run::shell(checked).env("MANWIDTH", "80").dir(dir).done();
    assert_eq!(complaints.err, "");
    let text = Run::new("man").args(["-l", "man/man5/hsci-policy.5"]).dir(dir).ok();
    assert!(text.contains("GRAMMAR") || text.contains("Grammar"), "{text}");
}

/// What a verb's help says, its page says.
fn manual_and_help(dir: &Path) {
    machine::need("man");
    Run::new(machine::hsci()).arg("generate").arg(dir).ok();
    let mut pages = 0;
    for entry in fs::read_dir(dir.join("man/man1")).expect("pages") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(OsStr::to_str).expect("a name");
        let verbs = name.split('-').skip(1);
        let help = Run::new(machine::hsci()).args(verbs).arg("--help").ok();
        let page = Run::new("man").arg("-l").arg(&path).env("MANWIDTH", "1000").ok();
        let missing = missing_lines(&help, &page);
        assert!(missing.is_empty(), "{name}: {missing:#?}");
        pages += 1;
    }
    assert!(pages > 25, "{pages} pages");
    let shorter = missing_lines("Options:\n  --one  One\n  --two  Two\n", "--one One");
    assert_eq!(shorter, ["--two", "Two"]);
}

/// Lines of a help text that a page of the manual lacks. Usage, defaults and possible values are laid out otherwise.
fn missing_lines(help: &str, page: &str) -> Vec<String> {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = plain(page);
    let mut section = "";
    let mut missing = Vec::new();
    for line in help.lines() {
        if !line.starts_with(' ') && (line.ends_with(':') || line.starts_with("Usage:")) {
            section = line;
            continue;
        }
        let text = match section {
            _ if section.starts_with("Usage:") => "",
            "Commands:" => line.trim().split_once("  ").map_or("", |(_, about)| about),
            _ => line.trim(),
        };
        let text = ["[default:", "[possible values:"]
            .iter()
            .fold(text, |text, end| text.split(end).next().unwrap_or(text));
        // What is named, and what is said of it.
        for part in text.split("  ").map(plain).filter(|part| !part.is_empty()) {
            let part = part.replace(">...", ">");
            let part = part.strip_prefix("- ").unwrap_or(&part);
            let is_there = if part.starts_with('<') && part.ends_with('>') {
                part.split(' ').all(|argument| page.contains(argument.trim_matches(['<', '>'])))
            } else {
                page.contains(part)
            };
            if !is_there {
                missing.push(part.to_owned());
            }
        }
    }
    missing
}

/// Every option with its default stands in the table of its extension's page.
fn options(_: &Path) {
    let program = machine::programs().join("hsci-extension-compressfs");
    let described: Value =
        serde_json::from_str(&Run::new(program).arg("describe").ok()).expect("JSON");
    let all = described.as_array().expect("extensions");
    let compressfs = all.iter().find(|one| one["name"] == "compressfs").expect("compressfs");
    let page = machine::project().join("docs/src/reference/compressfs.md");
    let page = fs::read_to_string(page).expect("a page");
    let options = compressfs["options"].as_array().expect("options");
    let text = |option: &Value, key: &str| option[key].as_str().unwrap_or_default().to_owned();
    for option in options {
        let (name, default) = (text(option, "name"), text(option, "default"));
        let row = format!("| `{name}` | `{default}` |");
        assert!(page.contains(&row), "compressfs.md has no row {row}");
    }
    assert!(options.len() > 3);
}
