//! Where a caller is.

use std::os::fd::OwnedFd;

use rustix::thread::CpuSet;

use crate::sandbox::broker;

/// A caller, and where it is to be seen on which core it has last run.
pub(super) struct Companion {
    pub(super) caller: u32,
    status: OwnedFd,
    /// Where the near loop may be.
    cores: CpuSet,
}

impl Companion {
    pub(super) fn find(caller: u32, cores: CpuSet) -> Option<Self> {
        Some(Self { caller, status: broker::process_status(caller)?, cores })
    }

    /// The core on which it has last run, if the near loop may be there.
    pub(super) fn core(&self) -> Option<usize> {
        let mut text = [0; 1024];
        let len = rustix::io::pread(&self.status, &mut text, 0).ok()?;
        core_of(&text[..len]).filter(|core| self.cores.is_set(*core))
    }
}

/// The field `processor` of `/proc/PID/stat`, the 39th; the second stands in brackets and may have any bytes in it.
fn core_of(status: &[u8]) -> Option<usize> {
    let from = status.iter().rposition(|byte| *byte == b')')?;
    let field = status[from..].split(|byte| *byte == b' ').nth(39 - 2)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

    use super::*;

    #[test]
    fn the_core_is_found_behind_any_name() {
        let named = |name: &str| {
            let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
            format!("77 ({name}) {}\n", fields.join(" "))
        };
        assert_eq!(core_of(named("tar").as_bytes()), Some(39));
        assert_eq!(core_of(named("a) b (c) 1 2").as_bytes()), Some(39));
        assert_eq!(core_of(b"77 (tar) R 1"), None);
        assert_eq!(core_of(b""), None);
    }

    #[test]
    fn this_thread_is_where_its_status_says() {
        let mut all = CpuSet::new();
        let before = sched_getaffinity(None).expect("cores");
        for core in (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)) {
            all.clear();
            all.set(core);
            sched_setaffinity(None, &all).expect("another core");
            let status = std::fs::read("/proc/thread-self/stat").expect("a status");
            assert_eq!(core_of(&status), Some(core));
            assert_eq!(sched_getcpu(), core);
        }
    }
}
