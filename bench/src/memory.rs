//! Memory that is at hand when work begins.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, MemfdFlags};

use crate::interrupt;

/// Keeps free memory in the machine while it lives.
///
/// A virtual machine whose balloon reports free pages returns blocks of 2 MiB to its host some seconds after
/// they became free, and fetches them again page by page, which takes ten times as long as to use what is at hand:
/// more than all else of the work of unpacking a tree, and more or less of it by what ran before. So nearly all of the
/// memory is touched once, and a page of each MiB of it is held: no block of it is free as a whole. What is left out has
/// whole blocks, and large folios of the page cache are made of these first: with 3/8 left out, ext4 or a server below
/// which it lies wrote a new file at 290 or 900 MiB/s, by who had written before.
pub(crate) struct Warm {
    _held: File,
}

const BLOCK: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// Of which this is one.
const REPORTING: usize = 5;
/// Left to others while the rest is touched, at least.
const SPARED: u64 = 512 << 20;

impl Warm {
    /// `None` where free memory stays in the machine anyway.
    pub(crate) fn keep() -> Result<Option<Self>> {
        if !reports_free_pages() {
            return Ok(None);
        }
        drop_caches()?;
        let available = available()?;
        let len = available.saturating_sub(SPARED.max(available / 32)) / BLOCK * BLOCK;
        let held = File::from(rustix::fs::memfd_create("memory", MemfdFlags::CLOEXEC)?);
        let block = vec![1; BLOCK as usize];
        for at in (0..len).step_by(BLOCK as usize) {
            interrupt::check()?;
            held.write_all_at(&block, at)?;
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for at in (0..len).step_by(BLOCK as usize) {
            rustix::fs::fallocate(&held, hole, at + PAGE, BLOCK - PAGE)?;
        }
        Ok(Some(Self { _held: held }))
    }
}

/// Empties the page, dentry and inode caches.
pub(crate) fn drop_caches() -> Result<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

fn reports_free_pages() -> bool {
    let Ok(devices) = fs::read_dir("/sys/bus/virtio/drivers/virtio_balloon") else { return false };
    devices.filter_map(Result::ok).any(|device| {
        let features = fs::read(device.path().join("features"));
        features.is_ok_and(|features| features.get(REPORTING) == Some(&b'1'))
    })
}

fn available() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("memory available")?;
    Ok(kib.parse::<u64>()? << 10)
}
