//! The file systems under test, each on a loop device of its own; gone when the value is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Three mounted file systems of the same size.
pub(crate) struct Filesystems {
    program: PathBuf,
    /// ext4, uncompressed.
    pub(crate) ext4: Loop,
    /// btrfs with `compress-force=zstd:3`.
    pub(crate) btrfs: Loop,
    /// ext4 below HSCI.
    pub(crate) lower: Loop,
    /// HSCI's mount over `lower`.
    pub(crate) hsci: PathBuf,
}

/// A file system in an image file, which the loop device reads and writes past the page cache:
/// one copy in memory less, as on a disk.
pub(crate) struct Loop {
    /// Where it is mounted.
    pub(crate) directory: PathBuf,
    device: String,
}

impl Loop {
    fn make(scratch: &Path, name: &str, mkfs: &[&str], options: &str, bytes: u64) -> Result<Self> {
        let image = scratch.join(format!("{name}.img"));
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(File::create(&image)?, flags, 0, bytes)?;
        let (mkfs, flags) = mkfs.split_first().context("a mkfs program")?;
        run(Command::new(mkfs).args(flags).arg(&image))?;
        let directory = scratch.join(name);
        fs::create_dir(&directory)?;
        let attach = ["--direct-io=on", "--find", "--show"];
        let device = run(Command::new("losetup").args(attach).arg(&image))?.trim().to_owned();
        let made = Self { directory, device };
        run(Command::new("mount").args(["-o", options, &made.device]).arg(&made.directory))?;
        Ok(made)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let quiet = run(Command::new("umount").arg(&self.directory));
        if quiet.is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(&self.directory));
        }
        let _ = run(Command::new("losetup").args(["--detach", &self.device]));
    }
}

impl Filesystems {
    /// Makes and mounts all of them.
    pub(crate) fn make(scratch: &Path, program: &Path, bytes: u64) -> Result<Self> {
        let ext4 = ["mkfs.ext4", "-q", "-F", "-m0"];
        // No delayed initialisation of tables, which would write while something is measured.
        let ext4 = [&ext4[..], &["-E", "lazy_itable_init=0,lazy_journal_init=0"]].concat();
        let btrfs = ["mkfs.btrfs", "-q", "-f"];
        let filesystems = Self {
            program: program.to_owned(),
            ext4: Loop::make(scratch, "ext4", &ext4, "noatime", bytes)?,
            lower: Loop::make(scratch, "lower", &ext4, "noatime", bytes)?,
            btrfs: Loop::make(scratch, "btrfs", &btrfs, "noatime,compress-force=zstd:3", bytes)?,
            hsci: scratch.join("hsci"),
        };
        fs::create_dir(&filesystems.hsci)?;
        filesystems.mount()?;
        Ok(filesystems)
    }

    fn mount(&self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("mount").arg(&self.lower.directory).arg(&self.hsci);
        // Compression waits for an order, so that it disturbs nothing that is measured.
        run(command.args(["-o", "algorithm=zstd:3,settle=10m"])).map(drop)
    }

    /// Waits until everything written is compressed.
    pub(crate) fn settle(&self) -> Result<()> {
        run(Command::new(&self.program).arg("settle").arg(&self.hsci)).map(drop)
    }

    /// The status of the mount.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        let mut command = Command::new(&self.program);
        let output = command.args(["status", "--json"]).arg(&self.hsci).output()?;
        serde_json::from_slice(&output.stdout).context("status of the mount")
    }

    /// The sum of all requests that the kernel has sent to the mount.
    pub(crate) fn requests(&self) -> Result<u64> {
        let status = self.status()?;
        let requests = status["requests"].as_object().context("requests in the status")?;
        Ok(requests.values().filter_map(serde_json::Value::as_u64).sum())
    }

    /// Memory of the worker in MiB: now, and the most it ever was.
    pub(crate) fn worker_memory(&self) -> Result<(f64, f64)> {
        let status = self.status()?;
        let worker = status["worker_pid"].as_u64().context("worker_pid in the status")?;
        let text = fs::read_to_string(format!("/proc/{worker}/status"))?;
        let field = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.context("memory of the worker")?.trim().trim_end_matches(" kB");
            Ok(kib.parse::<f64>()? / 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Filesystems {
    fn drop(&mut self) {
        let mut command = Command::new(&self.program);
        if run(command.arg("unmount").arg(&self.hsci)).is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(&self.hsci));
        }
    }
}

/// Empties the page, dentry and inode caches.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

/// Runs a command and returns what it prints.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
