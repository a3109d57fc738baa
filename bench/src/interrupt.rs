//! Ending early without leaving mounts and devices behind.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use nix::sys::signal::{SigSet, Signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM end the run after the step that is being measured. To be called
/// before other threads start.
pub(crate) fn catch() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// True once the run shall end.
pub(crate) fn is_wanted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once the run shall end.
pub(crate) fn check() -> Result<()> {
    if is_wanted() {
        bail!("interrupted");
    }
    Ok(())
}
