//! One of the kernel's tracepoints, filtered.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hsci_tests::{Run, machine, skip, sys};

/// A trace buffer of this test alone.
pub(super) struct KernelTrace {
    instance: PathBuf,
    event: &'static str,
}

impl KernelTrace {
    /// Mounts the tracing file system where nobody else sees it, and makes a buffer; skips the test
    /// where the kernel has no such tracepoint.
    pub(super) fn new(dir: &Path, event: &'static str) -> Self {
        machine::need_root();
        sys::own_mounts();
        let tracing = dir.join("tracing");
        fs::create_dir(&tracing).expect("directory");
        let mounted = Run::new("mount").args(["-t", "tracefs", "none"]).arg(&tracing).done();
        if mounted.code != 0 {
            skip(&format!("no tracefs: {}", mounted.err.trim()));
        }
        let instance = tracing.join(format!("instances/hsci-{}", std::process::id()));
        if let Err(error) = fs::create_dir(&instance) {
            skip(&format!("no trace buffer of one's own: {error}"));
        }
        let trace = Self { instance, event };
        if !trace.event("enable").exists() {
            skip(&format!("this kernel has no tracepoint {event}"));
        }
        trace
    }

    fn event(&self, file: &str) -> PathBuf {
        self.instance.join("events").join(self.event).join(file)
    }

    /// Starts to trace what a condition on the event's fields holds for.
    pub(super) fn watch(&self, filter: &str) {
        fs::write(self.event("filter"), filter).expect("filter");
        fs::write(self.event("enable"), "1").expect("enable");
    }

    pub(super) fn clear(&self) {
        fs::write(self.instance.join("trace"), "").expect("clear");
    }

    /// Events since the last clear, under the names that lines are given.
    pub(super) fn counts(&self, name: impl Fn(&str) -> Option<String>) -> BTreeMap<String, u64> {
        let text = fs::read_to_string(self.instance.join("trace")).expect("trace");
        let mut counts = BTreeMap::new();
        for name in text.lines().filter_map(name) {
            *counts.entry(name).or_insert(0) += 1;
        }
        counts
    }
}

impl Drop for KernelTrace {
    fn drop(&mut self) {
        let _ = fs::write(self.event("enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}
