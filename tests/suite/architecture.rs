//! The table of `ARCHITECTURE.md`: who must not know whom. Kept by the edges between crates, and by
//! what the sources name.

use std::path::{Path, PathBuf};

use hsci_tests::{Run, Test, machine};
use serde_json::Value;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "architecture::crates_know_only_who_they_may", seconds: 60, body: crates },
    Test { name: "architecture::sources_name_only_who_they_may", seconds: 60, body: sources },
    Test { name: "architecture::the_page_lists_every_part", seconds: 60, body: parts },
    Test { name: "architecture::unsafe_code_stays_in_sys_modules", seconds: 60, body: unsafe_code },
    Test {
        name: "architecture::the_contract_names_no_crate_of_others",
        seconds: 60,
        body: contract,
    },
    Test { name: "architecture::the_checker_sees_a_breach", seconds: 60, body: checker },
];

const CODECS: &[&str] = &["zstd", "zstd-safe", "lz4_flex", "lz4", "flate2"];
const EXTENSIONS: &[&str] = &["hsci-compressfs", "hsci-nullfs", "hsci-xor"];

/// What reaches files, kernels and eBPF.
const SYSTEM: &[&str] = &["aya", "aya-obj", "libc", "rustix", "fuser", "walkdir", "tempfile"];

/// A crate, and what it must not depend on, directly and outside of its tests.
const CRATES: &[(&str, &[&[&str]])] = &[
    (
        "hsci-extension",
        &[&["fuser", "hsci-host", "hsci-engine", "hsci-language", "hsci"], EXTENSIONS, CODECS],
    ),
    ("hsci-host", &[&["hsci", "hsci-command"], EXTENSIONS, CODECS]),
    ("hsci-command", &[&["hsci", "fuser", "hsci-compressfs-commands"], EXTENSIONS, CODECS]),
    ("hsci-compressfs-commands", &[&["hsci", "fuser"], CODECS]),
    (
        "hsci-protocol",
        &[
            SYSTEM,
            &["hsci", "hsci-host", "hsci-extension", "hsci-engine", "hsci-kernel", "hsci-language"],
            EXTENSIONS,
            CODECS,
        ],
    ),
    ("hsci-compressfs", &[&["fuser", "hsci-host", "hsci", "hsci-nullfs", "hsci-xor"]]),
    ("hsci-nullfs", &[&["fuser", "hsci-host", "hsci", "hsci-compressfs", "hsci-xor"], CODECS]),
    ("hsci-xor", &[&["fuser", "hsci-host", "hsci", "hsci-compressfs", "hsci-nullfs"], CODECS]),
    ("hsci", &[&["fuser"], CODECS]),
    (
        "hsci-kernel",
        &[&["hsci-language", "hsci-extension", "hsci-host", "hsci", "fuser"], EXTENSIONS],
    ),
    ("hsci-abi", &[SYSTEM, &["hsci-language", "hsci-engine", "hsci-kernel", "hsci-host", "hsci"]]),
    ("hsci-engine", &[SYSTEM, &["hsci-kernel", "hsci-extension", "hsci-host", "hsci"], EXTENSIONS]),
    (
        "hsci-language",
        &[
            SYSTEM,
            &["hsci-engine", "hsci-kernel", "hsci-extension", "hsci-host", "hsci"],
            EXTENSIONS,
        ],
    ),
];

/// Part of the sources: paths that start with one of the first list and none of the second must not
/// name what the third lists.
struct Part {
    below: &'static [&'static str],
    except: &'static [&'static str],
    names: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part {
        below: &["framework/extension/src"],
        except: &[
            "framework/extension/src/content/committer",
            "framework/extension/src/content/settler",
            "framework/extension/src/testkit",
        ],
        names: &["fuser", "OwnedFd", "RawFd", "AsFd", "BorrowedFd", "thread", "unsafe"],
    },
    Part {
        below: &["framework/host/src"],
        except: &["framework/host/src/fuse"],
        names: &["fuser"],
    },
    Part {
        below: &["framework/host/src"],
        except: &[],
        names: &["hsci_compressfs", "hsci_nullfs", "hsci_xor", "zstd", "lz4", "deflate", "gzip"],
    },
    Part {
        below: &["framework/host/src/supervisor"],
        except: &[],
        names: &["Extension", "Content", "FileSystem"],
    },
    Part {
        below: &["extensions/compressfs/src"],
        except: &["extensions/compressfs/src/main.rs"],
        names: &["fuser", "hsci_host", "hsci_nullfs", "hsci_xor", "OwnedFd", "RawFd"],
    },
    // Only the layer above the content names inodes, and what goes through stores that are not mounted.
    Part {
        below: &["extensions/compressfs/src"],
        except: &[
            "extensions/compressfs/src/choice_layer",
            "extensions/compressfs/src/check",
            "extensions/compressfs/src/repair",
        ],
        names: &["Ino"],
    },
    Part {
        below: &["extensions/compressfs/src/format", "extensions/compressfs/src/codec"],
        except: &[],
        names: &["fs", "Mutex", "RwLock", "parking_lot", "Instant", "SystemTime", "thread"],
    },
    Part {
        below: &["filters/abi/src", "filters/language/src", "filters/engine/src"],
        except: &[],
        names: &["aya", "ebpf", "bpf", "File", "fs", "thread", "unsafe"],
    },
    // What a path leads to is found by the module of places, once: elsewhere only what root alone can change is
    // named, or a link in `/proc`.
    Part {
        below: &[
            "src",
            "framework/command/src",
            "framework/host/src",
            "extensions/compressfs-commands/src",
        ],
        except: &[
            "framework/host/src/control",
            "framework/host/src/place",
            "framework/host/src/sandbox/calls",
            "framework/host/src/supervisor/holders",
            "framework/host/src/supervisor/writers",
            "framework/host/src/sys/scheduling",
            "src/commands/doctor",
            "src/extension_program",
        ],
        names: &[
            "canonicalize",
            "exists",
            "is_dir",
            "is_file",
            "lgetxattr",
            "lremovexattr",
            "lsetxattr",
            "read_dir",
            "symlink_metadata",
            "try_exists",
        ],
    },
    Part {
        below: &["src"],
        except: &["src/bin", "src/extensions"],
        names: &[
            "hsci_compressfs",
            "hsci_compressfs_commands",
            "hsci_nullfs",
            "hsci_xor",
            "fuser",
            "unsafe",
        ],
    },
];

fn crates(_: &Path) {
    let metadata = metadata();
    let mut breaches = Vec::new();
    for (name, forbidden) in CRATES {
        let packages = metadata["packages"].as_array().expect("packages");
        let Some(package) = packages.iter().find(|package| package["name"] == *name) else {
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("a name");
            let tests_only = dependency["kind"] == "dev";
            if !tests_only && forbidden.iter().any(|list| list.contains(&on)) {
                breaches.push(format!("{name} depends on {on}"));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// Each crate lies in a folder of the table of parts, under its own name, and each folder is there.
fn parts(_: &Path) {
    let project = machine::project();
    let page = std::fs::read_to_string(project.join("ARCHITECTURE.md")).expect("the page");
    let rows: Vec<(&str, &str)> = page.lines().filter_map(row).collect();
    assert!(rows.len() > 15, "{rows:?}");
    for (folder, _) in &rows {
        let folder = folder.trim_end_matches("/*/");
        assert!(project.join(folder).is_dir(), "{folder} is not there");
    }
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let folder = manifest.parent().and_then(|dir| dir.strip_prefix(project).ok());
        let folder = folder.expect("a folder of the project");
        let name = package["name"].as_str().expect("a name");
        let is_its = |(listed, crate_name): &(&str, &str)| match listed.strip_suffix("/*/") {
            Some(around) => folder.parent() == Some(Path::new(around)),
            None => *crate_name == name && (name == "hsci" || folder == Path::new(listed)),
        };
        assert!(rows.iter().any(is_its), "{name} in {} is in no row", folder.display());
    }
}

/// The folder of a row of the table of parts, and its crate.
fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.strip_prefix("| `")?.split('|');
    let folder = cells.next()?.trim().strip_suffix('`')?;
    Some((folder, cells.next()?.trim().trim_matches('`'))).filter(|_| folder.ends_with('/'))
}

/// What others build on names no crate but the contract's own and std's, so that it lasts as long as these do.
fn contract(_: &Path) {
    let list = machine::project().join("framework/extension/api.txt");
    let list = std::fs::read_to_string(list).expect("the list of the contract");
    assert!(list.lines().count() > 500, "the list is whole");
    let foreign: Vec<_> =
        list.lines().filter(|line| roots(line).any(|root| !OWN.contains(&root))).collect();
    assert!(foreign.is_empty(), "the contract names others' types: {foreign:#?}");
    assert_eq!(
        roots("pub fn a::f(&self) -> <b::C as d::E>::F, Self::G").collect::<Vec<_>>(),
        ["a", "b", "d"]
    );
}

const OWN: &[&str] = &["alloc", "core", "hsci_extension", "std"];

/// The crates that a line of the list names: what paths begin with, unless it is a type parameter.
fn roots(line: &str) -> impl Iterator<Item = &str> {
    let paths = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let roots = paths.filter_map(|path| Some(path.split_once("::")?.0));
    roots.filter(|root| root.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn metadata() -> Value {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let text = Run::new("cargo").args(arguments).dir(machine::project()).ok();
    serde_json::from_str(&text).expect("cargo metadata prints JSON")
}

fn sources(_: &Path) {
    let files = rust_files();
    let mut breaches = Vec::new();
    for part in PARTS {
        for (path, text) in files.iter().filter(|(path, _)| part.holds(path)) {
            breaches.extend(
                names(text, part.names)
                    .map(|(line, name)| format!("{}:{line} names `{name}`", path.display())),
            );
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

impl Part {
    fn holds(&self, path: &Path) -> bool {
        let among = |list: &[&str]| {
            list.iter()
                .any(|part| path.starts_with(part) || path == Path::new(&format!("{part}.rs")))
        };
        let is_test = path.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs");
        among(self.below) && !among(self.except) && !is_test
    }
}

fn unsafe_code(_: &Path) {
    let misplaced = |path: &Path| {
        let sys = path.file_name().is_some_and(|name| name == "sys.rs");
        !sys && !path.components().any(|part| part.as_os_str() == "sys")
    };
    let mut breaches = Vec::new();
    for (path, text) in rust_files().iter().filter(|(path, _)| misplaced(path)) {
        for (line, _) in names(text, &["unsafe"]) {
            breaches.push(format!("{}:{line}", path.display()));
        }
    }
    assert!(breaches.is_empty(), "unsafe code outside of a sys module: {breaches:#?}");
}

/// All sources of the project, by their path in it.
fn rust_files() -> Vec<(PathBuf, String)> {
    let root = machine::project();
    let listed = Run::new("git").args(["ls-files", "*.rs"]).dir(root).done();
    let paths: Vec<PathBuf> = if listed.code == 0 {
        listed.out.lines().map(PathBuf::from).filter(|path| root.join(path).exists()).collect()
    } else {
        let below = |entry: &walkdir::DirEntry| entry.file_name() != "target";
        let walk = walkdir::WalkDir::new(root).into_iter().filter_entry(below).flatten();
        let rust = walk.filter(|entry| entry.path().extension().is_some_and(|end| end == "rs"));
        rust.map(|entry| entry.path().strip_prefix(root).expect("below").to_owned()).collect()
    };
    assert!(paths.len() > 20, "the sources were not found");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(root.join(&path)).expect("a source");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// Where a source names one of `wanted` as a whole word, outside of comments, of texts and of its
/// tests at the end.
fn names<'a>(text: &'a str, wanted: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    let product =
        text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    product.flat_map(move |(index, line)| {
        let code = without_texts(line.split("//").next().unwrap_or_default());
        let words: Vec<String> =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        let found = wanted.iter().filter(move |name| words.iter().any(|word| word == **name));
        found.map(move |name| (index + 1, *name))
    })
}

fn without_texts(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

fn checker(_: &Path) {
    let text = "use fuser::Session; // parking_lot\nlet a = \"zstd\";\n#[cfg(test)]\nuse zstd;\n";
    let found: Vec<_> = names(text, &["fuser", "parking_lot", "zstd"]).collect();
    assert_eq!(found, [(1, "fuser")]);
    let part = &PARTS[1];
    assert!(part.holds(Path::new("framework/host/src/lower.rs")));
    assert!(!part.holds(Path::new("framework/host/src/fuse.rs")));
    assert!(!part.holds(Path::new("framework/host/src/fuse/reply.rs")));
}
