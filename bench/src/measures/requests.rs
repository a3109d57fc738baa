//! Requests by kind, counted by the kernel's own tracepoint, for any FUSE file system.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::contenders::{run, unmount};

/// A trace buffer of this run alone.
pub(crate) struct Tracer {
    tracing: PathBuf,
    instance: PathBuf,
}

/// Room for a million requests and more on each core.
const BUFFER_KIB: &str = "65536";

impl Tracer {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        let tracing = scratch.join("tracing");
        fs::create_dir(&tracing)?;
        run(Command::new("mount").args(["-t", "tracefs", "none"]).arg(&tracing))?;
        let instance = tracing.join(format!("instances/hsci-bench-{}", std::process::id()));
        let tracer = Self { tracing, instance };
        fs::create_dir(&tracer.instance)?;
        if !tracer.event("enable").exists() {
            bail!("this kernel has no tracepoint fuse:fuse_request_send");
        }
        fs::write(tracer.instance.join("buffer_size_kb"), BUFFER_KIB)?;
        Ok(tracer)
    }

    fn event(&self, file: &str) -> PathBuf {
        self.instance.join("events/fuse/fuse_request_send").join(file)
    }

    /// Counts the requests of one connection until it is asked.
    pub(super) fn watch(&self, connection: u32) -> Result<Trace<'_>> {
        fs::write(self.instance.join("trace"), "")?;
        fs::write(self.event("filter"), format!("connection == {connection}"))?;
        fs::write(self.event("enable"), "1")?;
        Ok(Trace(self))
    }
}

/// Counting, until this is dropped.
pub(super) struct Trace<'a>(&'a Tracer);

impl Trace<'_> {
    /// Requests by name; `None` where the buffer was too small for them.
    pub(super) fn counts(&self) -> Option<BTreeMap<String, u64>> {
        fs::write(self.0.event("enable"), "0").ok()?;
        let text = BufReader::new(fs::File::open(self.0.instance.join("trace")).ok()?);
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            let line = line.ok()?;
            if let Some((written, all)) = line
                .strip_prefix("# entries-in-buffer/entries-written: ")
                .and_then(|numbers| numbers.split_whitespace().next()?.split_once('/'))
                && written != all
            {
                return None;
            }
            let name = line.split_once("(FUSE_").and_then(|(_, rest)| rest.split(')').next());
            if let Some(name) = name {
                *counts.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        Some(counts)
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        let _ = fs::write(self.0.event("enable"), "0");
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = fs::write(self.event("enable"), "0");
        let _ = fs::remove_dir(&self.instance);
        unmount(&self.tracing);
    }
}
