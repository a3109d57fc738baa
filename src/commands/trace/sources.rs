//! Where reports come from: the guard, and the hosts of mounts.

use std::path::Path;

use hsci_host::failure::{Exit, Failure};
use hsci_host::mounts::{self, Mounted};
use hsci_kernel::guard::{Events, Guard};
use hsci_protocol::control::{Command, Reply};
use hsci_protocol::policy::{Report, Reports};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::policy::{Loaded, failure};
use super::Line;
use crate::{Result, control};

/// How long until hosts are asked again.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The sources, and what was taken from them.
pub(super) struct Sources {
    guard: Option<Events>,
    mounts: Vec<Mount>,
}

struct Mount {
    mounted: Mounted,
    /// Which worker has told so far, and how many reports.
    worker: u32,
    next: u64,
    /// Reports that were forgotten before they were taken.
    lost: u64,
}

impl Sources {
    /// Those of a mount, or all of this machine.
    pub(super) fn open(dir: Option<&Path>) -> Result<Self> {
        let guard = match dir {
            Some(_) => None,
            None => Guard::open().map_err(|error| failure(&error))?,
        };
        let events = guard.map(|guard| guard.events()).transpose();
        let mounts = match dir {
            Some(dir) => vec![control::require_mount(dir)?],
            None => mounts::all()?,
        };
        let mounts: Vec<_> = mounts
            .into_iter()
            .map(|mounted| Mount { mounted, worker: 0, next: 0, lost: 0 })
            .collect();
        // Of all mounts those that may be asked; of one that was named, it or nothing.
        if dir.is_some() {
            mounts.iter().try_for_each(Mount::require)?;
        }
        Ok(Self { guard: events.map_err(|error| failure(&error))?, mounts })
    }

    /// The reports that are there.
    pub(super) fn take(&mut self, loaded: &Loaded) -> Result<Vec<Line>> {
        let events = std::iter::from_fn(|| self.guard.as_mut()?.take());
        let mut lines: Vec<Line> = events.map(|event| Line::of_guard(&event, loaded)).collect();
        for mount in &mut self.mounts {
            let dir = mount.mounted.dir.display().to_string();
            let reports = mount.take();
            lines.extend(reports.into_iter().map(|report| Line::of_mount(&dir, report, loaded)));
        }
        Ok(lines)
    }

    /// Reports that nobody has taken in time.
    pub(super) fn lost(&self) -> u64 {
        self.mounts.iter().map(|mount| mount.lost).sum()
    }

    /// Waits a moment for more.
    pub(super) fn wait(&self) -> Result<()> {
        let mut guard: Vec<_> =
            self.guard.iter().map(|events| PollFd::new(events, PollFlags::IN)).collect();
        match poll(&mut guard, Some(&PAUSE)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => {
                Err(Failure::new(Exit::Internal, format!("waiting for reports: {error}")))
            }
        }
    }
}

impl Mount {
    fn take(&mut self) -> Vec<Report> {
        let mut remembered = self.ask();
        if remembered.worker != self.worker {
            // Another worker counts from 0 again.
            (self.worker, self.next) = (remembered.worker, 0);
            remembered = self.ask();
        }
        let first = remembered.reports.first().map_or(self.next, |first| first.number);
        self.lost += first.saturating_sub(self.next);
        self.next = remembered.reports.last().map_or(self.next, |last| last.number + 1);
        remembered.reports
    }

    /// Fails if its reports are not for this user.
    fn require(&self) -> Result<()> {
        match control::ask_supervisor(&self.mounted, Command::Reports { from: self.next }) {
            Some(Reply::Failed { exit, text }) => {
                let dir = self.mounted.dir.display();
                Err(Failure::new(Exit::from_code(exit), format!("{dir}: {text}")))
            }
            _ => Ok(()),
        }
    }

    /// Nothing if it has been unmounted or belongs to another user.
    fn ask(&self) -> Reports {
        match control::ask_supervisor(&self.mounted, Command::Reports { from: self.next }) {
            Some(Reply::Reports(reports)) => reports,
            _ => Reports { worker: self.worker, reports: Vec::new() },
        }
    }
}
