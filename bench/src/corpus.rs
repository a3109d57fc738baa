//! Real files found on the machine, by kind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use walkdir::WalkDir;

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

const KINDS: [Kind; 5] = [
    Kind {
        name: "shared libraries",
        places: &["/usr/lib", "/lib"],
        fits: |path, bytes| has_part(path, ".so") && bytes > 16 << 10,
    },
    Kind {
        name: "logs",
        places: &["/var/log", "/tmp", "/var/tmp"],
        fits: |path, bytes| {
            bytes > 16 << 10 && (has_end(path, &["log"]) || path.starts_with("/var/log/apt"))
        },
    },
    Kind {
        name: "JSON",
        places: &["/usr", "/opt", "/root", "/var", "/home"],
        fits: |path, bytes| has_end(path, &["json"]) && bytes > 4 << 10,
    },
    Kind {
        name: "source tree",
        places: &["/root/.cargo/registry/src", "/usr/include", "/usr/lib/python3", "/usr/src"],
        fits: |path, _| has_end(path, &["rs", "toml", "md", "h", "hpp", "c", "py", "txt"]),
    },
    Kind {
        name: "compressed already",
        places: &["/root/.cargo/registry/cache", "/usr/share", "/var/cache"],
        fits: |path, bytes| {
            bytes > 8 << 10
                && has_end(path, &["crate", "deb", "png", "jpg", "gz", "xz", "ogg", "zip", "whl"])
        },
    },
];

/// Every kind of which something is found, at most `limit` bytes of each.
pub(crate) fn find(limit: u64) -> Vec<Corpus> {
    KINDS.iter().map(|kind| kind.find(limit)).filter(|corpus| !corpus.files.is_empty()).collect()
}

impl Kind {
    fn find(&self, limit: u64) -> Corpus {
        let mut corpus = Corpus { name: self.name, files: Vec::new(), bytes: 0 };
        let places = self.places.iter().map(Path::new).filter(|place| place.is_dir());
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
