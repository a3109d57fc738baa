//! Real files found on the machine: of each kind, and a source tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::contenders::run;

/// Files of one kind.
pub(crate) struct Corpus {
    /// What they are.
    pub(crate) name: &'static str,
    /// Their paths.
    pub(crate) files: Vec<PathBuf>,
    /// The sum of their lengths in bytes.
    pub(crate) bytes: u64,
}

struct Kind {
    name: &'static str,
    places: &'static [&'static str],
    fits: fn(&Path, u64) -> bool,
}

const SOURCES: Kind = Kind {
    name: "source tree",
    places: &["/root/.cargo/registry/src", "/usr/include", "/usr/lib/python3", "/usr/src"],
    fits: |path, _| has_end(path, &["rs", "toml", "md", "h", "hpp", "c", "py", "txt"]),
};

const LOGS: &str = "logs";

const REGISTRY: Kind = Kind {
    name: "cargo registry",
    places: &["/root/.cargo/registry/src", "/usr/local/cargo/registry/src"],
    fits: |_, _| true,
};

const KINDS: [Kind; 6] = [
    Kind {
        name: "shared libraries",
        places: &["/usr/lib", "/lib"],
        fits: |path, bytes| has_part(path, ".so") && bytes > 16 << 10,
    },
    Kind {
        name: LOGS,
        places: &["/var/log"],
        fits: |path, bytes| {
            bytes > 16 << 10 && (has_end(path, &["log"]) || path.starts_with("/var/log/apt"))
        },
    },
    Kind {
        name: "JSON",
        places: &["/usr", "/opt", "/root", "/var", "/home"],
        fits: |path, bytes| has_end(path, &["json"]) && bytes > 4 << 10,
    },
    REGISTRY,
    Kind {
        name: "media",
        places: &["/usr/share", "/usr/lib", "/usr/local", "/root"],
        fits: |path, _| has_end(path, &["png", "jpg", "jpeg", "ogg", "woff2", "ttf", "mp4", "gif"]),
    },
    Kind {
        name: "compressed already",
        places: &["/root/.cargo/registry/cache", "/usr/share", "/var/cache"],
        fits: |path, bytes| {
            bytes > 8 << 10 && has_end(path, &["crate", "deb", "gz", "xz", "zip", "whl", "zst"])
        },
    },
];

/// Every kind of which something is found, at most `limit` bytes of each; logs in a directory of their own as well.
pub(crate) fn find(limit: u64, logs: Option<&Path>) -> Vec<Corpus> {
    let find = |kind: &Kind| kind.find(limit, logs.filter(|_| kind.name == LOGS));
    KINDS.iter().map(find).filter(|corpus| !corpus.files.is_empty()).collect()
}

/// Their names.
#[cfg(test)]
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

impl Kind {
    fn find(&self, limit: u64, first: Option<&Path>) -> Corpus {
        let mut corpus = Corpus { name: self.name, files: Vec::new(), bytes: 0 };
        let all = first.into_iter().chain(self.places.iter().map(Path::new));
        let places = all.filter(|place| place.is_dir());
        let walks = places.flat_map(|place| {
            WalkDir::new(place).same_file_system(true).sort_by_file_name().into_iter()
        });
        for entry in walks.filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
            let Ok(metadata) = entry.metadata() else { continue };
            if corpus.bytes + metadata.len() <= limit
                && metadata.len() > 0
                && (self.fits)(entry.path(), metadata.len())
            {
                corpus.bytes += metadata.len();
                corpus.files.push(entry.into_path());
            }
        }
        corpus
    }
}

impl Corpus {
    /// Copies the files below a directory, keeping their paths.
    pub(crate) fn copy_to(&self, directory: &Path) -> Result<()> {
        for file in &self.files {
            let target = directory.join(file.strip_prefix("/")?);
            fs::create_dir_all(target.parent().unwrap_or(directory))?;
            fs::copy(file, target)?;
        }
        Ok(())
    }
}

fn has_part(path: &Path, part: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(part))
}

fn has_end(path: &Path, ends: &[&str]) -> bool {
    path.extension().is_some_and(|end| ends.iter().any(|known| end == *known))
}

/// A source tree, staged as a directory and as an archive of it.
pub(crate) struct Tree {
    /// The directory that holds it, under the name `tree`.
    pub(crate) stage: PathBuf,
    pub(crate) archive: PathBuf,
    /// What it is.
    pub(crate) name: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Where Debian's package `linux-source` puts the sources.
const LINUX: &str = "/usr/src";

impl Tree {
    /// Stages an archive or directory that was named, or the sources of Linux where all files are
    /// wanted, or else those that cargo has downloaded.
    pub(crate) fn stage(named: Option<&Path>, scratch: &Path, most_files: usize) -> Result<Self> {
        let stage = scratch.join("stage");
        let (root, archive) = (stage.join("tree"), scratch.join("tree.tar"));
        fs::create_dir_all(&root)?;
        let linux = || find_linux().filter(|_| most_files == usize::MAX);
        let (from, name) = match named.map(Path::to_owned).or_else(linux) {
            Some(from) => {
                let name = from.file_name().context("name of the tree")?.to_string_lossy();
                (Some(from.clone()), name.into_owned())
            }
            None => (None, "sources found on the machine".to_owned()),
        };
        match from {
            Some(from) if from.is_file() => {
                let mut tar = Command::new("tar");
                run(tar.arg("-xf").arg(from).arg("-C").arg(&root))?;
            }
            Some(from) => {
                run(Command::new("cp").arg("-a").arg(from).arg(&root))?;
            }
            None => {
                let mut sources = SOURCES.find(u64::MAX, None);
                sources.files.truncate(most_files);
                sources.copy_to(&root)?;
            }
        }
        let mut tar = Command::new("tar");
        run(tar.arg("-cf").arg(&archive).arg("-C").arg(&stage).arg("tree"))?;
        let (files, bytes) = count(&root)?;
        Ok(Self { stage, archive, name, files, bytes })
    }
}

fn find_linux() -> Option<PathBuf> {
    let found = fs::read_dir(LINUX).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let is_source = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("linux-source-") && name.contains(".tar")
    };
    found.filter(is_source).max()
}

/// Regular files below a directory, and their bytes.
fn count(directory: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in WalkDir::new(directory) {
        let entry = entry?;
        if entry.file_type().is_file() {
            files += 1;
            bytes += entry.metadata()?.len();
        }
    }
    Ok((files, bytes))
}
