//! Memory that is at hand when work begins.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use memmap2::{Advice, MmapMut};
use rustix::fs::MemfdFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::interrupt;

/// Keeps free memory in the machine while it lives.
///
/// A virtual machine whose balloon reports free pages returns blocks of 2 MiB to its host about a second after
/// they became free, and fetches them again page by page, which takes ten times as long as to use what is at hand:
/// more than all else of the work of unpacking a tree, and more or less of it by what ran before. So nearly all of the
/// memory is touched once; only the largest blocks are reported, of 4 MiB; and a page of each of them is held, so that
/// none is free as a whole. Smaller ones stay free, or the kernel would move pages about to make some for large folios.
/// Pipes hold those pages: the kernel moves none that is in a pipe. Whole blocks that are left are held altogether,
/// for large folios are made of these first: a new file was written at 290 MiB/s where they were fetched from the
/// host, and at 900 where none was.
pub(crate) struct Warm {
    _reported: Reported,
    _pages: Vec<(OwnedFd, OwnedFd)>,
    _blocks: Vec<MmapMut>,
}

/// Has only the largest blocks reported, and what was reported before when it is dropped.
struct Reported(Vec<u8>);

const REPORTED: &str = "/sys/module/page_reporting/parameters/page_reporting_order";
const PAGE: u64 = 4096;
/// The largest blocks have so many times two pages.
const ORDER: usize = 10;
const BLOCK: u64 = PAGE << ORDER;
/// Left to others while the rest is touched.
const SPARED: u64 = 512 << 20;
/// A processor keeps pages that were freed to itself, and lets go of them bit by bit: so often, and so long apart, whole
/// blocks are looked for.
const TIMES: usize = 10;
const APART: Duration = Duration::from_millis(500);
/// As many as an unprivileged process may have in a pipe, by default.
const PAGES_IN_PIPE: usize = 256;
/// The bit of a balloon's features that has it report free pages.
const REPORTING: usize = 5;

impl Warm {
    /// `None` where free memory stays in the machine anyway.
    pub(crate) fn keep() -> Result<Option<Self>> {
        if !reports_free_pages() {
            return Ok(None);
        }
        let reported = Reported::largest()?;
        drop_caches()?;
        let pages = page_of_each_block(available()?.saturating_sub(SPARED))?;
        let mut blocks = Vec::new();
        for _ in 0..TIMES {
            interrupt::check()?;
            blocks.extend(held_in_blocks(whole_blocks(&fs::read_to_string("/proc/buddyinfo")?))?);
            thread::sleep(APART);
        }
        Ok(Some(Self { _reported: reported, _pages: pages, _blocks: blocks }))
    }
}

impl Reported {
    fn largest() -> Result<Self> {
        let before = fs::read(REPORTED).context(REPORTED)?;
        fs::write(REPORTED, ORDER.to_string()).context(REPORTED)?;
        Ok(Self(before))
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        let _ = fs::write(REPORTED, &self.0);
    }
}

/// Touches `len` bytes and holds a page of each block of them.
fn page_of_each_block(len: u64) -> Result<Vec<(OwnedFd, OwnedFd)>> {
    let touched = File::from(rustix::fs::memfd_create("memory", MemfdFlags::CLOEXEC)?);
    let block = vec![1; BLOCK as usize];
    let starts = (0..len / BLOCK).map(|nth| nth * BLOCK).collect::<Vec<_>>();
    for start in &starts {
        interrupt::check()?;
        touched.write_all_at(&block, *start)?;
    }
    let mut pipes = Vec::new();
    for starts in starts.chunks(PAGES_IN_PIPE) {
        let (from, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::pipe::fcntl_setpipe_size(&to, PAGES_IN_PIPE * PAGE as usize)?;
        for start in starts {
            rustix::pipe::splice(
                &touched,
                Some(&mut start.clone()),
                &to,
                None,
                PAGE as usize,
                SpliceFlags::NONBLOCK,
            )?;
        }
        pipes.push((from, to));
    }
    Ok(pipes)
}

/// Touches `len` bytes in huge pages, which are whole blocks, and holds them; none where the kernel has no huge pages.
fn held_in_blocks(len: u64) -> Result<Option<MmapMut>> {
    if len == 0 {
        return Ok(None);
    }
    let mut blocks = MmapMut::map_anon(len as usize)?;
    if blocks.advise(Advice::HugePage).is_err() {
        return Ok(None);
    }
    blocks.iter_mut().step_by(PAGE as usize).for_each(|byte| *byte = 1);
    Ok(Some(blocks))
}

/// How much memory is free in the largest blocks, by a text like `/proc/buddyinfo`: for each zone how many
/// blocks are free of one page, two, four and so on, from its fifth word on.
fn whole_blocks(buddies: &str) -> u64 {
    let zone = |line: &str| -> u64 {
        let counts = line.split_whitespace().skip(4).map(|count| count.parse().unwrap_or(0));
        counts.enumerate().skip(ORDER).map(|(order, count): (_, u64)| count * (PAGE << order)).sum()
    };
    buddies.lines().map(zone).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_blocks_are_whole() {
        let text = "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3\n\
                    Node 0, zone   Normal      9      9      9      9      9      9      9      9      9      0      1\n";
        assert_eq!(whole_blocks(text), 3 * BLOCK + BLOCK);
    }
}
