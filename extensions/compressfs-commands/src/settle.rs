//! `hsci settle`.

use std::path::Path;
use std::time::Duration;

use hsci_command::{Result, control, ui};
use hsci_host::control::statuses;
use hsci_host::failure::{Exit, Failure};
use hsci_host::place::{self, Place};
use hsci_protocol::settle::SettleProgress;

use crate::cli::Settle;

const INTERVAL: Duration = Duration::from_millis(100);

/// Starts a settle, and returns when it is done.
pub(crate) fn run(args: &Settle) -> Result<()> {
    wait(&args.dir)
}

/// The same of a mount.
pub(super) fn wait(dir: &Path) -> Result<()> {
    let place = place::look(dir)?;
    let fail = |errno| control::failure(dir, "settling", errno);
    control::order(&place.reach(), "settle", "now").map_err(fail)?;
    let bar = ui::bar("settling");
    let end = loop {
        let progress = ask(dir, &place)?;
        if let Some(total) = progress.total_bytes {
            bar.set_total(total);
        }
        bar.set_position(progress.bytes);
        if !progress.running {
            break progress;
        }
        std::thread::sleep(INTERVAL);
    };
    bar.finish_and_clear();
    warn_of_notices(dir);
    if end.failed == 0 {
        return Ok(());
    }
    let named = name_failed(&place);
    let others = match end.failed.saturating_sub(named) {
        0 => "",
        _ => "; `hsci status` names the log of the others",
    };
    let (dir, files) = (dir.display(), ui::counted(end.failed, "file"));
    let text = format!("{dir}: {files} could not be settled and stay as before{others}");
    Err(Failure::new(Exit::No, text))
}

/// Says which files could not be settled, and why; returns how many it names.
fn name_failed(place: &Place) -> u64 {
    // An older worker has no names.
    let answer = control::ask(&place.reach(), "unsettled").unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    answer.lines().map(|line| ui::warn(&format!("hsci: {line}"))).count() as u64
}

/// Names files that are not what a settle would make of them. Who may not ask the host is told nothing.
fn warn_of_notices(dir: &Path) {
    let Ok(mounted) = control::require_mount(dir) else { return };
    for worker in statuses(&[mounted]).into_iter().filter_map(|status| status.worker) {
        worker.notices.iter().for_each(|notice| ui::warn(&format!("hsci: {notice}")));
    }
}

fn ask(dir: &Path, place: &Place) -> Result<SettleProgress> {
    let answer = control::ask(&place.reach(), "settle");
    let answer = answer.map_err(|errno| control::failure(dir, "settling", errno))?;
    control::parse(dir, "settle", &answer)
}
