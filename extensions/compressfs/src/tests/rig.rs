//! The extension, started on a disk.

use std::ffi::OsStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hsci_extension::options::Options;
use hsci_extension::{
    Call, Checked, Environment, Extension, FallocateFlags, FileSystem, Finding, Ino, Kernel,
    Result, SetAttr, XattrFlags,
};
use serde_json::Value;

use super::disk::Disk;
use crate::CompressFs;
use crate::choice::ATTRIBUTE;

struct NoKernel;

impl Kernel for NoKernel {
    fn invalidate_attributes(&self, _: Ino) {}
    fn invalidate_content(&self, _: Ino) {}
    fn invalidate_entry(&self, _: Ino, _: &OsStr) {}
    fn deleted(&self, _: Ino, _: &OsStr, _: Ino) {}
}

/// A running extension. It is shut down when it goes.
pub(super) struct Rig {
    pub(super) layer: Arc<dyn FileSystem>,
}

/// A user's call.
pub(super) fn user(uid: u32) -> Call {
    Call::new(uid, uid, 0)
}

fn environment(disk: &Disk, given: &[(&str, &str)], read_only: bool) -> Environment {
    let options = [
        ("settle", "3600"),
        ("scan", "no"),
        ("threads", "2"),
        ("commit", "0"),
        ("chunk", "32K"),
        ("segment", "64K"),
    ];
    let options = options.into_iter().chain(given.iter().copied());
    let options = Options::check(&CompressFs::options(), options).expect("valid options");
    let disk = Arc::new(disk.clone());
    let environment = Environment::new(disk.clone(), disk, options, Arc::new(NoKernel));
    if read_only { environment.read_only() } else { environment }
}

impl Rig {
    pub(super) fn start(disk: &Disk, options: &[(&str, &str)]) -> Result<Self> {
        let layer = CompressFs::start(&environment(disk, options, false))?;
        Ok(Self { layer })
    }

    pub(super) fn read_only(disk: &Disk) -> Result<Self> {
        let layer = CompressFs::start(&environment(disk, &[], true))?;
        Ok(Self { layer })
    }

    /// Settles all files; returns when that is done.
    pub(super) fn settle(&self) {
        self.layer.control_set(&user(0), Ino::ROOT, "settle", b"").expect("settling begins");
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let progress = self.control(Ino::ROOT, "settle");
            if progress["running"] == false {
                return;
            }
            assert!(Instant::now() < deadline, "settling does not end: {progress}");
            thread::sleep(Duration::from_micros(200));
        }
    }

    pub(super) fn control(&self, ino: Ino, name: &str) -> Value {
        self.control_as(0, ino, name)
    }

    pub(super) fn control_as(&self, uid: u32, ino: Ino, name: &str) -> Value {
        let answer = self.layer.control_get(&user(uid), ino, name).expect("an answer");
        serde_json::from_slice(&answer).expect("JSON")
    }

    /// `raw`, `sealed` or `log`.
    pub(super) fn form(&self, ino: Ino) -> String {
        self.control(ino, "usage")["form"].as_str().expect("a form").to_owned()
    }

    pub(super) fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.layer.write(&user(1000), ino, offset, data)
    }

    pub(super) fn set_len(&self, ino: Ino, len: u64) -> Result<()> {
        let changes = SetAttr::of_size(len);
        self.layer.setattr(&user(1000), ino, &changes).map(drop)
    }

    pub(super) fn punch(&self, ino: Ino, offset: u64, len: u64) -> Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.layer.fallocate(&user(1000), ino, mode, offset, len)
    }

    pub(super) fn zero(&self, ino: Ino, offset: u64, len: u64) -> Result<()> {
        self.layer.fallocate(&user(1000), ino, FallocateFlags::ZERO_RANGE, offset, len)
    }

    pub(super) fn sync(&self, ino: Ino) -> Result<()> {
        self.layer.fsync(&user(1000), ino, true)
    }

    pub(super) fn len(&self, ino: Ino) -> Result<u64> {
        Ok(self.layer.getattr(&user(0), ino)?.size)
    }

    pub(super) fn read(&self, ino: Ino, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xee; len];
        let read = self.layer.read(&user(0), ino, offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(super) fn read_all(&self, ino: Ino) -> Result<Vec<u8>> {
        self.read(ino, 0, self.len(ino)? as usize)
    }

    /// Sets the choice of a file.
    pub(super) fn choose(&self, uid: u32, ino: Ino, algorithm: &str) -> Result<()> {
        let name = OsStr::new(ATTRIBUTE);
        self.layer.setxattr(&user(uid), ino, name, algorithm.as_bytes(), XattrFlags::empty())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.layer.shutdown();
    }
}

/// Checks a disk that nobody uses.
pub(super) fn check(disk: &Disk) -> (Checked, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut report = |finding| findings.push(finding);
    let checked = CompressFs::check(&environment(disk, &[], true), &mut report, &mut |_| {});
    (checked.expect("the check runs"), findings)
}

/// Repairs a disk that nobody uses.
pub(super) fn repair(disk: &Disk) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut report = |finding| findings.push(finding);
    let repaired = CompressFs::repair(&environment(disk, &[], false), &mut report, &mut |_| {});
    repaired.expect("the repair runs");
    findings
}
