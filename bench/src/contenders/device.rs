//! A file system in an image file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{run, unmount};

/// A mounted loop device, which reads and writes its image past the page cache: one copy in memory
/// less, as on a disk. All images lie on the same file system. Gone when the value is dropped.
pub(super) struct Device {
    /// Where it is mounted.
    pub(super) directory: PathBuf,
    image: PathBuf,
    /// Such as `/dev/loop3`.
    path: String,
    mounted: bool,
}

impl Device {
    /// A new file system of a kind, in an image of which only what is used takes space.
    pub(super) fn make(
        scratch: &Path,
        name: &str,
        kind: &str,
        options: &str,
        len: u64,
    ) -> Result<Self> {
        let image = scratch.join(format!("{name}.img"));
        File::create(&image)?.set_len(len)?;
        let mut mkfs = Command::new(format!("mkfs.{kind}"));
        match kind {
            // No delayed initialisation of tables, which would write while something is measured;
            // inodes enough for a file of each 8 KiB.
            "ext4" => mkfs
                .args(["-q", "-F", "-m0", "-i", "8192"])
                .args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]),
            _ => mkfs.args(["-q", "-f"]),
        };
        run(mkfs.arg(&image))?;
        Self::mount(scratch, name, image, options)
    }

    /// Mounts an image that was made already.
    pub(super) fn mount(scratch: &Path, name: &str, image: PathBuf, options: &str) -> Result<Self> {
        let directory = scratch.join(name);
        fs::create_dir_all(&directory)?;
        let attach = ["--direct-io=on", "--find", "--show"];
        let path = run(Command::new("losetup").args(attach).arg(&image))?.trim().to_owned();
        let mut made = Self { directory, image, path, mounted: false };
        run(Command::new("mount").args(["-o", options, &made.path]).arg(&made.directory))?;
        made.mounted = true;
        Ok(made)
    }

    /// Bytes written to it since it was attached.
    pub(super) fn written(&self) -> Result<u64> {
        let name = self.path.rsplit('/').next().context("name of a loop device")?;
        let text = fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        let sectors = text.split_whitespace().nth(6).context("sectors written")?;
        Ok(sectors.parse::<u64>()? * 512)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.mounted {
            unmount(&self.directory);
        }
        let _ = run(Command::new("losetup").args(["--detach", &self.path]));
        let _ = fs::remove_file(&self.image);
    }
}
