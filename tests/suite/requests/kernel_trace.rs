//! The kernel's tracepoint `fuse_request_send`, filtered by connection.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hsci_tests::{Run, machine, skip, sys};

/// A trace buffer of this test alone.
pub(super) struct KernelTrace {
    instance: PathBuf,
}

impl KernelTrace {
    /// Mounts the tracing file system where nobody else sees it, and makes a buffer; skips the test
    /// where the kernel has no such tracepoint.
    pub(super) fn new(dir: &Path) -> Self {
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
        let trace = Self { instance };
        if !trace.event("enable").exists() {
            skip("this kernel has no tracepoint fuse:fuse_request_send");
        }
        trace
    }

    fn event(&self, file: &str) -> PathBuf {
        self.instance.join("events/fuse/fuse_request_send").join(file)
    }

    /// Starts to trace one connection, named by the minor device number of its mount.
    pub(super) fn watch(&self, connection: u64) {
        fs::write(self.event("filter"), format!("connection == {connection}")).expect("filter");
        fs::write(self.event("enable"), "1").expect("enable");
    }

    pub(super) fn clear(&self) {
        fs::write(self.instance.join("trace"), "").expect("clear");
    }

    /// Requests since the last clear, by name.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let text = fs::read_to_string(self.instance.join("trace")).expect("trace");
        let mut counts = BTreeMap::new();
        let names = text.lines().filter_map(|line| line.split_once("(FUSE_")?.1.split(')').next());
        for name in names {
            *counts.entry(name.to_owned()).or_insert(0) += 1;
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
