//! A log that is rotated while it is written, in both ways of logrotate.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use hsci_tests::Random;

use super::Client;

pub(super) struct Rotate {
    log: PathBuf,
    rotated: PathBuf,
    file: File,
    random: Random,
    /// What the log has since it was rotated.
    bytes: Vec<u8>,
    lines: u64,
}

impl Rotate {
    pub(super) fn new(dir: &Path, random: Random) -> Self {
        let (log, rotated) = (dir.join("log"), dir.join("log.1"));
        let file = Self::open(&log);
        Self { log, rotated, file, random, bytes: Vec::new(), lines: 0 }
    }

    fn open(log: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(log).expect("open")
    }

    fn write_line(&mut self) {
        let line = format!("{:08} a line of a log, and what it says {:400}\n", self.lines, "");
        self.lines += 1;
        self.file.write_all(line.as_bytes()).expect("append");
        self.bytes.extend(line.into_bytes());
    }

    /// The program goes on with the old file until it opens the log again.
    fn rename(&mut self) {
        fs::rename(&self.log, &self.rotated).expect("rename");
        self.write_line();
        self.file = Self::open(&self.log);
    }

    /// The program goes on with the file, which is empty.
    fn copy_and_truncate(&self) {
        fs::copy(&self.log, &self.rotated).expect("copy");
        self.file.set_len(0).expect("truncate");
    }
}

impl Client for Rotate {
    fn step(&mut self) -> u32 {
        self.write_line();
        if self.random.once_in(500) {
            match self.random.once_in(2) {
                true => self.rename(),
                false => self.copy_and_truncate(),
            }
            let found = fs::read(&self.rotated).expect("read");
            assert!(found == self.bytes, "{} bytes of {}", found.len(), self.bytes.len());
            self.bytes.clear();
        }
        1
    }

    fn finish(&mut self) {
        let found = fs::read(&self.log).expect("read");
        assert!(found == self.bytes, "{} bytes of {}", found.len(), self.bytes.len());
    }
}
