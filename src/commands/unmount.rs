//! `hsci unmount`.

use std::path::{Path, absolute};

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor;

use crate::cli::Unmount;
use crate::{Result, ui};

/// Unmounts a directory.
pub(crate) fn run(args: &Unmount) -> Result<()> {
    let internal = |error: std::io::Error| {
        Failure::new(Exit::Internal, format!("{}: {error}", args.dir.display()))
    };
    let dir = absolute(&args.dir).map_err(internal)?;
    // Called inside of the mount, this process would keep it busy.
    std::env::set_current_dir("/").map_err(internal)?;
    let lost = supervisor::unmount(&dir, args.force)?;
    warn_of(&dir, &lost);
    Ok(())
}

/// Says what a forced end has given up.
pub(super) fn warn_of(dir: &Path, lost: &[String]) {
    for file in lost {
        ui::warn(&format!("hsci: {}: what was written last is lost: {file}", dir.display()));
    }
}
